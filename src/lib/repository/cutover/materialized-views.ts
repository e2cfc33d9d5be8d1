import type pg from 'pg';
import { withSession, type Database, type Queryable } from '../../db/database.js';
import { KEEP_OWN_PATH } from '../../db/search-path.js';
import { sqlstateOf } from '../../db/sqlstate.js';
import { operatorsSql } from '../tables/discover-tables.js';
import { labelSql } from '../tables/read-tables.js';

/** A materialized view of PostgreSQL's own, no continuous aggregate. */
export interface MaterializedView {
  /** How output names it. */
  readonly label: string;
  /** The same in a statement. */
  readonly sql: string;
  readonly owner: string;
  /** The role may refresh it. */
  readonly mayRefresh: boolean;
  /** Those who read it need not wait: it holds rows, and a key that tells them apart. */
  readonly isConcurrent: boolean;
}

/** The server lets owners refresh, and from PostgreSQL 17 on whoever holds the right to maintain. */
const MAY_REFRESH = `
  pg_has_role(c.relowner, 'usage')
  or exists (select from aclexplode(c.relacl) where privilege_type = 'MAINTAIN' and (grantee = 0 or pg_has_role(grantee, 'usage')))`;

const HAS_KEY = `
  exists (select from pg_index where indrelid = c.oid and indisunique and indisvalid and indimmediate
    and indpred is null and indexprs is null)`;

/** One that reads another one comes after it, also where views lie between. */
const READ_VIEWS = `
  with recursive reads as (
    select distinct ev_class as reader, refobjid as source from pg_rewrite
    join pg_depend on classid = 'pg_rewrite'::regclass and objid = pg_rewrite.oid
    where refclassid = 'pg_class'::regclass and refobjid <> ev_class
  ), depth as (
    select oid, 0 as depth from pg_class where relkind in ('v', 'm')
    union
    select reader, depth + 1 from depth join reads on source = oid
  )
  select ${labelSql('c', 's')} as label, format('%I.%I', s.nspname, c.relname) as sql, pg_get_userbyid(c.relowner) as owner,
    ${MAY_REFRESH} as "mayRefresh", c.relispopulated and ${HAS_KEY} as "isConcurrent"
  from pg_class as c join pg_namespace as s on s.oid = c.relnamespace
  where c.oid in (${operatorsSql('m')})
  order by (select max(depth) from depth where depth.oid = c.oid), s.nspname, c.relname`;

/** Every one of a side, in an order in which each finds what it reads refreshed. */
export async function readMaterializedViews(database: Queryable): Promise<MaterializedView[]> {
  return (await database.query<MaterializedView & Record<string, unknown>>(READ_VIEWS)).rows;
}

/** So long one may take, in ms; what takes longer is for the operator to run. */
const REFRESH_MS = 600_000;

/**
 * Refreshes the views in their order, on a session of its own: what they call is found as their authors meant. Calls
 * `onRefreshed` after each, with the error where it failed; stops before the next one once `stop` aborts.
 */
export async function refreshViews(
  { openSession }: Pick<Database, 'openSession'>,
  views: readonly MaterializedView[],
  { stop, onRefreshed }: { stop: AbortSignal; onRefreshed: (view: MaterializedView, error: unknown) => void },
): Promise<void> {
  await withSession({ openSession }, async (session) => {
    await session.query(`set statement_timeout = ${REFRESH_MS}; ${KEEP_OWN_PATH}`);
    for (const view of views) {
      if (stop.aborted) return;
      // Documented for a client, and taken by a query too: pg's types do not know.
      const refresh: pg.QueryConfig & { query_timeout: number } = { text: refreshSql(view), query_timeout: REFRESH_MS };
      const error = await session.query(refresh).then(
        () => null,
        (reason: unknown) => reason,
      );
      onRefreshed(view, error);
      if (error !== null && sqlstateOf(error) === undefined) return;
    }
  });
}

/** The statement that refreshes a view. */
export function refreshSql({ sql, isConcurrent }: Pick<MaterializedView, 'sql' | 'isConcurrent'>): string {
  return `refresh materialized view ${isConcurrent ? 'concurrently ' : ''}${sql}`;
}
