/** The content of an env file: its settings by name, the faults that make it unreadable, and valid lines that may surprise. */
export interface EnvFile {
  readonly values: Readonly<Record<string, string>>;
  /** Each with the number of its line; none repeats a line, which may hold a secret. */
  readonly faults: readonly string[];
  readonly warnings: readonly string[];
}

interface Value {
  readonly text: string;
  /** How many of the following lines belong to it. */
  readonly moreLines?: number;
  readonly fault?: string;
  readonly warning?: string;
}

const SETTING = /^[ \t]*(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_.-]*)[ \t]*=[ \t]*(.*)$/;
const COMMENT_OR_EMPTY = /^\s*(?:#.*)?$/;
const QUOTES = `'"\``;
const UNCLOSED = 'begins with a quote that is not closed on its line';
const GOES_ON = 'goes on after its closing quote; a value that holds one of \' " ` is quoted with another of them';

/**
 * Reads the bytes of an env file as `node --env-file` does, but lets no line pass that is neither a setting, nor a
 * comment, nor empty. `names` are the settings of ours: what their quotes are is judged, and no value of another
 * program that goes over several lines may hold one.
 */
export function parseEnvFile(bytes: Uint8Array, names: readonly string[]): EnvFile {
  const text = decodeUtf8(bytes);
  if (text === null) return { values: {}, faults: ['the file is not UTF-8 text'], warnings: [] };
  const lines = text.split(/\r\n|\r|\n/);
  const values: Record<string, string> = {};
  const faults: string[] = [];
  const warnings: string[] = [];
  for (let index = 0; index < lines.length; index += 1) {
    const line = lines[index] ?? '';
    if (COMMENT_OR_EMPTY.test(line)) continue;
    const place = `line ${index + 1}`;
    const [, name, rest = ''] = SETTING.exec(line) ?? [];
    if (name === undefined) {
      faults.push(`${place} is neither a setting (NAME=value) nor a comment (#)`);
      continue;
    }
    const value = readValue(rest, lines.slice(index + 1));
    const { moreLines = 0 } = value;
    const held = lines.slice(index + 1, index + 1 + moreLines).map((each) => SETTING.exec(each)?.[1] ?? '');
    const isJudged = names.includes(name) || moreLines > 0;
    if (held.some((each) => names.includes(each))) faults.push(`${place}: ${name} ${UNCLOSED}`);
    else if (value.fault !== undefined && isJudged) faults.push(`${place}: ${name} ${value.fault}`);
    else if (value.warning !== undefined && names.includes(name)) warnings.push(`${place}: ${name} ${value.warning}`);
    values[name] = value.text;
    index += moreLines;
  }
  return { values, faults, warnings };
}

/** Without a byte order mark; null for what is no UTF-8, or holds U+0000 as UTF-16 does. */
function decodeUtf8(bytes: Uint8Array): string | null {
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
    return text.includes('\0') ? null : text;
  } catch {
    return null;
  }
}

function readValue(rest: string, following: readonly string[]): Value {
  const quote = rest.charAt(0);
  return quote !== '' && QUOTES.includes(quote) ? readQuoted(quote, rest, following) : readBare(rest);
}

/** Up to a `#`; whoever has one in a password may not know. */
function readBare(rest: string): Value {
  const end = rest.indexOf('#');
  const text = (end === -1 ? rest : rest.slice(0, end)).replace(/[ \t]+$/, '');
  if (end < 1 || /[ \t]/.test(rest.charAt(end - 1))) return { text };
  return { text, warning: 'ends before its #; quote the value if the # belongs to it' };
}

function readQuoted(quote: string, rest: string, following: readonly string[]): Value {
  const closing = following.findIndex((line) => line.includes(quote)) + 1;
  const moreLines = rest.includes(quote, 1) ? 0 : closing;
  const whole = [rest, ...following.slice(0, moreLines)].join('\n');
  const end = whole.indexOf(quote, 1);
  if (end === -1) return { text: rest, fault: UNCLOSED };
  const text = whole.slice(1, end);
  if (!COMMENT_OR_EMPTY.test(whole.slice(end + 1))) return { text, moreLines, fault: GOES_ON };
  if (quote !== '"' || !text.includes('\\n')) return { text, moreLines };
  const warning = String.raw`holds \n in double quotes, which becomes a line feed; single quotes keep it as it is`;
  return { text: text.replaceAll('\\n', '\n'), moreLines, warning };
}
