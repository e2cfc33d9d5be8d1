import type { Queryable } from '../../db/database.js';
import { describeFault } from '../../db/sqlstate.js';
import type { Row, Unit } from '../../domain/row.js';
import { sideTitle, type Side } from '../../domain/side.js';
import { counted } from '../../domain/words.js';
import type { Logger } from '../../logger.js';
import { readKnownKeys } from '../../repository/write/known-keys.js';

/** The share of sensors that a table knows, at most, where the messages seem to name them in another way. */
const NEARLY_NONE = 0.1;

interface Options {
  readonly fromMac: boolean | null;
  readonly logger: Logger;
}

/**
 * Warns where a table that is kept newest, as a registry of sensors is, holds rows on the primary, and (nearly) none of those
 * in the first batch: each would be a new one. Has to end before the batch is written. Never throws: it is a hint.
 */
export async function warnOfUnknownKeys(
  primary: { readonly side: Side; readonly pool: Queryable },
  units: readonly Unit[],
  options: Options,
): Promise<void> {
  const rows = units.flatMap((unit) => unit.rows.filter(({ write = 'first' }) => write !== 'first'));
  try {
    for (const table of new Set(rows.map((row) => row.table))) {
      await warnOfTable(
        primary,
        rows.filter((row) => row.table === table),
        options,
      );
    }
  } catch (error) {
    const { logger } = options;
    logger.debug('what is known of the first batch could not be asked for', { error: describeFault(error) });
  }
}

async function warnOfTable(
  { side, pool }: { readonly side: Side; readonly pool: Queryable },
  rows: readonly Row[],
  { fromMac, logger }: Options,
): Promise<void> {
  const [first] = rows;
  if (first?.write === undefined || first.write === 'first') return;
  const { table, write } = first;
  let keys: readonly string[] = [];
  const found = await readKnownKeys(pool, { table, newestBy: write.newestBy }, (column) => {
    keys = [...new Set(rows.flatMap(({ values }) => textOf(values[column])))];
    return keys;
  });
  if (found?.example == null || found.known > keys.length * NEARLY_NONE) return;
  const unknown = `${keys.length - found.known} of ${counted(keys.length, 'sensor')}`;
  logger.warn(`${table} on ${sideTitle(side)} does not know ${unknown} in the first batch`, {
    inMessages: keys[0],
    inRegistry: found.example,
    next: { code: 'sensors-unknown', facts: { fromMac } },
  });
}

function textOf(value: unknown): string[] {
  return typeof value === 'string' || typeof value === 'number' || typeof value === 'bigint' ? [String(value)] : [];
}
