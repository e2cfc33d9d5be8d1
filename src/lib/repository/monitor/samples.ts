import type { Database, Queryable } from '../../db/database.js';
import type { TableRows } from './ledger-figures.js';

const FIGURES = [
  'lagSeconds',
  'gapRanges',
  'gapReadings',
  'pending',
  'missed',
  'refused',
  'inPerSecond',
  'toSecondaryPerSecond',
  'localP50Ms',
  'localP99Ms',
  'ec2P50Ms',
  'ec2P99Ms',
  'queued',
  'deadLetters',
  'consumers',
  'openBreakers',
] as const;

/** Figures of one moment; null is what was not known. */
export type SampleFigures = Readonly<Record<(typeof FIGURES)[number], number | null>>;

/** What a monitor saw at one moment. */
export interface Sample {
  /** UTC text. */
  readonly takenAt: string;
  readonly phase: number | null;
  readonly epoch: number;
  /** What was wrong, by kind; `unexplained` is what of it the ledger does not account for. */
  readonly troubles: readonly string[];
  readonly unexplained: readonly string[];
  readonly figures: SampleFigures;
  /** Of the troubles that are about rows, where these are. */
  readonly tables: readonly AffectedTable[];
}

/** The rows of a table that a kind of trouble is about. */
export interface AffectedTable extends TableRows {
  readonly kind: string;
}

/** What the samples say of a stretch of time, for a gate that asks whether it was watched and went well. */
export interface Soak {
  readonly samples: number;
  /** UTC text of the server; null without samples. */
  readonly first: string | null;
  readonly last: string | null;
  /** The longest time without a sample, from the beginning of the stretch to now, in seconds. */
  readonly largestHoleSeconds: number;
  /** Samples with any trouble: an outage of the secondary, a gap, and all that is unexplained. */
  readonly troubled: number;
  /**
   * Samples with trouble that the ledger does not account for: the primary or the queue silent, no consumer, dead letters,
   * a comparison with unexplained rows, a side that could not be read, a change of phase that did not end.
   */
  readonly unexplained: number;
}

/** One in so many seconds, of however many monitors there are; `sensorctl.record_samples` keeps none that is two closer. */
export const SAMPLE_EVERY_SECONDS = 10;

const RECORD = 'select sensorctl.record_samples($1)';
const THIN = 'select sensorctl.thin_samples()';

const READ = `
  select taken_at::text as "takenAt", phase, epoch, to_json(troubles)::text as troubles,
    to_json(unexplained)::text as unexplained, figures::text as figures
  from sensorctl.sample where taken_at >= $1::timestamptz order by taken_at`;

const READ_SOAK = `
  with sample as (select * from sensorctl.sample where taken_at >= $1::timestamptz)
  select count(*) as samples, min(taken_at)::text as first, max(taken_at)::text as last,
    count(*) filter (where cardinality(troubles) > 0) as troubled,
    count(*) filter (where cardinality(unexplained) > 0) as unexplained,
    (select coalesce(max(extract(epoch from at - before)), 0)::float8 from (
      select at, lag(at) over (order by at) as before from (
        select taken_at as at from sample union all select $1::timestamptz union all select clock_timestamp()
      ) as moments
    ) as holes) as "largestHoleSeconds"
  from sample`;

/** Keeps samples of the last hours, but for those next to one that is there; the tables stand among the figures. */
export async function recordSamples(primary: Queryable, samples: readonly Sample[]): Promise<void> {
  const given = samples.map(({ tables, ...sample }) => ({ ...sample, figures: { ...sample.figures, tables } }));
  await primary.query(RECORD, [JSON.stringify(given)]);
}

/** Keeps the record small, however long monitors run. */
export async function thinSamples(primary: Queryable): Promise<void> {
  await primary.query(THIN);
}

/** The samples since a time (UTC text), in their order. */
export async function readSamples(primary: Queryable, since: string): Promise<Sample[]> {
  const { rows } = await primary.query<Record<keyof Sample, unknown>>(READ, [since]);
  return rows.map(
    ({ troubles, unexplained, figures, ...row }) =>
      ({
        ...row,
        troubles: readTexts(troubles),
        unexplained: readTexts(unexplained),
        figures: readFigures(figures),
        tables: readAffected(figures),
      }) as Sample,
  );
}

/** The texts of a list; a sample is written by whoever may, and what is none counts as not there. */
function readTexts(json: unknown): string[] {
  return (JSON.parse(json as string) as unknown[]).filter((each) => typeof each === 'string');
}

/** The figures of a sample; what is no number counts as not known. */
function readFigures(json: unknown): SampleFigures {
  const given: unknown = JSON.parse(json as string);
  const figures = (typeof given === 'object' && given !== null ? given : {}) as Readonly<Record<string, unknown>>;
  const read = (name: string): number | null => (Number.isFinite(figures[name]) ? (figures[name] as number) : null);
  return Object.fromEntries(FIGURES.map((name) => [name, read(name)])) as SampleFigures;
}

/** What is no such entry counts as not there. */
function readAffected(json: unknown): AffectedTable[] {
  const tables: unknown = (JSON.parse(json as string) as { readonly tables?: unknown } | null)?.tables;
  if (!Array.isArray(tables)) return [];
  return (tables as (Partial<AffectedTable> | null)[]).flatMap((each) => {
    const { kind, table, rows } = each ?? {};
    const isOne = typeof kind === 'string' && typeof table === 'string' && typeof rows === 'number';
    return isOne ? [{ kind, table, rows }] : [];
  });
}

/** What was seen since a time (UTC text). */
export async function readSoak({ pool }: Pick<Database, 'pool'>, since: string): Promise<Soak> {
  const { rows } = await pool.query<Record<keyof Soak, unknown>>(READ_SOAK, [since]);
  const [row] = rows;
  return { ...row, largestHoleSeconds: Number(row?.largestHoleSeconds) } as Soak;
}
