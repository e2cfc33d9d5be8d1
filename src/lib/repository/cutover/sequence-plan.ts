/** A sequence as one side has it, and where it stands. */
export interface Sequence {
  /** Differs between the sides. */
  readonly oid: number;
  /** How output names it: without schema where the role's search path finds it, else with it. */
  readonly label: string;
  /** The same in a statement. */
  readonly sql: string;
  /** The columns that it fills, as `table.column`. */
  readonly fills: readonly string[];
  readonly increment: bigint;
  readonly minimum: bigint;
  readonly maximum: bigint;
  /** So many values a session takes at once. */
  readonly cache: bigint;
  readonly cycles: boolean;
  /** The value that was handed out last; where none was yet, that before the first one. Null where the role may not know. */
  readonly reached: bigint | null;
  /** The role may set it. */
  readonly mayMove: boolean;
}

/** What a sequence is set to: `value` counts as handed out, or, of one that begins its cycle anew, comes next. */
export interface Move {
  readonly oid: number;
  readonly value: bigint;
  readonly isHandedOut: boolean;
}

/** A sequence that cannot be moved past, and why. */
export interface StuckSequence {
  readonly label: string;
  readonly reason: string;
  /** The most that can be done: past both sides' values, and no margin behind them; null where not even that. */
  readonly atLeast: Move | null;
}

/** How the sequences of the side that becomes the primary get past both sides' values. */
export interface SequencePlan {
  readonly moves: readonly Move[];
  readonly stuck: readonly StuckSequence[];
  /** Of the side that is given up, and of the one that becomes the primary: those that the role may not read or set. */
  readonly withoutRight: { readonly from: readonly Sequence[]; readonly to: readonly Sequence[] };
  /** Those that only one side has. */
  readonly alone: { readonly from: readonly string[]; readonly to: readonly string[] };
}

/** Values that are left free, at least: sessions go on asking for some after they were read. */
const MARGIN = 1_000n;
/** And so many takings of a whole cache. */
const MARGIN_TAKINGS = 10n;

/**
 * Plans the moves of `to`, the sequences of the side that becomes the primary, past theirs and those of `from`, which is
 * given up. Those belong together that fill one column, whatever they are called, and those of one name: programs ask by it.
 */
export function planSequences(from: readonly Sequence[], to: readonly Sequence[]): SequencePlan {
  const partnersOf = findPartners(from);
  const pairs = to.map((own) => ({ own, others: partnersOf(own) }));
  const paired = new Set(pairs.flatMap(({ others }) => others));
  const both = pairs.filter(({ others }) => others.length > 0);
  const isReadable = ({ reached }: Sequence): boolean => reached !== null;
  const planned = both
    .filter(({ own, others }) => [own, ...others].every(isReadable) && own.mayMove)
    .map(({ own, others }) => planMove(own, others));
  return {
    moves: planned.flatMap((each) => ('reason' in each ? [] : [each])),
    stuck: planned.flatMap((each) => ('reason' in each ? [each] : [])),
    withoutRight: {
      from: [...paired].filter((each) => !isReadable(each)),
      to: both.flatMap(({ own }) => (isReadable(own) && own.mayMove ? [] : [own])),
    },
    alone: {
      from: labelsOf(from.filter((each) => !paired.has(each))),
      to: labelsOf(pairs.flatMap(({ own, others }) => (others.length === 0 ? [own] : []))),
    },
  };
}

function findPartners(from: readonly Sequence[]): (own: Sequence) => readonly Sequence[] {
  const byName = new Map<string, Sequence[]>();
  const namesOf = ({ label, fills }: Sequence): string[] => [
    `sequence ${label}`,
    ...fills.map((name) => `column ${name}`),
  ];
  for (const each of from) {
    for (const name of namesOf(each)) byName.set(name, [...(byName.get(name) ?? []), each]);
  }
  return (own) => [...new Set(namesOf(own).flatMap((name) => byName.get(name) ?? []))];
}

function planMove(own: Sequence, others: readonly Sequence[]): Move | StuckSequence {
  const { oid, label, increment } = own;
  const all = [own, ...others];
  if (all.some((each) => isUp(each) !== isUp(own))) {
    return { label, reason: 'counts up on one side and down on the other', atLeast: null };
  }
  const furthest = all
    .map((each) => each.reached ?? 0n)
    .reduce((one, other) => (isAhead(own, one, other) ? one : other));
  const margin = marginOf(own, all);
  const value = stepTo(own, furthest + (isUp(own) ? margin : -margin));
  if (isWithin(own, value + increment)) return { oid, value, isHandedOut: true };
  if (own.cycles) return { oid, value: isUp(own) ? own.minimum : own.maximum, isHandedOut: false };
  const past = stepTo(own, furthest);
  return {
    label,
    reason: `ends at ${isUp(own) ? own.maximum : own.minimum}, and ${furthest} is reached: ${margin} values have to be left between`,
    atLeast: isWithin(own, past) ? { oid, value: past, isHandedOut: true } : null,
  };
}

/** Of a sequence that goes round, no more than half of it. */
function marginOf({ cycles, minimum, maximum }: Sequence, all: readonly Sequence[]): bigint {
  const takings = all.map(({ increment, cache }) => MARGIN_TAKINGS * absolute(increment) * cache);
  const margin = [MARGIN, ...takings].reduce((one, other) => (one > other ? one : other));
  const half = (maximum - minimum + 1n) / 2n;
  return cycles && half < margin ? half : margin;
}

/** The first value of the sequence, by whole increments from where it stands, that is not before this one. */
function stepTo(own: Sequence, value: bigint): bigint {
  const reached = own.reached ?? 0n;
  const distance = absolute(value - reached);
  if (!isAhead(own, value, reached)) return reached;
  const size = absolute(own.increment);
  return reached + ((distance + size - 1n) / size) * own.increment;
}

function isUp({ increment }: Sequence): boolean {
  return increment > 0n;
}

/** Whether a value comes after another one in the direction of the sequence. */
function isAhead(own: Sequence, value: bigint, other: bigint): boolean {
  return isUp(own) ? value > other : value < other;
}

function isWithin({ minimum, maximum }: Sequence, value: bigint): boolean {
  return value >= minimum && value <= maximum;
}

function absolute(value: bigint): bigint {
  return value < 0n ? -value : value;
}

export function labelsOf(sequences: readonly Sequence[]): readonly string[] {
  return sequences.map(({ label }) => label);
}
