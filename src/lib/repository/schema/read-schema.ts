import type { Queryable } from '../../db/database.js';
import { quoteIdentifier } from '../../db/identifiers.js';
import { readTimescaleDb } from '../tables/server-facts.js';
import type { ObjectRow, Surroundings } from './catalog-sql.js';
import { inOrder } from './order.js';
import { readAnnotations } from './read-annotations.js';
import { readFunctions } from './read-functions.js';
import { readHypertables } from './read-hypertables.js';
import { readLeftOut } from './read-left-out.js';
import { readParts } from './read-parts.js';
import { readRelations } from './read-relations.js';
import { readTypes } from './read-types.js';
import { readViews } from './read-views.js';
import { idOf, type ObjectKind, type ObjectName, type SchemaCatalog, type SchemaObject } from './schema-object.js';

/**
 * What depends on what, by addresses; a view's rule stands for the view, a generated column for its table, an array for
 * its element, the type of a table's rows for the table, a key's index for its constraint.
 */
const READ_DEPENDENCIES = `
  with other_name as (
    select 'pg_rewrite:' || oid as name, 'pg_class:' || ev_class as address from pg_rewrite where rulename = '_RETURN'
    union all select 'pg_attrdef:' || d.oid, 'pg_class:' || adrelid from pg_attrdef as d
      join pg_attribute on attrelid = adrelid and attnum = adnum where attgenerated <> ''
    union all select 'pg_type:' || t.oid, 'pg_class:' || typrelid from pg_type as t join pg_class on pg_class.oid = typrelid where typrelid <> 0 and relkind <> 'c'
    union all select 'pg_class:' || typrelid, 'pg_type:' || t.oid from pg_type as t join pg_class on pg_class.oid = typrelid where relkind = 'c'
    union all select 'pg_type:' || typarray, coalesce('pg_class:' || c.oid, 'pg_type:' || t.oid) from pg_type as t
      left join pg_class as c on c.oid = typrelid and c.relkind <> 'c' where typarray <> 0 and t.oid >= 16384
    union all select 'pg_type:' || rngmultitypid, 'pg_type:' || rngtypid from pg_range where rngtypid >= 16384
    union all select 'pg_class:' || conindid, 'pg_constraint:' || oid from pg_constraint where contype in ('p', 'u', 'x')
  )
  select distinct coalesce(one.address, d.one) as one, coalesce(two.address, d.two) as other
  from (select distinct classid::regclass || ':' || objid as one, refclassid::regclass || ':' || refobjid as two
    from pg_depend where refobjid >= 16384 and deptype in ('n', 'a', 'i')) as d
  left join other_name as one on one.name = d.one left join other_name as two on two.name = d.two`;

const READ_ROLES = 'select rolname as name, rolname = current_user as mine from pg_roles';

/** Reads all that one side holds, in an order in which it can be made; looks only at catalogs. */
export async function readSchema(database: Queryable): Promise<SchemaCatalog> {
  const around = await readSurroundings(database);
  const [{ rows: roles }, dependencies, leftOut, rows] = await Promise.all([
    database.query<{ name: string; mine: boolean }>(READ_ROLES),
    readDependencies(database),
    readLeftOut(database),
    readObjects(database, around),
  ]);
  return {
    objects: inOrder(place(rows, dependencies)),
    leftOut,
    roles: new Set(roles.map(({ name }) => name)),
    role: roles.find(({ mine }) => mine)?.name ?? '',
  };
}

/** Everything that statements make, with what is said of it. */
async function readObjects(database: Queryable, around: Surroundings): Promise<ObjectRow[]> {
  const kinds = await Promise.all([
    readTypes(database),
    readFunctions(database),
    readRelations(database, around),
    readViews(database, around),
    readParts(database, around),
    readHypertables(database, around),
  ]);
  const made = kinds.flat();
  const read = async (sql: string, values: readonly unknown[]): Promise<ObjectRow[]> =>
    (await database.query<ObjectRow>(sql, [...values])).rows;
  const addresses = made.map(({ address }) => address);
  return [...made, ...(await readAnnotations(read, addresses))];
}

async function readSurroundings(database: Queryable): Promise<Surroundings> {
  const { installed, schema } = await readTimescaleDb(database);
  return { timescaleDb: installed === null ? null : quoteIdentifier(schema ?? 'public') };
}

type Dependencies = ReadonlyMap<string, readonly string[]>;

async function readDependencies(database: Queryable): Promise<Dependencies> {
  const { rows } = await database.query<{ one: string; other: string }>(READ_DEPENDENCIES);
  const found = new Map<string, string[]>();
  for (const { one, other } of rows) {
    const list = found.get(one);
    if (list === undefined) found.set(one, [other]);
    else list.push(other);
  }
  return found;
}

function place(rows: readonly ObjectRow[], dependencies: Dependencies): SchemaObject[] {
  const ids = new Map(rows.map((row) => [row.address, idOf(objectOf(row))]));
  return rows.map((row) => {
    const object = objectOf(row);
    const own = parseList(row.needs);
    const addresses = [...(dependencies.get(row.address) ?? []), ...own].map((address) =>
      throughShell(row, address, ids),
    );
    const needs = new Set(addresses.flatMap((address) => ids.get(address) ?? []));
    needs.delete(idOf(object));
    return { ...object, needs: [...needs], of: ids.get(own[0] ?? '') ?? null };
  });
}

/** The functions of a base type need its shell, the type itself its functions, and everything else the whole type. */
function throughShell(row: ObjectRow, address: string, ids: ReadonlyMap<string, string>): string {
  const whole = address.replace(/^pg_type:/, 'base:');
  return row.kind !== 'function' && ids.has(whole) ? whole : address;
}

/** Their statements say all that they are. */
const SAYS_ALL: ReadonlySet<string> = new Set(['type', 'domain', 'function', 'aggregate function', 'statistics']);

function objectOf(row: ObjectRow): SchemaObject {
  const { kind, identity, schema, name, statement, alike = null, meaning = null, drop = null } = row;
  return {
    kind: kind as ObjectKind,
    identity,
    table: schema === null || name === null ? null : { schema, name },
    statement,
    ...{ alike, meaning: SAYS_ALL.has(kind) ? statement : meaning, drop },
    roles: parseList(row.roles),
    parent: row.parent == null ? null : (JSON.parse(row.parent) as ObjectName),
    ...{ of: null, needs: [] },
  };
}

function parseList(json: string | null | undefined): string[] {
  return json == null ? [] : (JSON.parse(json) as string[]);
}
