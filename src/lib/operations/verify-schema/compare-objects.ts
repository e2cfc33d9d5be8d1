import { quoteIdentifier } from '../../db/identifiers.js';
import type { Step } from '../../repository/schema/apply.js';
import { FIRST_PART, idOf, rankOf, type ObjectKind, type SchemaObject } from '../../repository/schema/schema-object.js';
import { keyOfPair } from './compare-keys.js';
import type { Diagnosis } from './finding.js';
import {
  diagnoseAnnotations,
  diagnoseDifferent,
  diagnoseExtra,
  diagnoseMissing,
  isToldElsewhere,
} from './object-findings.js';
import type { Snapshot } from './snapshot.js';
import { TableLabels, type CatalogOfSide, type ObjectPair, type ObjectsOfSides } from './table-labels.js';

/** A step, and whether it comes before the tables that are there are mended. */
export type ObjectStep = Step & { readonly first: boolean; readonly table: string | null };

export interface ObjectDifferences {
  readonly diagnoses: readonly Diagnosis[];
  /** In an order in which they can be carried out on EC2. */
  readonly steps: readonly ObjectStep[];
  /** Roles that something of local names and EC2 does not have. */
  readonly missingRoles: readonly string[];
}

/** Every object of local that EC2 lacks or has otherwise, with the steps that bring it. */
export function compareObjects(sides: ObjectsOfSides): ObjectDifferences {
  const labels = new TableLabels(sides.local, sides.ec2);
  const lacking = findLacking(sides, labels);
  const different = findDifferent(sides, labels);
  const own = lacking.filter((object) => !isToldElsewhere(object, lacking, labels));
  return {
    diagnoses: [
      ...own.map((object) => diagnoseMissing(object, labels)),
      ...different.flatMap((pair) => diagnoseDifferent(pair, changeSql(pair), labels)),
      ...diagnoseAnnotations(lacking, different, sides.ec2.catalog),
      ...(sides.only === null ? diagnoseExtra(sides) : []),
    ],
    steps: stepsOf(lacking, different, { ec2: sides.ec2, labels }),
    missingRoles: [...new Set(lacking.flatMap(({ roles }) => roles))].filter(
      (name) => !sides.ec2.catalog.roles.has(name),
    ),
  };
}

function findLacking({ local, ec2, only }: ObjectsOfSides, labels: TableLabels): SchemaObject[] {
  const ids = new Set(ec2.catalog.objects.map(idOf));
  const alike = new Set(ec2.catalog.objects.flatMap((object) => object.alike ?? []));
  const lacking = local.catalog.objects.filter((object) => {
    if (ids.has(idOf(object)) || (object.alike !== null && alike.has(object.alike))) return false;
    if (labels.isClosed(object.table) || isMendedElsewhere(object, { local, ec2 }, labels)) return false;
    return true;
  });
  return onlyAsked(lacking, only, labels);
}

function findDifferent({ local, ec2, only }: ObjectsOfSides, labels: TableLabels): ObjectPair[] {
  const there = new Map(ec2.catalog.objects.map((object) => [idOf(object), object]));
  return local.catalog.objects.flatMap((object) => {
    const other = there.get(idOf(object));
    if (other === undefined || object.meaning === other.meaning || !isAsked(object, only, labels)) return [];
    return [{ local: object, ec2: other }];
  });
}

/** What belongs to the tables that are asked for, and what that rests on: types, functions, sequences. */
function onlyAsked(
  lacking: readonly SchemaObject[],
  only: readonly string[] | null,
  labels: TableLabels,
): SchemaObject[] {
  const asked = new Set(lacking.filter((object) => isAsked(object, only, labels)).map(idOf));
  // Whatever something rests on comes before it.
  for (const object of lacking.toReversed()) {
    if (asked.has(idOf(object))) object.needs.forEach((need) => asked.add(need));
  }
  return lacking.filter((object) => asked.has(idOf(object)));
}

const VIEWS: ReadonlySet<ObjectKind> = new Set<ObjectKind>(['view', 'materialized view']);

function isAsked({ table, kind }: SchemaObject, only: readonly string[] | null, labels: TableLabels): boolean {
  if (only === null) return true;
  if (VIEWS.has(kind)) return false;
  const label = labels.find(table);
  return label !== null && only.includes(label);
}

/** Where a table is there, what compares the tables knows what stands in the way of a default, a key, a hypertable. */
function isMendedElsewhere(
  object: SchemaObject,
  { local, ec2 }: Pick<ObjectsOfSides, 'local' | 'ec2'>,
  labels: TableLabels,
): boolean {
  const label = labels.find(object.table);
  const [here, there] = [local.snapshot.tables.get(label ?? ''), ec2.snapshot.tables.get(label ?? '')];
  if (label === null || here === undefined || there === undefined) return false;
  if (object.table?.name !== here.table.name.name || object.table.schema !== here.table.name.schema) return false;
  if (['default', 'hypertable'].includes(object.kind)) return true;
  if (!['key', 'index'].includes(object.kind)) return false;
  const key = keyOfPair({ table: label, local: here });
  const index = here.indexes.find(
    ({ name }) => object.identity.startsWith(`${quoted(name)} on `) || object.identity.endsWith(`.${quoted(name)}`),
  );
  return index?.unique === true && key !== null && index.columns?.toSorted().join() === key.toSorted().join();
}

/** As the server quotes names: only where it has to. */
function quoted(name: string): string {
  return /^[a-z_][a-z0-9_$]*$/.test(name) ? name : quoteIdentifier(name);
}

function stepsOf(
  lacking: readonly SchemaObject[],
  different: readonly ObjectPair[],
  { ec2, labels }: { ec2: CatalogOfSide; labels: TableLabels },
): ObjectStep[] {
  const stepOf = (object: SchemaObject, sql: string): ObjectStep => {
    const first = rankOf(object.kind) < rankOf(FIRST_PART);
    return { what: idOf(object), sql, first, table: labels.find(object.table) };
  };
  const isPossible = ({ roles }: SchemaObject): boolean => roles.every((name) => ec2.catalog.roles.has(name));
  const made = lacking
    .filter((object) => isPossible(object) && !(object.kind === 'owner' && object.meaning === ec2.catalog.role))
    .flatMap((object) => [
      stepOf(object, object.statement),
      ...grantToOwnRole(object, ec2.snapshot).map((sql) => stepOf(object, sql)),
    ]);
  const changed = different.flatMap((pair) => {
    const sql = isPossible(pair.local) ? changeSql(pair) : null;
    return sql === null ? [] : [{ ...stepOf(pair.local, sql), first: false }];
  });
  const firstLate = made.findIndex(({ first }) => !first);
  return [...made.map((step, at) => ({ ...step, first: firstLate === -1 || at < firstLate })), ...changed];
}

/** Somebody else may run the script. */
function grantToOwnRole({ kind, identity }: SchemaObject, { server }: Snapshot): string[] {
  if (kind !== 'table' || server.superuser) return [];
  return [`grant select, insert, update, delete on ${identity} to ${quoteIdentifier(server.role)}`];
}

const REPLACED: ReadonlySet<ObjectKind> = new Set<ObjectKind>(['policy', 'rule', 'trigger']);
const SET_AGAIN: ReadonlySet<ObjectKind> = new Set<ObjectKind>([
  ...(['function', 'comment', 'owner', 'rights', 'column setting', 'table setting', 'trigger setting'] as const),
  ...(['sequence owner', 'integer now'] as const),
]);

/** What makes EC2's object like local's and takes nothing away that rests on it; null where only a person can tell. */
function changeSql({ local, ec2 }: ObjectPair): string | null {
  if (SET_AGAIN.has(local.kind)) return local.statement;
  if (REPLACED.has(local.kind) && ec2.drop !== null) return `${ec2.drop};\n${local.statement}`;
  if (local.kind === 'view') return local.statement.replace(/^create view/, 'create or replace view');
  if (local.kind === 'sequence') return `alter sequence ${local.identity} ${local.meaning ?? ''}`;
  return null;
}
