// What a test file starts and does not end itself, because a hook of it failed, is ended after it: mocha runs no other
// hook of a suite whose `before` threw halfway, and its `after` finds half of what it closes.

type Dispose = () => Promise<unknown>;

const open = new Set<Dispose>();

/** Has it ended after the test file. Returns what forgets it: for whoever has ended it before. */
export function disposeAtEnd(dispose: Dispose): () => void {
  open.add(dispose);
  return () => open.delete(dispose);
}

/** Ends what is open, the youngest first. Throws an AggregateError of what could not be ended, after all was tried. */
export async function disposeOfAll(): Promise<void> {
  const failures: unknown[] = [];
  for (const dispose of [...open].reverse()) {
    open.delete(dispose);
    await dispose().catch((error: unknown) => failures.push(error));
  }
  if (failures.length > 0) throw new AggregateError(failures, `not disposed of: ${failures.map(String).join('; ')}`);
}
