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
