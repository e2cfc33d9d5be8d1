import type { Queryable } from '../../db/database.js';
import { discoverTables, type Discovery } from '../tables/discover-tables.js';

/** What the catalogs of a side say of its tables; nothing of it reads a row of them. */
export interface SideCatalog {
  readonly discovery: Discovery;
  /** By the label of the table. */
  readonly facts: ReadonlyMap<string, TableFacts>;
}

export interface TableFacts {
  /** As the server's own bookkeeping estimates them. */
  readonly rows: number;
  /** This role may read the table. */
  readonly readable: boolean;
  /** The first column of each of its indexes: what ranges of are found without a look at every row. */
  readonly indexed: readonly string[];
}

/** What was never analysed is known by what the collector counted. $1: oids, $2: kinds of the same tables. */
const READ_FACTS = `
  select given.oid::int8 as oid, (
      select coalesce(sum(coalesce(nullif(pg_stat_get_live_tuples(part.oid), 0), greatest(part.reltuples, 0))), 0)::float8
      from pg_class as part where part.oid in (
        select given.oid where given.kind = 'plain'
        union all select relid from pg_partition_tree(given.oid) where given.kind = 'partitioned' and isleaf
        union all select inhrelid from pg_inherits where given.kind = 'hypertable' and inhparent = given.oid
      )
    ) as rows,
    has_schema_privilege(c.relnamespace, 'usage') and has_table_privilege(c.oid, 'select') as readable,
    (select coalesce(json_agg(distinct attname), '[]') from pg_index as i
      join pg_class as index on index.oid = i.indexrelid join pg_am as method on method.oid = index.relam
      join pg_attribute as a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
      where i.indrelid = given.oid and i.indisvalid and i.indpred is null and method.amname in ('btree', 'brin'))::text as indexed
  from unnest($1::oid[], $2::text[]) as given (oid, kind) join pg_class as c on c.oid = given.oid`;

interface FactsRow extends Record<string, unknown> {
  readonly oid: number;
  readonly rows: string;
  readonly readable: boolean;
  readonly indexed: string;
}

export async function readSideCatalog(database: Queryable): Promise<SideCatalog> {
  const discovery = await discoverTables(database);
  const { tables } = discovery;
  const values = [tables.map(({ oid }) => oid), tables.map(({ kind }) => kind)];
  const { rows: found } = await database.query<FactsRow>(READ_FACTS, values);
  const byOid = new Map(
    found.map(({ oid, rows, readable, indexed }): [number, TableFacts] => {
      return [oid, { rows: Number(rows), readable, indexed: JSON.parse(indexed) as string[] }];
    }),
  );
  const facts = tables.flatMap(({ label, oid }): [string, TableFacts][] => {
    const ofTable = byOid.get(oid);
    return ofTable === undefined ? [] : [[label, ofTable]];
  });
  return { discovery, facts: new Map(facts) };
}
