// One variable sets the seed of every test that draws lots, and a failure says which one it was.

const used = new Set<number>();

/** SENSORCTL_TEST_SEED, or this one; a test of the file that fails says it. */
export function seedOf(usual: number): number {
  const seed = Number(process.env.SENSORCTL_TEST_SEED ?? usual);
  used.add(seed);
  return seed;
}

/** Another one in every run, unless SENSORCTL_TEST_SEED says which. */
export function newSeed(): number {
  return seedOf(Math.floor(Math.random() * 2 ** 31));
}

export const mochaHooks = {
  afterEach(this: Mocha.Context): void {
    const test = this.currentTest;
    if (test?.state !== 'failed' || used.size === 0) return;
    // Mocha has handed the error on already: what is added to it now would be shown to nobody.
    process.stderr.write(
      `\nSENSORCTL_TEST_SEED=${[...used].join(' or ')} repeats what failed in: ${test.fullTitle()}\n`,
    );
  },
  afterAll(): void {
    used.clear();
  },
};
