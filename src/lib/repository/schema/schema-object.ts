/** What a database is made of, in the order in which it is made where nothing else says so. */
export const KINDS = [
  'schema',
  'extension',
  'collation',
  'type shell',
  'type',
  'domain',
  'sequence',
  'function',
  'operator',
  'base type',
  'aggregate function',
  'cast',
  'access method',
  'text search dictionary',
  'text search configuration',
  'operator family',
  'operator class',
  'table',
  'inheritance',
  'hypertable',
  'dimension',
  'identity',
  'default',
  'column setting',
  'check',
  'key',
  'index',
  'table setting',
  'partition',
  'index partition',
  'foreign key',
  'sequence owner',
  'view',
  'materialized view',
  'integer now',
  'continuous aggregate',
  'aggregate setting',
  'rule',
  'trigger',
  'trigger setting',
  'row security',
  'policy',
  'statistics',
  'compression',
  'job',
  'comment',
  'owner',
  'rights',
] as const;

export type ObjectKind = (typeof KINDS)[number];

/** Those from here on are parts of tables, or rest on them: they come once the tables that are there were mended. */
export const FIRST_PART: ObjectKind = 'identity';

export function rankOf(kind: ObjectKind): number {
  return KINDS.indexOf(kind);
}

export interface ObjectName {
  readonly schema: string;
  readonly name: string;
}

/** Anything that a database holds besides rows, with the statement that makes it. */
export interface SchemaObject {
  readonly kind: ObjectKind;
  /** Names it on either side, among those of its kind; quoted as in SQL. */
  readonly identity: string;
  /** The table, view or aggregate of which it is a part. */
  readonly table: ObjectName | null;
  readonly statement: string;
  /** Equal where both sides mean the same, whatever it is called; null where its name is what it is. */
  readonly alike: string | null;
  /** What both sides are compared by; null where it is there or not, or something else compares it. */
  readonly meaning: string | null;
  /** The object must be taken away before its statement can make it anew; null where the statement replaces it. */
  readonly drop: string | null;
  /** Ids of what it rests on. */
  readonly needs: readonly string[];
  /** Of a partition: what it is a partition of; of a continuous aggregate: what it reads. */
  readonly parent: ObjectName | null;
  /** Of a comment, an owner, a right, a setting: the id of what has it. */
  readonly of: string | null;
  /** Roles that the statement names. */
  readonly roles: readonly string[];
}

export function idOf({ kind, identity }: Pick<SchemaObject, 'kind' | 'identity'>): string {
  return `${kind} ${identity}`;
}

export function sameName(one: ObjectName | null, other: ObjectName): boolean {
  return one !== null && one.schema === other.schema && one.name === other.name;
}

/** What is there and cannot be brought, or is none of the operator's. */
export interface LeftOut {
  readonly what: string;
  readonly reason: string;
  /** What brings it, in the words of another tool; null where nothing has to be done. */
  readonly command: string | null;
}

/** Everything that one side holds. */
export interface SchemaCatalog {
  /** In an order in which they can be made. */
  readonly objects: readonly SchemaObject[];
  readonly leftOut: readonly LeftOut[];
  readonly roles: ReadonlySet<string>;
  /** The role that is connected: what it makes is its own. */
  readonly role: string;
}
