import { readTables } from './read-tables.js';
import { readOwnSchema, readServer, readTimescaleDb } from './server-facts.js';
import type { KnownTable, UpdateRule } from './table-pair.js';
import type { Database } from '../../db/database.js';
import { quoteIdentifier } from '../../db/identifiers.js';
import { sqlstateOf } from '../../db/sqlstate.js';
import { sideTitle } from '../../domain/side.js';
import { UnreachableError } from '../../errors.js';
import { READING_KEY, READING_TABLES, REGISTRY, REGISTRY_RULE } from '../../domain/reading.js';

/** The four tables of sensorctl, parents first. */
export const ALL_TABLES: readonly string[] = [REGISTRY, ...READING_TABLES];

const REGISTRY_UPDATED: UpdateRule = {
  newestBy: REGISTRY_RULE.newestBy,
  columns: ['sensor_type', REGISTRY_RULE.newestBy],
  remembered: REGISTRY_RULE.parts.flat(),
};

/** Facts about the guide's tables beyond their catalogs. */
export const KNOWN_TABLES: ReadonlyMap<string, KnownTable> = new Map<string, KnownTable>([
  // Each side sets these columns for itself.
  [REGISTRY, { key: ['sensor_id'], axis: null, except: ['created_at', 'updated_at'], updated: REGISTRY_UPDATED }],
  ...READING_TABLES.map((table) => [table, { key: READING_KEY, axis: 'time', except: [], updated: null }] as const),
]);
/** Those without an axis are compared whole, and brought by their keys. */
export const WHOLE_TABLES: readonly string[] = [...KNOWN_TABLES].flatMap(([table, { axis }]) =>
  axis === null ? [table] : [],
);
/** The column along which each of the others is cut. */
export const KNOWN_AXES: ReadonlyMap<string, string> = new Map(
  [...KNOWN_TABLES].flatMap(([table, { axis }]) => (axis === null ? [] : [[table, axis] as const])),
);

/** Whether a side holds any of the guide's tables; where it holds none, its telemetry is another one, and none is missing. */
export async function holdsGuideTables({ pool }: Database): Promise<boolean> {
  return (await readTables(pool, ALL_TABLES)).size > 0;
}

/** Multiranges came with PostgreSQL 14. */
export const OLDEST_SERVER = 140_000;

/** Creates the TimescaleDB extension where the server has it loaded; returns its version, null where it is not in use. */
export async function prepareTimescaleDb({ pool }: Database): Promise<string | null> {
  const state = await readTimescaleDb(pool);
  if (state.installed !== null || !state.creatable) return state.installed;
  try {
    const schema = quoteIdentifier(await readOwnSchema(pool));
    await pool.query(`create extension if not exists timescaledb schema ${schema}`);
  } catch (error) {
    // Two processes at once collide in the catalog (23505); one of them has created it.
    if (sqlstateOf(error) !== '23505') throw error;
  }
  return (await readTimescaleDb(pool)).installed;
}

/** Throws an UnreachableError where the server is too old or its encoding cannot hold every message. */
export async function assertServer({ pool, side }: Database): Promise<void> {
  const { version, encoding } = await readServer(pool);
  const where = `the ${sideTitle(side)} database`;
  if (version < OLDEST_SERVER) {
    const message = `${where} is PostgreSQL ${Math.floor(version / 10_000)}; sensorctl needs 14 or newer (multiranges)`;
    throw new UnreachableError(message, { code: 'server-too-old' });
  }
  if (encoding === 'UTF8') return;
  throw new UnreachableError(`${where} has the encoding ${encoding}, which cannot hold every message`, {
    code: 'encoding-not-utf8',
  });
}
