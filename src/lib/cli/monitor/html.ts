import { createHash } from 'node:crypto';
import { oneLine } from '../../domain/printable.js';

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

/** Text from anywhere, as text in HTML and in attributes; marks of direction would turn a page around, too. */
export function escapeHtml(text: string): string {
  return oneLine(text).replaceAll(/[&<>"']/g, (character) => ENTITIES[character] ?? '');
}

/** A figure with its title and a detail, as text. */
export function htmlCard(title: string, value: string, detail: string, tone: '' | 'warn' | 'bad' = ''): string {
  return `<div class="card ${tone}"><span class="dim">${escapeHtml(title)}</span><b>${escapeHtml(value)}</b><span class="dim">${escapeHtml(detail)}</span></div>`;
}

/** A table; columns of numbers are aligned right. Cells are text, not HTML. */
export function htmlTable(head: readonly string[], rows: readonly (readonly (string | number)[])[]): string {
  const isNumeric = head.map((_, place) => rows.some((row) => typeof row[place] === 'number'));
  const line = (tag: 'td' | 'th', cells: readonly (string | number)[]): string => {
    const texts = cells.map((each) => (typeof each === 'number' ? each.toLocaleString('en-US') : each));
    const mark = (place: number): string => (isNumeric[place] === true ? ' class="number"' : '');
    return `<tr>${texts.map((text, place) => `<${tag}${mark(place)}>${escapeHtml(text)}</${tag}>`).join('')}</tr>`;
  };
  const body = rows.map((row) => line('td', row)).join('');
  return `<div class="scroll"><table><thead>${line('th', head)}</thead><tbody>${body}</tbody></table></div>`;
}

/** How a content security policy names this very text of a style or a script, and no other. */
export function hashSource(text: string): string {
  return `'sha256-${createHash('sha256').update(text).digest('base64')}'`;
}

/** The style of every page, in light and in dark; a page loads nothing from elsewhere. */
export const PAGE_STYLE = `
:root { color-scheme: light dark;
  --text: #1c2330; --dim: #5d6675; --page: #f6f7f9; --card: #ffffff; --line: #dfe3e9;
  --good: #1a7f4b; --warn: #9a6200; --bad: #c0262d; --s0: #1f6feb; --s1: #c2570c; --s2: #1f6feb; --s3: #c2570c; --band: #c0262d1f; }
@media (prefers-color-scheme: dark) { :root {
  --text: #e6e9ef; --dim: #9aa4b2; --page: #12161d; --card: #1b212b; --line: #323a47;
  --good: #4cc38a; --warn: #e5b454; --bad: #ff7b81; --s0: #6cb0ff; --s1: #ff9d5c; --s2: #6cb0ff; --s3: #ff9d5c; --band: #ff7b812b; } }
* { box-sizing: border-box; }
body { margin: 0; padding: 20px; background: var(--page); color: var(--text); font: 14px/1.45 system-ui, sans-serif; }
main { max-width: 1180px; margin: auto; }
h1 { font-size: 20px; margin: 0 12px 0 0; } h2 { font-size: 15px; margin: 22px 0 8px; }
header { display: flex; flex-wrap: wrap; align-items: center; gap: 4px 12px; }
.badge { padding: 3px 12px; border-radius: 5px; font-weight: 700; color: var(--card); background: var(--dim); }
.healthy, .yes { background: var(--good); } .recovering { background: var(--warn); } .trouble, .no { background: var(--bad); }
.dim { color: var(--dim); } .right { margin-left: auto; }
.wrong { margin: 8px 0 0; padding: 8px 12px; border-left: 4px solid var(--bad); background: var(--card); }
.wrong.recovering { border-color: var(--warn); background: var(--card); }
.calm { margin: 8px 0 0; padding: 8px 12px; border-left: 4px solid var(--good); background: var(--card); }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(130px, 1fr)); gap: 10px; margin-top: 14px; }
.card { padding: 10px 12px; background: var(--card); border: 1px solid var(--line); border-radius: 8px; }
.card b { display: block; font-size: 21px; font-variant-numeric: tabular-nums; }
.card.bad b { color: var(--bad); } .card.warn b { color: var(--warn); }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(440px, 100%), 1fr)); gap: 10px; margin-top: 10px; }
figure { margin: 0; padding: 10px 12px; background: var(--card); border: 1px solid var(--line); border-radius: 8px; }
figcaption { display: flex; flex-wrap: wrap; gap: 2px 14px; font-size: 13px; } figcaption b { margin-right: auto; }
svg { display: block; width: 100%; height: auto; margin-top: 4px; } svg text { fill: var(--dim); font: 11px system-ui, sans-serif; }
.grid { stroke: var(--line); } .band { fill: var(--band); }
.line { fill: none; stroke-width: 1.8; stroke-linejoin: round; vector-effect: non-scaling-stroke; }
.under { stroke-width: 4; stroke-opacity: 0.6; }
.s0 { stroke: var(--s0); } .s1 { stroke: var(--s1); } .s2 { stroke: var(--s2); stroke-dasharray: 4 3; } .s3 { stroke: var(--s3); stroke-dasharray: 4 3; }
.key { display: inline-block; width: 20px; height: 0; margin-right: 5px; vertical-align: middle; border-top: 3px solid; }
.key.s0 { border-color: var(--s0); } .key.s1 { border-color: var(--s1); }
.key.s2 { border-color: var(--s2); border-top-style: dashed; } .key.s3 { border-color: var(--s3); border-top-style: dashed; }
.key.bandkey { height: 12px; border: 1px solid var(--bad); background: var(--band); }
.scroll { overflow-x: auto; background: var(--card); border: 1px solid var(--line); border-radius: 8px; }
table { border-collapse: collapse; width: 100%; } th, td { padding: 5px 12px; text-align: left; white-space: nowrap; }
th { color: var(--dim); font-weight: 600; } tr + tr td, tbody td { border-top: 1px solid var(--line); }
.number { text-align: right; font-variant-numeric: tabular-nums; }
.stale main { opacity: 0.45; } #gone { display: none; } .stale #gone { display: block; }
`;
