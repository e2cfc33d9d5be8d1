/**
 * What acts on a terminal, or is not to be seen there: controls (C0, C1), marks of direction and of zero width, separators
 * of lines and paragraphs, halves of characters.
 */
const ACTING = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu;

/** Text from anywhere, for one line of a terminal or a log: what would act there stands as `\x1b`, `\u202e`. */
export function oneLine(text: string): string {
  return text.replaceAll(ACTING, (character) => escapeUnits(character));
}

/** The same for a text of several lines: its line feeds stay. */
export function printable(text: string): string {
  return text.replaceAll(ACTING, (character) => (character === '\n' ? character : escapeUnits(character)));
}

/** A value as JSON, which says the same and holds nothing that acts on a terminal; `spaces` a level, on one line without. */
export function printableJson(value: unknown, spaces?: number): string {
  // JSON escapes line feeds within texts: those that are left are its own.
  const json = JSON.stringify(value, undefined, spaces);
  return json.replaceAll(ACTING, (character) => (character === '\n' ? character : escapeUnits(character, 0)));
}

/** A copy of a value in which each text is `change`d, names too. */
export function mapTexts<Value>(value: Value, change: (text: string) => string): Value {
  if (typeof value === 'string') return change(value) as Value;
  if (Array.isArray(value)) return value.map((each: unknown) => mapTexts(each, change)) as Value;
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([name, each]) => [change(name), mapTexts(each, change)]),
  ) as Value;
}

/** Each UTF-16 unit by its number, as `\x1b` where it is below `shortBelow`, else as `\u202e`. */
function escapeUnits(character: string, shortBelow = 256): string {
  const units = character.split('').map((unit) => unit.charCodeAt(0));
  const hex = (code: number, digits: number): string => code.toString(16).padStart(digits, '0');
  return units.map((code) => (code < shortBelow ? `\\x${hex(code, 2)}` : `\\u${hex(code, 4)}`)).join('');
}
