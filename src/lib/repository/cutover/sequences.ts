import type { Queryable } from '../../db/database.js';
import { operatorsSql } from '../tables/discover-tables.js';
import { labelSql } from '../tables/read-tables.js';
import type { Move, Sequence } from './sequence-plan.js';

/** A sequence fills the column of an identity, one that owns it, and those whose default asks it; parts of tables go with theirs. */
const FILLING = `
  select objid as sequence, refobjid as "table", refobjsubid as number from pg_depend join pg_sequence on seqrelid = objid
  where classid = 'pg_class'::regclass and refclassid = 'pg_class'::regclass and deptype in ('a', 'i')
  union
  select seqrelid, adrelid, adnum from pg_depend join pg_attrdef on pg_attrdef.oid = objid join pg_sequence on seqrelid = refobjid
  where classid = 'pg_attrdef'::regclass and refclassid = 'pg_class'::regclass`;

const FILLS = `
  select sequence, json_agg(${labelSql('filled', 'filled_home')} || '.' || attname)::text as columns
  from (${FILLING}) as filling join pg_class as filled on filled.oid = "table"
  join pg_namespace as filled_home on filled_home.oid = filled.relnamespace
  join pg_attribute on attrelid = "table" and attnum = number
  where not filled.relispartition and filled_home.nspname !~ '^_timescaledb_'
  group by sequence`;

/** Numbers of 64 bits travel as text. */
const READ_SEQUENCES = `
  with fills as materialized (${FILLS})
  select c.oid::int8 as oid, ${labelSql('c', 's', "('S')")} as label, format('%I.%I', s.nspname, c.relname) as sql,
    coalesce(fills.columns, '[]') as fills, seqincrement::text as increment, seqmin::text as minimum, seqmax::text as maximum,
    seqcache::text as cache, seqcycle as cycles, last_value::text as "lastValue", is_called as "isCalled",
    has_sequence_privilege(seqrelid, 'update') as "mayMove"
  from pg_sequence join pg_class as c on c.oid = seqrelid join pg_namespace as s on s.oid = c.relnamespace
  left join fills on fills.sequence = seqrelid cross join lateral sensorctl.sequence_position(seqrelid)
  where c.oid in (${operatorsSql('S')})
  order by s.nspname, c.relname`;

const MOVE_SEQUENCES = `
  select setval(oid::regclass, value, handed_out) from unnest($1::oid[], $2::int8[], $3::bool[]) as given (oid, value, handed_out)`;

interface SequenceRow {
  readonly oid: number;
  readonly label: string;
  readonly sql: string;
  readonly fills: string;
  readonly increment: string;
  readonly minimum: string;
  readonly maximum: string;
  readonly cache: string;
  readonly cycles: boolean;
  readonly lastValue: string | null;
  readonly isCalled: boolean | null;
  readonly mayMove: boolean;
}

/** Every sequence of the operator's on a side, and where it stands; one query, whatever their number. */
export async function readSequences(database: Queryable): Promise<Sequence[]> {
  const { rows } = await database.query<SequenceRow & Record<string, unknown>>(READ_SEQUENCES);
  return rows.map(sequenceOf);
}

/** Sets sequences; no transaction takes that back. */
export async function moveSequences(database: Queryable, moves: readonly Move[]): Promise<void> {
  if (moves.length === 0) return;
  await database.query(MOVE_SEQUENCES, [
    moves.map(({ oid }) => oid),
    moves.map(({ value }) => String(value)),
    moves.map(({ isHandedOut }) => isHandedOut),
  ]);
}

function sequenceOf({ oid, label, sql, cycles, mayMove, ...row }: SequenceRow): Sequence {
  const increment = BigInt(row.increment);
  const lastValue = row.lastValue === null ? null : BigInt(row.lastValue);
  return {
    ...{ oid, label, sql, increment, cycles, mayMove },
    fills: JSON.parse(row.fills) as string[],
    minimum: BigInt(row.minimum),
    maximum: BigInt(row.maximum),
    cache: BigInt(row.cache),
    reached: lastValue === null || row.isCalled === true ? lastValue : lastValue - increment,
  };
}
