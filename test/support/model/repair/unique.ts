import type { Model, Transition } from '../explore.js';

/** Rule 7, two rows of a table and a second unique column: what stands in the way of a row is another one. */
export interface UniqueRules {
  /** What another constraint than the key refuses is missed: a repair fails as a whole, and settles nothing. */
  readonly failsOnConflict: boolean;
  /** So is what it refuses of a send, and not refused for good. */
  readonly missesOnConflict: boolean;
  /** A repair deletes before it writes. */
  readonly deletesFirst: boolean;
}

export const UNIQUE_RULES: UniqueRules = { failsOnConflict: true, missesOnConflict: true, deletesFirst: true };

/** Who holds the one value that both rows may have; null: neither does, and has no row. */
type Holder = 1 | 2 | null;

interface UniqueWorld {
  readonly primary: Holder;
  readonly secondary: Holder;
  readonly ledger: readonly { readonly key: 1 | 2; readonly gone: boolean; readonly refused: boolean }[];
  readonly writesLeft: number;
  /** A batch with the second row was committed, and is on its way. */
  readonly sends: boolean;
}

/** Both sides hold the first row. Other writers delete it and insert the other one, which a consumer may do as well. */
export function uniqueModel(rules: UniqueRules): Model<UniqueWorld> {
  return {
    initial: { primary: 1, secondary: 1, ledger: [], writesLeft: 3, sends: false },
    transitions: steps(rules),
    invariants: [
      {
        name: 'promise 15: each change of the primary is on the secondary or in the ledger',
        holds: ({ primary, secondary, ledger }) =>
          ([1, 2] as const).every(
            (key) => (primary === key) === (secondary === key) || ledger.some((entry) => entry.key === key),
          ),
      },
    ],
    keyOf: (world) => JSON.stringify(world),
  };
}

export function isUniqueAtRest({ primary, secondary, ledger }: UniqueWorld): boolean {
  return primary === secondary && ledger.length === 0;
}

function steps(rules: UniqueRules): Transition<UniqueWorld>[] {
  const step = (by: string, name: string, apply: (world: UniqueWorld) => UniqueWorld | null) => ({ name, by, apply });
  return [
    step('writer', 'another writer deletes the row', (world) =>
      world.primary === null ? null : changed(world, null, { key: world.primary, gone: true }),
    ),
    ...([1, 2] as const).map((key) =>
      step('writer', `another writer inserts row ${key}`, (world) =>
        world.primary === null ? changed(world, key, { key, gone: false }) : null,
      ),
    ),
    step('writer', 'a consumer commits a batch with row 2', (world) => {
      if (world.primary !== null || world.sends) return null;
      const next = changed(world, 2, { key: 2, gone: false });
      return next && { ...next, sends: true };
    }),
    step('consumer', 'its send reaches the secondary', (world) => land(world, rules)),
    ...[0, 1, 2].map((nth) =>
      step('repair', `a repair takes entry ${nth + 1}`, (world) =>
        repair(world, world.ledger.slice(nth, nth + 1), rules),
      ),
    ),
    step('repair', 'a repair takes all entries', (world) => repair(world, world.ledger, rules)),
  ];
}

function changed(
  world: UniqueWorld,
  primary: Holder,
  entry: { readonly key: 1 | 2; readonly gone: boolean },
): UniqueWorld | null {
  if (world.writesLeft === 0) return null;
  const ledger = [...world.ledger, { ...entry, refused: false }];
  return { ...world, primary, ledger, writesLeft: world.writesLeft - 1 };
}

/** As in the code the entry is settled or stays by what became of the row; the marker is left out. */
function land(world: UniqueWorld, { missesOnConflict }: UniqueRules): UniqueWorld | null {
  const place = world.ledger.findIndex(({ key, gone }) => key === 2 && !gone);
  if (!world.sends || place === -1) return null;
  const sent = { ...world, sends: false };
  if (world.secondary !== 1) return { ...sent, secondary: 2, ledger: world.ledger.toSpliced(place, 1) };
  return missesOnConflict
    ? sent
    : { ...sent, ledger: world.ledger.with(place, { ...world.ledger[place]!, refused: true }) };
}

/** One transaction on the secondary, which holds the target: what it reads is what the primary holds then. */
function repair(world: UniqueWorld, claimed: UniqueWorld['ledger'], rules: UniqueRules): UniqueWorld | null {
  const taken = claimed.filter(({ refused }) => !refused);
  if (taken.length === 0) return null;
  const gone = taken.some((entry) => entry.gone && entry.key === world.secondary && entry.key !== world.primary);
  const wanted = taken.find(({ key }) => key === world.primary)?.key ?? null;
  const cleared = gone && rules.deletesFirst ? null : world.secondary;
  const isInTheWay = wanted !== null && cleared !== null && cleared !== wanted;
  if (isInTheWay && rules.failsOnConflict) return null;
  const written = wanted !== null && !isInTheWay ? wanted : cleared;
  const secondary = gone && written === world.secondary ? null : written;
  return { ...world, secondary, sends: false, ledger: world.ledger.filter((entry) => !taken.includes(entry)) };
}
