import { asUnreachable, type Database } from '../../db/database.js';
import { UsageError } from '../../errors.js';
import { ALL_TABLES } from '../../repository/tables/reading-tables.js';
import { alignDefinitions } from './same-meaning.js';
import { compareSchemas } from './compare-schemas.js';
import type { Diagnosis, Finding, Weight } from './finding.js';
import { readMissingParents } from './missing-parents.js';
import { renderScript } from './script.js';
import { readSnapshot, type Snapshot } from './snapshot.js';
import { placeNames } from './names.js';

/** Whether dual write and repair are safe, and what was found. */
export interface SchemaVerdict {
  readonly verdict: 'compatible' | 'blocked';
  /** The heaviest first. */
  readonly findings: readonly Finding[];
}

export interface SchemaReport extends SchemaVerdict {
  /** SQL that brings EC2 in line with local. */
  readonly script: string;
}

const WEIGHTS: readonly Weight[] = ['blocks', 'warns', 'notes'];

/**
 * Compares both schemas in read-only transactions, but for one that is rolled back (`alignDefinitions`). `only` names the tables, of local; none means the four of sensorctl.
 * Throws a UsageError for a table that is not one of the four and that local does not have.
 */
export async function verifySchema(
  databases: { local: Database; ec2: Database },
  only: readonly string[] = [],
): Promise<SchemaReport> {
  const wanted = new Set(only.length === 0 ? ALL_TABLES : only);
  const tables = [
    ...ALL_TABLES.filter((table) => wanted.has(table)),
    ...[...wanted].filter((table) => !ALL_TABLES.includes(table)),
  ];
  const [here, ec2] = await Promise.all([readSide(databases.local, tables), readSide(databases.ec2, tables)]);
  for (const table of tables) if (!ALL_TABLES.includes(table)) assertExists(table, here);
  const local = await alignDefinitions(databases.ec2, { local: here, ec2 });
  const snapshots = { local, ec2 };
  const missingParents = await readMissingParents(databases, snapshots, tables);
  const diagnoses = compareSchemas({ ...snapshots, tables, missingParents }).map((each) => withNames(each, snapshots));
  const findings = WEIGHTS.flatMap((weight) =>
    diagnoses.map(({ finding }) => finding).filter((each) => each.weight === weight),
  );
  return {
    verdict: findings.some(({ weight }) => weight === 'blocks') ? 'blocked' : 'compatible',
    findings,
    script: renderScript(diagnoses, { tables }),
  };
}

/** Statements name tables as their side finds them: those of the script are for EC2, the others for local. */
function withNames({ finding, part }: Diagnosis, { local, ec2 }: { local: Snapshot; ec2: Snapshot }): Diagnosis {
  const { places } = part === null ? local : ec2;
  return {
    finding: { ...finding, mend: finding.mend === null ? null : placeNames(finding.mend, places) },
    part: part === null ? null : { ...part, sql: placeNames(part.sql, places) },
  };
}

async function readSide(database: Database, tables: readonly string[]): Promise<Snapshot> {
  try {
    return await readSnapshot(database, tables);
  } catch (error) {
    throw asUnreachable(error, database);
  }
}

function assertExists(table: string, { tables }: Snapshot): void {
  if (tables.has(table)) return;
  throw new UsageError(`local has no table ${table}`, { code: 'table-not-on-local' });
}
