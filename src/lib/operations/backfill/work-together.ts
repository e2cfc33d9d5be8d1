/** Runs workers side by side until all have ended; the first that fails lets the others end what is in their hands. */
export async function workTogether(
  workers: number,
  stop: AbortSignal,
  work: (stop: AbortSignal) => Promise<void>,
): Promise<void> {
  const failed = new AbortController();
  const either = AbortSignal.any([stop, failed.signal]);
  const outcomes = await Promise.allSettled(
    Array.from({ length: workers }, () =>
      work(either).catch((error: unknown) => {
        failed.abort(error);
        throw error;
      }),
    ),
  );
  if (outcomes.some(({ status }) => status === 'rejected')) throw failed.signal.reason;
}
