import { namingSide, type Database } from '../../db/database.js';
import { isMadeAlready } from '../../db/sqlstate.js';
import type { Role } from '../../domain/side.js';
import { discoverTables } from '../tables/discover-tables.js';
import { KNOWN_TABLES } from '../tables/reading-tables.js';
import { instruct } from '../tables/select-tables.js';
import type { Table } from '../tables/table.js';
import { readTracked } from '../tables/written-tables.js';
import { readTracking, trackNewPartitions } from './tracking.js';

/**
 * Looks for partitions that tracked tables got since, by CREATE or ATTACH, which have no triggers yet, and gives them theirs;
 * answers the tables. A table of which anything else is wrong is left to `verify-schema` and the gates, and so is one whose axis
 * the settings name. The secondary first: nobody else may write a row there that the entry on the primary does not cover.
 */
export async function coverNewPartitions(databases: Readonly<Record<Role, Database>>): Promise<string[]> {
  const there = await coverSide(databases.secondary, 'secondary');
  const here = await coverSide(databases.primary, 'primary');
  return [...new Set([...there, ...here])];
}

async function coverSide(database: Database, role: Role): Promise<string[]> {
  return await namingSide(database, async () => {
    const tracked = await readTracked(database.pool);
    if (tracked.size === 0) return [];
    const { tables } = await discoverTables(database.pool);
    const partitioned = tables.filter(({ kind, label }) => kind === 'partitioned' && tracked.has(label));
    const trackings = await readTracking(database, partitioned.map(withKnownAxis));
    const lacking = trackings.filter(({ ofNewPartitions }) => ofNewPartitions.length > 0);
    for (const tracking of lacking) {
      await trackNewPartitions(database, tracking, role).catch((error: unknown) => {
        // Another consumer was faster, with all of it.
        if (!isMadeAlready(error)) throw error;
      });
    }
    return lacking.map(({ table }) => table.label);
  });
}

function withKnownAxis(table: Table): Table {
  const found = instruct(table, { axis: null, except: [] }, KNOWN_TABLES.get(table.label));
  return typeof found === 'string' ? table : found;
}
