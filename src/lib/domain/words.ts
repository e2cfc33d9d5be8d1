/** A number and its noun: `1 row`, `1,200 rows`. The plural may be irregular, or hold a verb: `1 row is`, `2 rows are`. */
export function counted(count: number, noun: string, plural = `${noun}s`): string {
  return `${count.toLocaleString('en-US')} ${count === 1 ? noun : plural}`;
}

/** Names in a sentence: `a, b, c and 4 more`. */
export function listOf(names: readonly string[], most = 5): string {
  const more = names.length - most;
  return names.slice(0, most).join(', ') + (more > 0 ? ` and ${more} more` : '');
}

/** The candidate that the word was most likely meant to be: at most a third of its letters and `mostEdits` differ; null for none. */
export function nearest(word: string, candidates: readonly string[], mostEdits = Infinity): string | null {
  const [best] = candidates
    .map((candidate) => ({ candidate, distance: editDistance(word, candidate) }))
    .filter(({ candidate, distance }) => distance <= Math.min(mostEdits, Math.max(1, Math.floor(candidate.length / 3))))
    .sort((one, other) => one.distance - other.distance);
  return best?.candidate ?? null;
}

/** `; did you mean X?`, or nothing. */
export function didYouMean(word: string, candidates: readonly string[], mostEdits = Infinity): string {
  const meant = nearest(word, candidates, mostEdits);
  return meant === null ? '' : `; did you mean ${meant}?`;
}

/** Levenshtein's: how many letters to insert, remove or replace. */
function editDistance(one: string, other: string): number {
  let above = Array.from({ length: other.length + 1 }, (_, index) => index);
  for (const [row, letter] of one.split('').entries()) {
    const line = [row + 1];
    for (const [column, otherLetter] of other.split('').entries()) {
      const replaced = (above[column] ?? 0) + (letter === otherLetter ? 0 : 1);
      line.push(Math.min(replaced, (above[column + 1] ?? 0) + 1, (line[column] ?? 0) + 1));
    }
    above = line;
  }
  return above[other.length] ?? 0;
}

const MICROS: Readonly<Record<string, number>> = {
  ms: 1_000,
  s: 1_000_000,
  m: 60_000_000,
  h: 3_600_000_000,
  d: 86_400_000_000,
  w: 604_800_000_000,
};

/** Reads `500ms`, `90s`, `15m`, `1h`, `2d` or `1w` as microseconds; null for anything else, and for more than 285 years. */
export function parseDuration(text: string): number | null {
  const match = /^(\d{1,15})(ms|[smhdw])$/.exec(text.trim());
  const micros = Number(match?.[1]) * (MICROS[match?.[2] ?? ''] ?? NaN);
  return Number.isSafeInteger(micros) ? micros : null;
}
