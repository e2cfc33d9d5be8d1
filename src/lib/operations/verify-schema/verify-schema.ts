import { namingSide, type Database, type Queryable } from '../../db/database.js';
import { assertDistinct } from '../../db/identity.js';
import { readOnly } from '../../db/read-only.js';
import { EVERY_TABLE, type TableSelection } from '../../domain/table-patterns.js';
import { BOOKKEEPING_VERSION } from '../../repository/ledger/bookkeeping-schema.js';
import { queryableOf } from '../../repository/compare/sides.js';
import { readSchema } from '../../repository/schema/read-schema.js';
import type { LeftOut, SchemaCatalog } from '../../repository/schema/schema-object.js';
import { ALL_TABLES } from '../../repository/tables/reading-tables.js';
import { compareObjects, type ObjectDifferences } from './compare-objects.js';
import { compareSchemas } from './compare-schemas.js';
import { diagnoseTracking } from './compare-tracking.js';
import type { Diagnosis, Finding, Weight } from './finding.js';
import { diagnoseLeftOut, diagnoseNotCompared, missingRole } from './left-out.js';
import { readMissingParents } from './missing-parents.js';
import { placeNames, type Places } from './names.js';
import { alignDefinitions, alignViews } from './same-meaning.js';
import { planSteps, renderScript, type ScriptStep } from './script.js';
import { readSnapshot, type Snapshot, type WantedTables } from './snapshot.js';
import { findWantedTables, type TablesToCompare } from './wanted-tables.js';

/** Whether dual write and repair are safe, and what was found. */
export interface SchemaVerdict {
  readonly verdict: 'compatible' | 'blocked';
  /** The heaviest first. */
  readonly findings: readonly Finding[];
}

export interface SchemaReport extends SchemaVerdict {
  /** What brings EC2 in line with local, in order; `script` is the same as text. */
  readonly steps: readonly ScriptStep[];
  /** SQL that brings EC2 in line with local. */
  readonly script: string;
  /** What of local cannot be brought. */
  readonly leftOut: readonly LeftOut[];
}

interface Sides<Each> {
  readonly local: Each;
  readonly ec2: Each;
}

const WEIGHTS: readonly Weight[] = ['blocks', 'warns', 'notes'];

/**
 * Compares all that both sides hold, in read-only transactions but for those that are rolled back (`same-meaning.ts`).
 * `only` names tables of local, by name or pattern; none means everything. `selection` is what the
 * settings say of the migration's tables: others are brought as objects, and not looked at any closer. Throws a UsageError for a
 * table that local does not have, and where both sides are one database.
 */
export async function verifySchema(
  databases: Sides<Database>,
  only: readonly string[] = [],
  selection: TableSelection = EVERY_TABLE,
): Promise<SchemaReport> {
  const [here, there, { tables, local, ec2, notCompared }] = await Promise.all([
    readCatalog(databases.local),
    readCatalog(databases.ec2),
    readWanted(databases, selection, only),
    assertDistinct(queryableOf(databases.local), queryableOf(databases.ec2)),
  ]);
  const snapshots = { local: await alignDefinitions(databases.ec2, { local, ec2 }), ec2 };
  const catalogs = { local: await alignViews(databases.ec2, { local: here, ec2: there }), ec2: there };
  const guide = tables.filter((table) => ALL_TABLES.includes(table) || only.length > 0);
  const missingParents = await readMissingParents(databases, snapshots, guide);
  const objects = compareObjects({
    local: { snapshot: snapshots.local, catalog: catalogs.local },
    ec2: { snapshot: snapshots.ec2, catalog: catalogs.ec2 },
    only: only.length === 0 ? null : tables,
  });
  const diagnoses = [
    ...compareSchemas({ ...snapshots, tables, missingParents }),
    ...objects.diagnoses,
    ...(only.length === 0 ? diagnoseLeftOut(here.leftOut) : []),
    ...notCompared.map(diagnoseNotCompared),
    ...(isPrepared(local) && isPrepared(ec2) ? await diagnoseTracking(databases, { selection, names: tables }) : []),
  ].map((each) => withNames(each, snapshots));
  const leftOut = [...here.leftOut, ...objects.missingRoles.map(missingRole)];
  return report(diagnoses, objects, { tables, leftOut });
}

/** Where its bookkeeping is not there, or of another version, that is a finding of its own, and comes first. */
function isPrepared({ bookkeepingVersion }: Snapshot): boolean {
  return bookkeepingVersion === BOOKKEEPING_VERSION;
}

function report(
  diagnoses: readonly Diagnosis[],
  objects: ObjectDifferences,
  { tables, leftOut }: { tables: readonly string[]; leftOut: readonly LeftOut[] },
): SchemaReport {
  const findings = WEIGHTS.flatMap((weight) =>
    diagnoses.map(({ finding }) => finding).filter((each) => each.weight === weight),
  );
  const steps = planSteps(diagnoses, objects.steps, tables);
  return {
    verdict: findings.some(({ weight }) => weight === 'blocks') ? 'blocked' : 'compatible',
    findings,
    steps: steps.filter(({ runs }) => runs),
    script: renderScript(steps, diagnoses),
    leftOut,
  };
}

/** Statements name tables as their side finds them: those of the script are for EC2, the others for local. */
function withNames({ finding, part, ...rest }: Diagnosis, { local, ec2 }: Sides<Snapshot>): Diagnosis {
  const onEc2: Places = { ...ec2.places, tables: new Map([...local.places.tables, ...ec2.places.tables]) };
  const places = part === null ? local.places : onEc2;
  return {
    ...rest,
    finding: { ...finding, mend: finding.mend === null ? null : placeNames(finding.mend, places) },
    part: part === null ? null : { ...part, sql: placeNames(part.sql, onEc2) },
  };
}

/** The tables that are compared, what both sides say of them, and those that are not. */
async function readWanted(
  { local, ec2 }: Sides<Database>,
  selection: TableSelection,
  only: readonly string[],
): Promise<Sides<Snapshot> & { tables: readonly string[]; notCompared: TablesToCompare['leftOut'] }> {
  const { wanted, leftOut } = await namingSide(local, () => findWantedTables(local.pool, selection, only));
  const [here, there] = await Promise.all([readSide(local, wanted), readSide(ec2, wanted)]);
  return { tables: [...wanted.keys()], local: here, ec2: there, notCompared: leftOut };
}

async function readCatalog(database: Database): Promise<SchemaCatalog> {
  return await namingSide(database, async () => await readOnly(database, (client: Queryable) => readSchema(client)));
}

async function readSide(database: Database, wanted: WantedTables): Promise<Snapshot> {
  return await namingSide(database, () => readSnapshot(database, wanted));
}
