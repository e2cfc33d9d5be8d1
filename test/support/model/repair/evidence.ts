import type { Model, Transition } from '../explore.js';

/** Rule 9, what a comparison proves of a tracked table. Parts of it may be taken out. */
export interface EvidenceRules {
  /** A comparison counts that began after the triggers were last made, enabled or altered. */
  readonly afterTriggers: boolean;
  /** One of the whole table, not of a window. */
  readonly ofWholeTable: boolean;
  /** Who gives a new partition its triggers enters it whole. */
  readonly enterPartition: boolean;
}

export const EVIDENCE_RULES: EvidenceRules = { afterTriggers: true, ofWholeTable: true, enterPartition: true };

interface EvidenceWorld {
  /** What the operator did to the triggers so far; each counts one up. */
  readonly version: number;
  readonly tracked: boolean;
  /** A partition has no triggers yet. */
  readonly bare: boolean;
  /** Where both sides differ, though no entry says so. */
  readonly differs: { readonly inWindow: boolean; readonly elsewhere: boolean };
  readonly entered: boolean;
  readonly comparison: { readonly began: number; readonly whole: boolean; readonly equal: boolean | null } | null;
  /** By which version of the triggers the last proof began; null: there is none. */
  readonly proof: number | null;
  readonly writesLeft: number;
  /** The gate has let the switch pass. */
  readonly switched: boolean;
}

const EQUAL = { inWindow: false, elsewhere: false };

export function evidenceModel(rules: EvidenceRules): Model<EvidenceWorld> {
  return {
    initial: {
      ...{ version: 0, tracked: false, bare: false, differs: EQUAL, entered: false, comparison: null, proof: null },
      ...{ writesLeft: 1, switched: false },
    },
    transitions: steps(rules),
    invariants: [
      {
        name: 'promise 15: a switch passes where each change of the primary is on the secondary or in the ledger',
        holds: ({ switched, differs, entered }) => !switched || entered || !(differs.inWindow || differs.elsewhere),
      },
    ],
    keyOf: (world) => JSON.stringify(world),
  };
}

function steps(rules: EvidenceRules): Transition<EvidenceWorld>[] {
  const step = (name: string, apply: (world: EvidenceWorld) => EvidenceWorld | null) => ({
    ...{ name, by: 'anyone' },
    apply: (world: EvidenceWorld) => (world.switched ? null : apply(world)),
  });
  return [
    ...(['inWindow', 'elsewhere'] as const).map((place) =>
      step(`another writer writes ${place === 'inWindow' ? 'in the window' : 'outside of it'}`, (world) => {
        const { writesLeft } = world;
        if (writesLeft === 0) return null;
        if (world.tracked && !world.bare) return { ...world, writesLeft: writesLeft - 1, entered: true };
        return { ...world, writesLeft: writesLeft - 1, differs: { ...world.differs, [place]: true } };
      }),
    ),
    step('the operator tracks the table', (world) =>
      world.tracked || world.version > 1 ? null : { ...world, tracked: true, version: world.version + 1 },
    ),
    step('somebody disables its triggers', (world) => (world.tracked ? { ...world, tracked: false } : null)),
    step('it gets a new partition', (world) => (world.bare ? null : { ...world, bare: true })),
    step('a healer gives the partition its triggers', (world) =>
      world.bare && world.tracked ? { ...world, bare: false, entered: world.entered || rules.enterPartition } : null,
    ),
    ...[true, false].map((whole) =>
      step(`a comparison of ${whole ? 'the whole table' : 'a window'} begins`, (world) =>
        world.comparison === null ? { ...world, comparison: { began: world.version, whole, equal: null } } : null,
      ),
    ),
    step('it reads both sides', ({ comparison, differs, ...world }) => {
      if (comparison?.equal !== null) return null;
      const equal = !differs.inWindow && !(comparison.whole && differs.elsewhere);
      return { ...world, differs, comparison: { ...comparison, equal } };
    }),
    step('it ends', ({ comparison, ...world }) => {
      if (comparison?.equal == null) return null;
      const counts = comparison.equal && (comparison.whole || !rules.ofWholeTable);
      return { ...world, comparison: null, proof: counts ? comparison.began : world.proof };
    }),
    step('the switch passes its gates', (world) => {
      const { tracked, bare, proof, version } = world;
      const isProven = proof !== null && (!rules.afterTriggers || proof === version);
      return tracked && !bare && isProven ? { ...world, switched: true } : null;
    }),
  ];
}
