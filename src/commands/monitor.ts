import * as Flags from '@oclif/core/flags';
import { adviseOn } from '../lib/cli/advice.js';
import { BaseCommand } from '../lib/cli/base-command.js';
import { monitorPresenter } from '../lib/cli/monitor/presenter.js';
import { LiveWeb } from '../lib/cli/monitor/live-page.js';
import { withMonitored } from '../lib/cli/open-queue.js';
import { numberFlag, metricsAddress, METRICS_FLAGS, durationFlag } from '../lib/cli/flags.js';
import { EXIT_CODE } from '../lib/errors.js';
import { parseConditions } from '../lib/operations/monitor/conditions.js';
import { monitor } from '../lib/operations/monitor/monitor.js';
import type { Snapshot } from '../lib/operations/monitor/monitor-snapshot.js';

export default class Monitor extends BaseCommand {
  static override summary = 'Watch the migration: one look says whether all is well, and why not.';
  static override description = `On a terminal a live picture (keys: q quit, p pause, ? what it means); elsewhere a line a look. Reads both sides, the queue and what the consumers tell of themselves; works while one side is down, and says so. What it sees is kept as samples on the primary, for the gates of a cutover and for monitor report.

--fail-on takes conditions such as lag>60s,gaps>0: exit code 1 where one holds at the last look, or where what it asks for is not known.`;
  static override examples = [
    '<%= config.bin %> <%= command.id %>',
    '<%= config.bin %> <%= command.id %> --once --json',
    '<%= config.bin %> <%= command.id %> --once --fail-on "lag>60s,gaps>0"',
    '<%= config.bin %> <%= command.id %> --web --metrics-port 9477',
  ];
  static override enableJsonFlag = true;
  static override flags = {
    interval: Flags.string({ default: '2s', description: 'time between two looks' }),
    window: Flags.string({ default: '1h', description: 'rows of the last 15m, 1h, 1d, … are counted' }),
    once: Flags.boolean({ description: 'look once, print it, and end' }),
    web: Flags.boolean({ description: 'show the picture as a page on 127.0.0.1, too' }),
    'web-port': numberFlag({
      min: 1,
      max: 65_535,
      default: 8477,
      description: 'port of that page',
    }),
    ...METRICS_FLAGS,
    'fail-on': Flags.string({ description: 'conditions for exit code 1, such as "lag>60s,gaps>0"' }),
    record: Flags.boolean({
      allowNo: true,
      default: true,
      description: 'keep samples on the primary as evidence, or not',
    }),
  };

  async run(): Promise<Snapshot | undefined> {
    const { flags } = await this.parse(Monitor);
    const conditions = flags['fail-on'] === undefined ? [] : parseConditions(flags['fail-on']);
    const intervalMs = durationFlag('interval', flags.interval, MIN_INTERVAL_MICROS) / 1000;
    const windowMicros = durationFlag('window', flags.window, MIN_WINDOW_MICROS);
    const settings = this.settings();
    const quit = new AbortController();
    const stop = AbortSignal.any([quit.signal, this.stopSignal()]);
    const web = flags.web ? new LiveWeb(flags['web-port']) : null;
    if (web !== null) this.note(`The live picture is at ${await web.open()}`);
    const presenter = monitorPresenter({
      style: flags.once ? 'once' : this.jsonEnabled() ? 'json' : 'live',
      print: (line) => this.logStyled(line),
      printJson: (value) => this.logJson(value),
      onQuit: () => quit.abort(),
    });
    const last = await withMonitored(settings, this.logger(), (sources) =>
      monitor({
        ...sources,
        selection: settings.tables,
        windowMicros,
        intervalMs,
        stop,
        once: flags.once,
        record: flags.record,
        metrics: metricsAddress(flags),
        advise: adviseOn,
        onSnapshot: (snapshot) => {
          presenter.show(snapshot);
          web?.show(snapshot);
        },
        onProblem: (problem) => presenter.note(problem),
      }),
    ).finally(() => {
      presenter.close();
      web?.close();
    });
    for (const note of presenter.notes) this.note(`Warning: ${note}`);
    const failing = last === null ? [] : conditions.filter(({ holds }) => holds(last));
    for (const { text } of failing) this.note(`Failed: ${text}`);
    if (failing.length > 0) process.exitCode = EXIT_CODE.no;
    return flags.once ? (last ?? undefined) : undefined;
  }

  /** One document a line, also the only one of --once. */
  protected override logJson(value: unknown): void {
    if (value !== undefined) super.logJson(value, 0);
  }
}

const MIN_INTERVAL_MICROS = 200_000;
const MIN_WINDOW_MICROS = 60_000_000;
