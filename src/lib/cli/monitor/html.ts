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
