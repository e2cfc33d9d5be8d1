import type { Readable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import type { FoundFault } from '../decoders/check-decoded.js';
import { decodeMessages, type DecodedRows, type DecoderInput, type UsedDecoder } from '../decoders/run-decoder.js';
import { asUnreachable, type Database } from '../db/database.js';
import type { Row } from '../domain/row.js';
import { UsageError } from '../errors.js';
import { readMessageFiles, type FileLine } from '../queue/message-files.js';
import { RowTrial } from '../repository/write/try-rows.js';

/** What became of the message of a line. */
export interface DecodedLine {
  readonly file: string;
  readonly line: number;
  readonly rows: readonly Row[];
  readonly faults: readonly FoundFault[];
  /** The rows of a second time, where they were not the same: the decoder is not deterministic. */
  readonly differs: readonly Row[] | null;
}

/** What a decoder makes of messages. */
export interface DecodeSummary {
  readonly messages: number;
  /** Messages without a fault, and of which something is stored. */
  readonly sound: number;
  /** Messages that mean nothing to the decoder: it makes no row of them, and finds no fault. */
  readonly empty: number;
  readonly faulty: number;
  /** Messages that decoded to something else the second time. */
  readonly differing: number;
  readonly tables: readonly { readonly table: string; readonly rows: number }[];
  /** Reasons why something cannot be stored, but for the values in them; the most frequent one first. */
  readonly reasons: readonly { readonly reason: string; readonly faults: number }[];
}

export interface DecodeOptions {
  readonly paths: readonly string[];
  /** What `-` among the paths stands for. */
  readonly input: Readable;
  readonly decoder: UsedDecoder;
  /** Where given, rows are held against the tables of this database. */
  readonly database: Database | null;
  readonly onLine: (line: DecodedLine) => void;
  readonly stop: AbortSignal;
}

const LINES_AT_ONCE = 200;
/** Between the first time and the second, so that what comes from a clock differs. */
const APART_MS = 3;

/**
 * Decodes each message twice, and says what becomes of it; writes nothing. Throws a UsageError for a file that cannot be
 * read, and where the tables of the decoder do not fit.
 */
export async function decode(options: DecodeOptions): Promise<DecodeSummary> {
  try {
    return await decodeFiles(options);
  } catch (error) {
    throw options.database === null ? error : asUnreachable(error, options.database);
  }
}

async function decodeFiles(options: DecodeOptions): Promise<DecodeSummary> {
  const { decoder, database } = options;
  const trial = database === null ? null : new RowTrial(database, decoder.decoder.tables ?? {});
  if (trial !== null) await assertTablesFit(trial);
  const totals = new DecodeTotals();
  let group: FileLine[] = [];
  const finish = async (): Promise<void> => {
    for (const line of await decodeTwice(group, { decoder, trial })) {
      totals.add(line);
      options.onLine(line);
    }
    group = [];
  };
  for await (const line of readMessageFiles(options.paths, options.input)) {
    group.push(line);
    if (group.length >= LINES_AT_ONCE) await finish();
    if (options.stop.aborted) break;
  }
  await finish();
  return totals.summarize();
}

/** The second time from the last to the first: what a decoder remembers of other messages shows, too. */
async function decodeTwice(
  lines: readonly FileLine[],
  { decoder, trial }: { readonly decoder: UsedDecoder; readonly trial: RowTrial | null },
): Promise<DecodedLine[]> {
  const inputs = lines.map(({ file, line, body }) => ({ body, messageId: `${file}:${line}`, sentAt: null }));
  const first = await decodeAll(decoder, inputs);
  await delay(APART_MS);
  const second = (await decodeAll(decoder, inputs.toReversed())).reverse();
  return await Promise.all(
    lines.map(async ({ file, line }, place) => {
      const [one, other] = [first[place] ?? NOTHING, second[place] ?? NOTHING];
      const isSame = isDeepStrictEqual([one.units, one.faults], [other.units, other.faults]);
      const faults = [...one.faults, ...(await findUnfit(one.units, trial))];
      return { file, line, rows: one.units.flat(), faults, differs: isSame ? null : other.units.flat() };
    }),
  );
}

async function assertTablesFit(trial: RowTrial): Promise<void> {
  const obstacles = await trial.findObstacles();
  if (obstacles.length === 0) return;
  const list = obstacles.map(({ table, problem }) => `\n  - ${table} ${problem}`).join('');
  throw new UsageError(`the decoder and the tables of local do not fit:${list}`, { code: 'decoder-misfit' });
}

async function findUnfit(units: readonly (readonly Row[])[], trial: RowTrial | null): Promise<FoundFault[]> {
  if (trial === null) return [];
  const reasons = await Promise.all(units.map((rows) => trial.findReasons({ rows })));
  return reasons.flat().map((reason) => ({ reason, sensorId: null, time: null }));
}

const NOTHING: DecodedRows = { units: [], faults: [], bytes: 0, failed: false };

/** All of them; other work goes on in between. */
async function decodeAll(decoder: UsedDecoder, inputs: readonly DecoderInput[]): Promise<DecodedRows[]> {
  const decoded: DecodedRows[] = [];
  while (decoded.length < inputs.length) {
    decoded.push(...decodeMessages(decoder, inputs.slice(decoded.length)));
    await delay(0);
  }
  return decoded;
}

/** Values in the text of a reason: quoted ones, and numbers. */
const VALUES = /"(?:[^"\\]|\\.)*(?:"|…|$)|-?\d+(?:\.\d+)?(?:e[+-]?\d+)?/g;

class DecodeTotals {
  #messages = 0;
  #sound = 0;
  #empty = 0;
  #faulty = 0;
  #differing = 0;
  readonly #tables = new Map<string, number>();
  readonly #reasons = new Map<string, number>();

  add({ rows, faults, differs }: DecodedLine): void {
    this.#messages += 1;
    if (faults.length > 0) this.#faulty += 1;
    else if (rows.length > 0) this.#sound += 1;
    else this.#empty += 1;
    if (differs !== null) this.#differing += 1;
    for (const { table } of rows) count(this.#tables, table);
    for (const { reason } of faults) count(this.#reasons, reason.replace(VALUES, '…'));
  }

  summarize(): DecodeSummary {
    return {
      messages: this.#messages,
      sound: this.#sound,
      empty: this.#empty,
      faulty: this.#faulty,
      differing: this.#differing,
      tables: mostFrequent(this.#tables).map(([table, rows]) => ({ table, rows })),
      reasons: mostFrequent(this.#reasons).map(([reason, faults]) => ({ reason, faults })),
    };
  }
}

function count(counts: Map<string, number>, name: string): void {
  counts.set(name, (counts.get(name) ?? 0) + 1);
}

function mostFrequent(counts: ReadonlyMap<string, number>): [string, number][] {
  return [...counts].sort(([one, few], [other, many]) => many - few || (one < other ? -1 : 1));
}
