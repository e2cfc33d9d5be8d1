import { idOf, type ObjectKind, type SchemaCatalog, type SchemaObject } from '../../repository/schema/schema-object.js';
import { counted } from '../../domain/words.js';
import { blocks, notes, STEP, warns, type Diagnosis, type Mend, type Weight } from './finding.js';
import type { ObjectPair, ObjectsOfSides, TableLabels } from './table-labels.js';

/** What the lack of an object does: to dual write and repair, or once EC2 is the primary. */
const LACKING: Readonly<Partial<Record<ObjectKind, readonly [Weight, string]>>> = {
  sequence: ['warns', 'once EC2 is the primary, nothing counts on where local stopped'],
  trigger: ['warns', 'EC2 gets the row as local stored it; once EC2 is the primary nothing runs there'],
  check: ['notes', 'EC2 takes every row of local; once EC2 is the primary it takes rows that local would refuse'],
  key: ['notes', 'EC2 takes every row of local; once EC2 is the primary it takes rows that local would refuse'],
  'foreign key': [
    'notes',
    'EC2 takes every row of local; once EC2 is the primary it takes rows that local would refuse',
  ],
  index: ['notes', 'EC2 answers the queries that it serves more slowly'],
  statistics: ['notes', 'EC2 may plan queries otherwise'],
  'column setting': ['notes', 'rows are the same'],
  'table setting': ['notes', 'rows are the same'],
  'continuous aggregate': [
    'warns',
    'programs that read it fail on EC2; after the backfill refresh it, from its parents on down',
  ],
  policy: ['warns', 'once EC2 is the primary, rows are shown or hidden otherwise'],
  'row security': ['warns', 'once EC2 is the primary, rows are shown that local hides'],
};
const USUAL: readonly [Weight, string] = ['warns', 'programs that use it fail on EC2 once EC2 is the primary'];
/** What is said of the tables says what their lack does. */
const TOLD_WITH_TABLES: ReadonlySet<ObjectKind> = new Set<ObjectKind>([
  ...([
    'table',
    'default',
    'identity',
    'partition',
    'index partition',
    'hypertable',
    'dimension',
    'compression',
  ] as const),
]);
/** Said together: there are many, and each says little. */
const ANNOTATIONS: ReadonlySet<ObjectKind> = new Set<ObjectKind>(['comment', 'owner', 'rights']);

const WEIGHT = { blocks, warns, notes };

/** What comes with an object that is missing too, or is told with the table or with its like. */
export function isToldElsewhere(object: SchemaObject, lacking: readonly SchemaObject[], labels: TableLabels): boolean {
  if (TOLD_WITH_TABLES.has(object.kind) || ANNOTATIONS.has(object.kind)) return true;
  if (object.kind === 'job' && labels.find(object.table) !== null) return true;
  return isPartOf(object, lacking);
}

/** Whether the table, the view or the object of which it is a part is missing too. */
function isPartOf(object: SchemaObject, lacking: readonly SchemaObject[]): boolean {
  return lacking.some(
    (other) =>
      idOf(other) === object.of ||
      (other !== object &&
        ['table', 'view', 'materialized view', 'continuous aggregate'].includes(other.kind) &&
        other.table?.schema === object.table?.schema &&
        other.table?.name === object.table?.name),
  );
}

export function diagnoseMissing(object: SchemaObject, labels: TableLabels): Diagnosis {
  const [weight, reason] = LACKING[object.kind] ?? USUAL;
  const about = { local: shortOf(object), ec2: 'does not exist', ...aboutOf(object, labels) };
  return WEIGHT[weight]({ ...about, reason }, { brought: `${object.statement};` });
}

export function diagnoseDifferent({ local, ec2 }: ObjectPair, change: string | null, labels: TableLabels): Diagnosis[] {
  // Triggers, partitions and policies of TimescaleDB are compared with their tables.
  if (ANNOTATIONS.has(local.kind) || ['trigger', 'partition', 'job'].includes(local.kind)) return [];
  const about = { local: local.meaning ?? '', ec2: ec2.meaning ?? '', ...aboutOf(local, labels) };
  const isSetting = local.kind.endsWith('setting');
  const reason = isSetting ? 'rows are the same' : 'it may answer otherwise once EC2 is the primary';
  const mend: Mend | undefined =
    change !== null
      ? { brought: `${change};` }
      : ec2.drop === null
        ? undefined
        : { step: STEP.policies, optional: `${ec2.drop};\n${local.statement};` };
  return [isSetting ? notes({ ...about, reason }, mend) : warns({ ...about, reason }, mend)];
}

/** One finding for all comments, one for each owner, one for each role that lacks rights. */
export function diagnoseAnnotations(
  lacking: readonly SchemaObject[],
  different: readonly ObjectPair[],
  ec2: Pick<SchemaCatalog, 'roles' | 'role'>,
): Diagnosis[] {
  const own = [...lacking.filter((object) => !isPartOf(object, lacking)), ...different.map(({ local }) => local)];
  const found = own.filter(({ kind, meaning }) => ANNOTATIONS.has(kind) && !(kind === 'owner' && meaning === ec2.role));
  const groups = new Map<string, SchemaObject[]>();
  for (const object of found) groups.set(groupOf(object), [...(groups.get(groupOf(object)) ?? []), object]);
  return [...groups].map(([subject, objects]) => diagnoseGroup(subject, objects, ec2.roles));
}

function groupOf({ kind, roles }: SchemaObject): string {
  if (kind === 'comment') return 'comments';
  return `${kind === 'owner' ? 'ownership' : 'rights'} of ${roles[0] ?? 'everybody'}`;
}

function diagnoseGroup(subject: string, objects: readonly SchemaObject[], roles: ReadonlySet<string>): Diagnosis {
  const [first] = objects;
  const about = { table: null, subject, local: counted(objects.length, 'object'), ec2: 'otherwise' };
  const missing = first?.roles.find((role) => !roles.has(role));
  if (missing !== undefined) {
    const reason = `the role ${missing} does not exist on EC2: what it owns or may do there cannot be brought`;
    return warns(
      { ...about, reason },
      { elsewhere: `on ec2, once with each role: pg_dumpall --roles-only, from local` },
    );
  }
  const brought = objects.map(({ statement }) => `${statement};`).join('\n');
  if (first?.kind === 'comment') return notes({ ...about, reason: 'changes no row' }, { brought });
  const reason = 'once EC2 is the primary, programs may do there what they may on local only with the same rights';
  return first?.kind === 'owner' ? notes({ ...about, reason }, { brought }) : warns({ ...about, reason }, { brought });
}

/** Views and aggregates that EC2 alone holds: they are no hindrance, and nothing takes them away. */
export function diagnoseExtra({ local, ec2 }: ObjectsOfSides): Diagnosis[] {
  const ids = new Set(local.catalog.objects.map(idOf));
  return ec2.catalog.objects
    .filter((object) => ['table', 'view', 'materialized view'].includes(object.kind) && !ids.has(idOf(object)))
    .map((object) => {
      const about = { table: null, subject: idOf(object), local: 'does not exist', ec2: 'exists' };
      return notes({ ...about, reason: 'nothing is copied to it' });
    });
}

function aboutOf(object: SchemaObject, labels: TableLabels): { table: string | null; subject: string } {
  if (object.kind === 'continuous aggregate' && object.table !== null && object.parent !== null) {
    const table = labels.find(object.parent) ?? object.parent.name;
    return { table, subject: `${object.kind} ${object.table.name}` };
  }
  const table = labels.find(object.table);
  if (table === null || object.kind === 'sequence owner') return { table: null, subject: idOf(object) };
  const subject = `${object.kind} ${object.identity.replace(/ (on|of) \S+$/, '')}`;
  return { table, subject: object.kind === 'index' ? subject.replace(/ .*\./, ' ') : subject };
}

function shortOf({ meaning, alike, kind, statement }: SchemaObject): string {
  if (kind === 'index') return statement.replace(/^.*? USING /, 'USING ');
  return meaning ?? (alike === null ? 'exists' : statement.replace(/^.*? add constraint \S+ /, ''));
}
