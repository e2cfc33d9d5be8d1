import { expect } from 'chai';

import type { Side } from '../../src/lib/domain/side.js';
import { explore, type Exploration } from '../support/model/explore.js';
import { PROTOCOL, type Rules } from '../support/model/rules.js';
import { switchModel } from '../support/model/switch.js';
import { ALL_MESSAGES, isOpen, SIDES, type World } from '../support/model/world.js';

/** What the protocol is checked in: a switch, a rollback and a second switch, or attempts called off in between. */
const SETTINGS: readonly (readonly [string, Partial<Rules>])[] = [
  ['phase 3 leaves what local misses to the ledger on EC2', {}],
  ['phase 3 keeps local current', { keepLocalCurrent: true, attempts: 2 }],
  ['both messages hold the same key', { sameKey: true, keepLocalCurrent: true }],
  ['a backfill repairs sensor_registry meanwhile', { registryRepair: 'asserting', sameKey: true, attempts: 2 }],
];

/** A rule that is taken out, and the promise that falls. */
const BROKEN: readonly (readonly [string, Partial<Rules>, string])[] = [
  ['writers take no fence, and the operator waits for nobody', { fence: false }, 'promises 3 and 11'],
  ['the ledger is drained without waiting for writers first', { fenceBeforeDrain: false }, 'promises 3 and 11'],
  ['the row is read before the lock is held', { readAfterLock: false }, 'promises 3 and 11'],
  ['no ledger entry is committed with the reading', { enterWithReading: false }, 'promise 3: each reading'],
  ['the ledger is not drained', { drainLedger: false }, 'promises 3 and 11'],
  ['a copy replaces a row of a higher epoch', { epochsOnlyGrow: false }, 'promise 9: no two sides'],
  ['the commit point does not look at the token', { tokenAtCommit: false }, 'promises 3 and 11'],
  [
    'the commit point looks at nothing',
    { tokenAtCommit: false, drainingAtCommit: false, deadlineAtCommit: false },
    'promise 9',
  ],
  [
    'writers look neither at the primary nor at the epoch',
    { refuseOtherPrimary: false, refuseOtherEpoch: false },
    'promise 9: no commit on the old primary',
  ],
  [
    'writers look neither for a draining row nor at the epoch',
    { refuseDraining: false, refuseOtherEpoch: false },
    'promises 3 and 11',
  ],
  ['a backfill trusts what it read before it locked sensor_registry', { registryRepair: 'trusting' }, 'promise 7'],
];

/** Rules without which nothing falls, since another one holds the same door. */
const HELD_TWICE: readonly (readonly [string, Partial<Rules>])[] = [
  ['the epoch that a writer knows (SF003), where it looks at primary and draining', { refuseOtherEpoch: false }],
  [
    'primary and draining (SF001, SF002), where the writer looks at the epoch',
    { refuseOtherPrimary: false, refuseDraining: false },
  ],
  [
    'all that the commit point looks at beside the token',
    { fenceAtCommit: false, drainingAtCommit: false, deadlineAtCommit: false },
  ],
];

describe('the protocol of fence, epoch and ledger, in every interleaving', () => {
  for (const [title, change] of SETTINGS) {
    describe(`where ${title}`, () => {
      let states: Exploration<World>;

      before(() => {
        states = explore(switchModel({ ...PROTOCOL, ...change }));
      });

      it('keeps promises 2, 3, 9 and 11', function () {
        this.test!.title += `, in ${states.size} states`;
        expect(describeViolation(states)).to.equal('none');
      });

      it('reaches phase 3 and, rolled back, phase 2 with every message stored', () => {
        for (const side of [...SIDES].reverse()) {
          expect(states.findTrace((world) => world.switches.length > 0 && isDoneOn(world, side))).not.to.equal(null);
        }
      });

      it('lets consumers go on from everywhere without an operator, until every message is acknowledged', () => {
        expect(states.findTrap(isAcknowledged, isNoOperator)).to.equal(null);
        expect(states.findTrap((world) => SIDES.some((side) => isOpen(world, side)), isNoOperator)).to.equal(null);
      });
    });
  }

  for (const [title, change, promise] of BROKEN) {
    it(`breaks a promise where ${title}`, function () {
      const { violation } = explore(switchModel({ ...PROTOCOL, ...change }));
      expect(violation?.invariant).to.include(promise);
      this.test!.title += `, after ${violation!.trace.length} steps`;
    });
  }

  for (const [title, change] of HELD_TWICE) {
    it(`does without ${title}`, () => {
      expect(explore(switchModel({ ...PROTOCOL, keepLocalCurrent: true, attempts: 2, ...change })).violation).to.equal(
        null,
      );
    });
  }

  it('leaves consumers stuck where an operator that died alone may call off, or complete', () => {
    for (const change of [{ anyoneCallsOff: false }, { anyoneCompletes: false }]) {
      const states = explore(switchModel({ ...PROTOCOL, ...change, attempts: 1 }));
      expect(states.findTrap(isAcknowledged, isNoOperator)).not.to.equal(null);
    }
  });

  it('is explored whole by its keys: a state for each that all states, told apart by all they hold, have', () => {
    const model = switchModel({ ...PROTOCOL, sameKey: true, keepLocalCurrent: true, attempts: 1 });
    const whole = explore({ ...model, keyOf: (world) => JSON.stringify(world) });
    expect(describeViolation(whole)).to.equal('none');
    expect(whole.keysBy(model.keyOf).size).to.equal(explore(model).size);
  });
});

/** The invariant that broke, and each step that led there. */
function describeViolation({ violation }: Exploration<World>): string {
  return violation === null ? 'none' : [violation.invariant, ...violation.trace].join('\n');
}

function isDoneOn(world: World, side: Side): boolean {
  return isOpen(world, side) && isAcknowledged(world);
}

function isAcknowledged({ acknowledged }: World): boolean {
  return acknowledged === ALL_MESSAGES;
}

function isNoOperator(by: string): boolean {
  return by !== 'operator';
}
