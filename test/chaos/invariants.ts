import { setTimeout as sleep } from 'node:timers/promises';

import type pg from 'pg';

import { faultKind } from '../../src/lib/db/sqlstate.js';
import { READING_TABLES, type ReadingTable } from '../../src/lib/domain/reading.js';
import { readContent } from '../support/cli.js';
import { expectedOf } from '../support/expected-telemetry.js';
import type { ChaosStage } from './stage.js';

type Row = readonly [table: string, sensorId: string, time: string, hash: string, covered: boolean];

const TIME = `to_char(time, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')`;
const RETRY_MS = 50;

/** One statement, therefore one snapshot of rows and ledger. */
const READ_ROWS_AND_LEDGER = READING_TABLES.map((table) =>
  readRows(
    table,
    `coalesce((select range_agg(times) from sensorctl.ledger where table_name = '${table}') @> time, false)`,
  ),
).join(' union all ');
const READ_ROWS = READING_TABLES.map((table) => readRows(table, 'false')).join(' union all ');

/** A sensor id may not hold U+0000 in PostgreSQL: the quarantine keeps it as JSON writes it. */
const READ_QUARANTINE = `
  select fault ->> 'table' as table_name, fault ->> 'sensorId' as sensor_id, fault ->> 'time' as reading_time, body
  from sensorctl.quarantine, jsonb_array_elements(faults) as fault where resolution is distinct from 'moved'`;

/** What one look at both sides found; empty where all is well. */
export type Violations = readonly string[];

/**
 * Looks at both sides while they are written to, again and again. Each reading that local holds must be on EC2, equal, or
 * covered by the ledger: rows and ledger are read in one snapshot of local, EC2 after it. And each reading that EC2 holds
 * must be on local, equal: EC2's rows of one look are sought in the next snapshot of local. A side that is away is
 * waited for: what counts as stored has to be there when it is back.
 */
export class Observer {
  #looks = 0;
  #onEc2: ReadonlyMap<string, string> = new Map();

  /** In phase 3 the sides stand exchanged: `local` is whichever side is the primary. */
  constructor(private readonly stage: Pick<ChaosStage, 'local' | 'ec2'>) {}

  get looks(): number {
    return this.#looks;
  }

  async look(signal?: AbortSignal): Promise<Violations> {
    const local = await readWhenBack(this.stage.local, READ_ROWS_AND_LEDGER, signal);
    const onLocal = hashesOf(local);
    const premature = [...this.#onEc2].filter(([key, hash]) => onLocal.get(key) !== hash);
    const onEc2 = hashesOf(await readWhenBack(this.stage.ec2, READ_ROWS, signal));
    const uncovered = local.filter((row) => !row[4] && onEc2.get(keyOf(row)) !== row[3]);
    this.#onEc2 = onEc2;
    this.#looks += 1;
    return [
      ...premature.map(([key]) => `on EC2, and not so on local: ${key}`),
      ...uncovered.map((row) => `on local, not so on EC2, and not in the ledger: ${keyOf(row)}`),
    ];
  }

  /** Looks every `everyMs` until the signal aborts; throws at the first violation. */
  async watch(everyMs: number, signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const violations = await this.look(signal).catch((error: unknown) => {
        if (signal.aborted) return [];
        throw error;
      });
      if (violations.length > 0) throw new Error(`promise 1 or 3 was broken:\n${violations.slice(0, 20).join('\n')}`);
      await sleep(everyMs, undefined, { signal }).catch(() => undefined);
    }
  }
}

/** Entries that are to be settled sooner or later: all but what EC2 refused for good. */
export async function countUnsettled(stage: Pick<ChaosStage, 'local'>): Promise<number> {
  const { rows } = await stage.local.query<{ entries: string }>(
    "select count(*) as entries from sensorctl.ledger where state <> 'refused'",
  );
  return Number(rows[0]?.entries);
}

/**
 * The account at the end: each reading and each fault in the bodies sent is stored, or quarantined, exactly once;
 * nothing else is; both sides hold equal rows.
 */
export async function account(stage: Pick<ChaosStage, 'local' | 'ec2'>, bodies: Iterable<string>): Promise<Violations> {
  const [local, ec2, alone] = await Promise.all([
    readContent(stage.local),
    readContent(stage.ec2),
    accountOn(stage.local, [stage.local], bodies),
  ]);
  return [...Object.keys(local).flatMap((table) => compareRows(table, local[table] ?? [], ec2[table] ?? [])), ...alone];
}

/** The same of one side alone; the quarantine may be spread over both. */
export async function accountOn(
  primary: pg.Pool,
  quarantines: readonly pg.Pool[],
  bodies: Iterable<string>,
): Promise<Violations> {
  const rows = await primary.query<unknown[] & Row>({ text: READ_ROWS, rowMode: 'array' });
  const quarantined = await Promise.all(quarantines.map((pool) => pool.query<Quarantined>(READ_QUARANTINE)));
  // What came again after a switch may be in both.
  const [first = [], ...others] = quarantined.map((each) => each.rows);
  const known = new Set(first.map(quarantineKey));
  const anew = others.flat().filter((record) => !known.has(quarantineKey(record)));
  return accountFor(new Set(bodies), rows.rows.map(keyOf), [...first, ...anew]);
}

interface Quarantined {
  readonly table_name: string | null;
  readonly sensor_id: string | null;
  readonly reading_time: string | null;
  readonly body: string;
}

/** `stored` are the keys of all readings on local. */
function accountFor(bodies: ReadonlySet<string>, stored: readonly string[], quarantine: readonly Quarantined[]) {
  const missing: string[] = [];
  const unclaimed = new Set(stored);
  const storedKeys = new Set(stored);
  const refusals = new Map<string, number>();
  for (const record of quarantine) count(refusals, quarantineKey(record));
  const unclaimedRefusals = new Set(refusals.keys());
  for (const body of bodies) {
    const expected = expectedOf(body);
    for (const { table, sensorId, time } of expected.readings) {
      const key = `${table} ${sensorId} ${time}`;
      const refusal = quarantineKey({ table_name: table, sensor_id: storable(sensorId), reading_time: time, body });
      unclaimed.delete(key);
      unclaimedRefusals.delete(refusal);
      const places = Number(storedKeys.has(key)) + Number(refusals.has(refusal));
      if (places !== 1) missing.push(`reading in ${places} places: ${key} of ${body}`);
    }
    for (const { sensorId, time } of expected.faults) {
      const refusal = quarantineKey({ table_name: null, sensor_id: storable(sensorId), reading_time: time, body });
      unclaimedRefusals.delete(refusal);
      if (!refusals.has(refusal)) missing.push(`not in the quarantine: ${refusal}`);
    }
  }
  return [
    ...missing,
    ...[...unclaimed].map((key) => `stored, never sent: ${key}`),
    ...[...unclaimedRefusals].map((key) => `quarantined, never sent: ${key}`),
    ...(storedKeys.size < stored.length ? ['a reading is stored twice'] : []),
    ...[...refusals].filter(([, times]) => times > 1).map(([key]) => `quarantined twice: ${key}`),
  ];
}

function quarantineKey({ table_name, sensor_id, reading_time, body }: Quarantined): string {
  return JSON.stringify([table_name, sensor_id, reading_time, storable(body)]);
}

function storable<Text extends string | null>(text: Text): Text {
  return (text?.toWellFormed().replaceAll('\0', String.raw`\u0000`) ?? null) as Text;
}

function count(counts: Map<string, number>, key: string): void {
  counts.set(key, (counts.get(key) ?? 0) + 1);
}

/** Both sorted; rows that one side alone holds, or holds more often. */
function compareRows(table: string, local: readonly string[], ec2: readonly string[]): string[] {
  const surplus = new Map<string, number>();
  for (const row of local) count(surplus, row);
  for (const row of ec2) surplus.set(row, (surplus.get(row) ?? 0) - 1);
  return [...surplus]
    .filter(([, difference]) => difference !== 0)
    .map(([row, difference]) => `${table}: ${difference > 0 ? 'local' : 'EC2'} alone holds ${row}`);
}

function readRows(table: ReadingTable, covered: string): string {
  return `select '${table}', sensor_id, ${TIME}, hashtextextended(stored::text, 0)::text, ${covered} from ${table} as stored`;
}

function hashesOf(rows: readonly Row[]): Map<string, string> {
  return new Map(rows.map((row) => [keyOf(row), row[3]]));
}

function keyOf([table, sensorId, time]: Row): string {
  return `${table} ${sensorId} ${time}`;
}

async function readWhenBack(pool: pg.Pool, text: string, signal?: AbortSignal): Promise<Row[]> {
  for (;;) {
    signal?.throwIfAborted();
    try {
      return (await pool.query<unknown[] & Row>({ text, rowMode: 'array' })).rows;
    } catch (error) {
      if (faultKind(error) !== 'unavailable') throw error;
      await sleep(RETRY_MS, undefined, { signal });
    }
  }
}
