import * as Args from '@oclif/core/args';
import * as Flags from '@oclif/core/flags';
import { Parser } from '@oclif/core';
import { expect } from 'chai';
import { numberFlag } from '../../src/lib/cli/flags.js';
import { asUsageError, ownMessage } from '../../src/lib/cli/oclif-internals.js';

const FLAGS = {
  phase: Flags.string({ options: ['1', '2'], exclusive: ['rollback'] }),
  rollback: Flags.boolean(),
  force: Flags.boolean({ dependsOn: ['reason'] }),
  reason: Flags.string(),
  pollers: numberFlag({ description: 'polls', min: 1, max: 64 }),
};
const COMMAND = { name: 'cutover', flags: Object.keys(FLAGS) };

/** The package is pinned to one version: its parser exports neither its messages nor the classes of its errors. */
describe("the texts and fields of oclif's parser that we lean on", () => {
  for (const [typed, says] of [
    ['x --phase 3', '--phase cannot be 3; it is one of 1, 2'],
    ['x --phase', '--phase wants a value'],
    ['x --phase 1 --rollback', '--rollback and --phase exclude each other'],
    ['x --force', '--force wants --reason as well'],
    ['x --pollers 65', '--pollers should be a whole number, 1 to 64, not 65'],
    ['x --fase 1', 'cutover has no flag --fase; did you mean --phase?'],
    ['', 'cutover needs RECORD (such as local:12)'],
  ] as const) {
    it(`\`${typed}\`: ${says}`, async () => {
      const options = {
        flags: FLAGS,
        args: { record: Args.string({ required: true, description: 'such as local:12' }) },
      };
      const words = typed.split(' ').filter((word) => word !== '');
      const error = await Parser.parse(words, options).then(
        () => null,
        (reason: unknown) => reason as Error,
      );
      expect(error === null ? null : ownMessage(asUsageError(error, COMMAND) ?? error)).to.equal(says);
    });
  }
});
