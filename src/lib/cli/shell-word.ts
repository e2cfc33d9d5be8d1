/** A text as one word of a command that a person types into a shell. */
export function shellWord(text: string): string {
  return /^[\w.,:=@%+/-]+$/.test(text) ? text : quoteForShell(text);
}

/** The same in quotes, whatever it holds. */
export function quoteForShell(text: string): string {
  return `'${text.replaceAll("'", String.raw`'\''`)}'`;
}
