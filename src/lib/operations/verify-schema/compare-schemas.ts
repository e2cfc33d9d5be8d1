import { compareAggregates } from './compare-aggregates.js';
import { compareRights } from './compare-rights.js';
import { compareServers } from './compare-servers.js';
import { compareTable } from './compare-tables.js';
import { diagnoseMissingParents, type MissingParents } from './missing-parents.js';
import type { Diagnosis } from './finding.js';
import type { Snapshot } from './snapshot.js';

/** Two catalogs, in the order of their tables. */
export interface Schemas {
  readonly local: Snapshot;
  readonly ec2: Snapshot;
  readonly tables: readonly string[];
  readonly missingParents: readonly MissingParents[];
}

/** Names everything in which the sides differ, and what either lacks; the same catalogs give the same answer. */
export function compareSchemas({ local, ec2, tables, missingParents }: Schemas): Diagnosis[] {
  return [
    ...compareServers(local, ec2),
    ...compareRights(local, ec2, tables),
    ...tables.flatMap((table) => compareTable(table, local, ec2)),
    ...diagnoseMissingParents(missingParents),
    ...compareAggregates(local, ec2, tables),
  ];
}
