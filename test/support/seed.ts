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
    const error = this.currentTest?.err;
    if (error === undefined || used.size === 0) return;
    error.message += `\n(SENSORCTL_TEST_SEED=${[...used].join(' or ')} repeats it)`;
  },
  afterAll(): void {
    used.clear();
  },
};
