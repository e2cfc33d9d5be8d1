// An operator as a process of its own: says each step of its switch on stdout, and waits at one of them for a line on stdin.
import { createInterface } from 'node:readline';
import { loadSettings } from '../../src/lib/config.js';
import { withSides } from '../../src/lib/cli/open-sides.js';
import { describeFault } from '../../src/lib/db/sqlstate.js';
import { otherSide } from '../../src/lib/domain/side.js';
import { silentLogger } from '../../src/lib/logger.js';
import type { StepName } from '../../src/lib/operations/cutover/cutover-report.js';
import { switchPrimary } from '../../src/lib/operations/cutover/switch.js';
import { findDecidingState } from '../../src/lib/repository/phase/deciding-state.js';

export interface OperatorRequest {
  readonly waitAt: StepName | null;
  readonly maxPauseMs: number;
}

const { waitAt, maxPauseMs } = JSON.parse(process.argv[2] ?? '{}') as OperatorRequest;
const print = (line: string): void => void process.stdout.write(`${line}\n`);
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const settings = loadSettings({ directory: process.cwd(), environment: process.env }, ['EC2_DB_HOST']);
try {
  const outcome = await withSides(settings, 'cutover', silentLogger, async (sides) => {
    const { state, primary } = await findDecidingState(sides);
    return await switchPrimary({
      ...{ from: primary, to: sides[otherSide(primary.side)], state, maxPauseMs },
      ...{ targetPhase: state.phase === 3 ? 2 : 3, keepLocalCurrent: false, endWriters: false, force: false },
      why: { by: 'an operator', reason: null, overriddenGates: [] },
      ...{ stop: new AbortController().signal, logger: silentLogger },
      onStep: async (name, detail) => {
        if (detail !== '') return;
        print(`step ${name}`);
        if (name === waitAt) await lines.next();
      },
    });
  });
  print(`done ${outcome.state.epoch}`);
  process.exit(0);
} catch (error) {
  print(`failed ${describeFault(error)}`);
  process.exit((error as { exitCode?: number }).exitCode ?? 70);
}
