// Consumers, other writers, repairs and a backfill, in every interleaving; and the nine rules, each taken out.
import { expect } from 'chai';
import { explore, type Exploration, type Model, type Violation } from '../support/model/explore.js';
import { EVIDENCE_RULES, evidenceModel } from '../support/model/repair/evidence.js';
import { FAMILY_RULES, familyModel } from '../support/model/repair/family.js';
import { GATE_RULES, gateModel } from '../support/model/repair/gate.js';
import { isAtRest, repairModel } from '../support/model/repair/model.js';
import { CAST, RULES, type Cast, type RepairRules } from '../support/model/repair/rules.js';
import { isUniqueAtRest, UNIQUE_RULES, uniqueModel } from '../support/model/repair/unique.js';
import type { RepairWorld } from '../support/model/repair/world.js';

const SETTINGS: readonly (readonly [string, Partial<Cast>, 0 | 1])[] = [
  ['two repairs, a batch and its late sends, and two statements of another writer', { batchCount: 1 }, 0],
  ['the same with a row that is there to begin with', { batchCount: 1 }, 1],
  ['two repairs, two batches of the same key, and a statement of another writer', { writes: 1 }, 0],
  ['a repair, two batches of the same key, and two statements of another writer', { repairs: 1 }, 0],
  ['batches that keep the newest row', { repairs: 1, writes: 1, batches: 'newest' }, 1],
  ['the table is rewritten between snapshot and read', { repairs: 1, batchCount: 1, rewritings: 1 }, 1],
  ['a unit of a backfill beside a repair', { repairs: 1, writes: 2, batchCount: 1, unit: true }, 1],
  ['the same, and the table is rewritten', { repairs: 1, writes: 1, batchCount: 1, unit: true, rewritings: 1 }, 1],
];

const repairs = (rules: Partial<RepairRules>, cast: Partial<Cast> = {}, row: 0 | 1 = 0): Model<RepairWorld> =>
  repairModel({ ...RULES, ...rules }, { ...CAST, ...cast }, row);
const isBroken =
  <State>(model: Model<State>) =>
  (): Violation | null =>
    explore(model).violation;
const bare = (...given: Parameters<typeof repairs>): (() => Violation | null) => isBroken(repairs(...given));
const gate = (rules: Partial<typeof GATE_RULES>): (() => Violation | null) =>
  isBroken(gateModel({ ...GATE_RULES, ...rules }));

const ALONE: Partial<Cast> = { repairs: 1, batchCount: 1 };

/** A rule, or a part of one, and the promise that falls without it. */
const BROKEN: readonly (readonly [string, () => Violation | null, string])[] = [
  ['1: the entry is made after the write, in another transaction', bare({ enterWithWrite: false }), 'promise 15'],
  ['1: a delete is entered as if the row were touched', bare({ nameGone: false }, {}, 1), 'promise 15'],
  [
    "2: what the operator's triggers write in a consumer's transaction is left out",
    bare({ skipOwnTablesAlone: false }),
    'promise 15',
  ],
  ['3: writers do not hold the gate', gate({ gate: false }), 'promise'],
  ['3: the gate is open again before the commit point', gate({ heldUntilCommit: false }), 'promise'],
  ['3: the record is read before the gate is held', gate({ readAfterGate: false }), 'promise 17'],
  ['3: an old snapshot reads the record without a lock', gate({ lockRecord: false }), 'promise 17'],
  ['3: a statement older than the switch goes on', gate({ refuseOlder: false }), 'promise 17'],
  ['3: the side that is not the primary refuses nobody', gate({ refuseSecondary: false }), 'promise 17'],
  ['4: repairs do not hold the target', bare({ lockTarget: false }, ALONE), 'promise 16'],
  [
    '4: a repair reads before it holds the target',
    bare({ readAfterLock: false }, { repairs: 1, writes: 1 }),
    'promise',
  ],
  [
    '4: a repair that deletes does not hold what refers to its table',
    isBroken(familyModel({ ...FAMILY_RULES, lockFamily: false })),
    'promise 16',
  ],
  ['5: sends leave no marker', bare({ markSends: false }, ALONE), 'promise 16'],
  ['5: a repair marks no batches', bare({ markUnsettled: false }, ALONE), 'promise 16'],
  ['5: a repair takes what is missed for dead, and marks it not', bare({ markMissed: false }, ALONE), 'promise 16'],
  ['5: a dead consumer may send once its markers are gone', bare({ refuseDead: false }, ALONE), 'promise 16'],
  [
    '6: nobody asks whether the snapshot showed the rows',
    bare({ lookForRewriting: false }, { repairs: 1, batchCount: 1, rewritings: 1 }, 1),
    'promise 15',
  ],
  [
    '7: what another row stands in the way of is passed over',
    isBroken(uniqueModel({ ...UNIQUE_RULES, failsOnConflict: false })),
    'promise 15',
  ],
  ['8: a repair settles all that there is of the row', bare({ settleById: false }), 'promise'],
  ['8: a repair settles before the secondary has committed', bare({ settleLast: false }), 'promise 15'],
  [
    '9: a comparison counts that began before the triggers were made',
    isBroken(evidenceModel({ ...EVIDENCE_RULES, afterTriggers: false })),
    'promise 15',
  ],
  ['9: so does that of a window', isBroken(evidenceModel({ ...EVIDENCE_RULES, ofWholeTable: false })), 'promise 15'],
  [
    '9: a new partition gets its triggers without an entry',
    isBroken(evidenceModel({ ...EVIDENCE_RULES, enterPartition: false })),
    'promise 15',
  ],
];

const isNoProgram = (by: string): boolean => by === 'consumer' || by === 'repair' || by === 'unit';

describe('the ledger for any writer, in every interleaving', () => {
  for (const [title, cast, row] of SETTINGS) {
    describe(`of ${title}`, () => {
      let states: Exploration<RepairWorld>;

      before(() => {
        states = explore(repairModel(RULES, { ...CAST, ...cast }, row));
      });

      it('keeps promises 15 and 16', function () {
        this.test!.title += `, in ${states.size} states`;
        expect(describeViolation(states)).to.equal('none');
      });

      it('lets consumers and repairs bring both sides together from everywhere, and empty the ledger', () => {
        expect(states.findTrap(isAtRest, isNoProgram)).to.equal(null);
      });
    });
  }

  it('of a switch beside other writers keeps promise 17, and loses nothing', () => {
    const states = explore(gateModel(GATE_RULES));
    expect(describeViolation(states)).to.equal('none');
    const writes = states.findTrace(({ operator, written }) => operator === 'completed' && written > 0);
    expect(writes, 'a switch that took writes along').not.to.equal(null);
  });

  it('of a table, one that refers to it, and a second unique key keeps promises 15 and 16', () => {
    for (const rules of [FAMILY_RULES, { lockFamily: false, replicaRole: true }])
      expect(describeViolation(explore(familyModel(rules)))).to.equal('none');
    const states = explore(uniqueModel(UNIQUE_RULES));
    expect(describeViolation(states)).to.equal('none');
    expect(states.findTrap(isUniqueAtRest, isNoProgram)).to.equal(null);
  });

  it('of triggers, partitions and comparisons lets no switch pass over what nobody entered', () => {
    const states = explore(evidenceModel(EVIDENCE_RULES));
    expect(describeViolation(states)).to.equal('none');
    expect(states.findTrace(({ switched }) => switched)).not.to.equal(null);
  });
});

describe('each of the nine rules, taken out, breaks a promise', () => {
  const told: string[] = [];

  after(() => process.stdout.write(told.map((line) => `${line}\n`).join('')));

  for (const [title, breakPromise, promise] of BROKEN) {
    it(title, function () {
      const violation = breakPromise();
      expect(violation?.invariant ?? 'none').to.include(promise);
      this.test!.title += `: ${violation!.invariant.split(':')[0]!}, after ${violation!.trace.length} steps`;
      told.push(
        `    ${title}\n      ${violation!.invariant}\n${violation!.trace.map((step) => `        ${step}`).join('\n')}`,
      );
    });
  }

  it('but for the second look at what is gone, where the snapshot that was read is looked at', () => {
    for (const cast of [{ batchCount: 1 } as const, { ...ALONE, rewritings: 1 }])
      expect(describeViolation(explore(repairs({ confirmGone: false }, cast, 1)))).to.equal('none');
  });

  it('or keeps both sides apart for ever: 2, on the secondary the triggers let nobody in', () => {
    const states = explore(repairs({ openSecondary: false }, ALONE));
    expect(describeViolation(states)).to.equal('none');
    const trap = states.findTrap(({ primary, secondary }) => primary === secondary, isNoProgram);
    expect(trap).not.to.equal(null);
  });

  it('or keeps both sides apart for ever: 7, what another row stood in the way of is refused for good', () => {
    const states = explore(uniqueModel({ ...UNIQUE_RULES, missesOnConflict: false }));
    expect(states.findTrap(isUniqueAtRest, isNoProgram)).not.to.equal(null);
  });
});

/** The invariant that broke, and each step that led there. */
function describeViolation({ violation }: { readonly violation: Violation | null }): string {
  return violation === null ? 'none' : [violation.invariant, ...violation.trace].join('\n');
}
