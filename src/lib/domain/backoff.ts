/** The pause before try `attempt` (1 is the first retry), in ms: doubling from `baseMs`, half of it jitter, at most `limitMs`. */
export function backoffMs(attempt: number, baseMs: number, limitMs = 30_000, random = Math.random): number {
  const full = Math.min(baseMs * 2 ** (attempt - 1), limitMs);
  return full / 2 + (full / 2) * random();
}
