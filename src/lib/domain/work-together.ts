/** Works on all items side by side until each has ended; the first that fails lets the others end what is in their hands. */
export async function workTogether<Item>(
  items: readonly Item[],
  stop: AbortSignal,
  work: (item: Item, stop: AbortSignal) => Promise<void>,
): Promise<void> {
  const failed = new AbortController();
  const either = AbortSignal.any([stop, failed.signal]);
  const outcomes = await Promise.allSettled(
    items.map((item) =>
      work(item, either).catch((error: unknown) => {
        failed.abort(error);
        throw error;
      }),
    ),
  );
  if (outcomes.some(({ status }) => status === 'rejected')) throw failed.signal.reason;
}
