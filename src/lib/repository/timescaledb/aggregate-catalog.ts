import type { Queryable } from '../../db/database.js';
import { parseBucketCall, type BucketCall } from './bucket-call.js';
import type { TableName } from '../tables/table.js';

/** A relation with the time column by which it is partitioned. */
export interface Timed {
  readonly schema: string;
  readonly name: string;
  readonly column: string;
  readonly type: TimeType;
}

export type TimeType = 'timestamptz' | 'timestamp';

export interface Aggregate {
  readonly schema: string;
  readonly name: string;
  readonly owner: string;
  /** Rows above its watermark are computed from the source by each query. */
  readonly realTime: boolean;
  /** Where its rows are stored, and the time column there; null where time is neither of the two types. */
  readonly storage: Timed | null;
  /** Null where its definition cannot be read. */
  readonly bucket: BucketCall | null;
  /** SQL of its watermark; null where it is not real-time, or its view does not show it. */
  readonly watermark: string | null;
}

/** A hypertable or an aggregate, and the aggregates on it. */
export interface AggregateNode {
  readonly aggregate: Aggregate;
  readonly children: readonly AggregateNode[];
}

export interface AggregateTree {
  readonly table: Timed | null;
  readonly children: readonly AggregateNode[];
}

interface AggregateRow {
  readonly schema: string;
  readonly name: string;
  readonly owner: string;
  readonly sourceSchema: string;
  readonly sourceName: string;
  readonly storageSchema: string;
  readonly storageName: string;
  readonly materializedOnly: boolean;
  readonly definition: string;
  readonly view: string;
}

const TYPES: Readonly<Record<string, TimeType>> = {
  'timestamp with time zone': 'timestamptz',
  'timestamp without time zone': 'timestamp',
};

const READ_AGGREGATES = `
  select view_schema::text as schema, view_name::text as name, view_owner::text as owner, hypertable_schema::text as "sourceSchema",
    hypertable_name::text as "sourceName", materialization_hypertable_schema::text as "storageSchema",
    materialization_hypertable_name::text as "storageName", materialized_only as "materializedOnly",
    view_definition as definition, pg_get_viewdef(format('%I.%I', view_schema, view_name)::regclass) as view
  from timescaledb_information.continuous_aggregates order by view_schema, view_name`;

const READ_DIMENSIONS = `
  select hypertable_schema::text as schema, hypertable_name::text as name, column_name::text as column, column_type::text as type
  from timescaledb_information.dimensions where dimension_number = 1`;

/** The watermark of a real-time aggregate stands in its view, whatever its function is called in this version. */
const WATERMARK = /[\w.]+\.to_timestamp(?:_without_timezone)?\([\w.]+\.cagg_watermark\(\d+\)\)/;

/** Reads the continuous aggregates on a hypertable, and those on top of them. */
export async function readAggregateTree(database: Queryable, table: TableName): Promise<AggregateTree> {
  const { rows: dimensions } = await database.query<Record<keyof Timed, string>>(READ_DIMENSIONS);
  const { rows } = await database.query<AggregateRow & Record<string, unknown>>(READ_AGGREGATES);
  const timedOf = (found: Record<keyof Timed, string> | undefined): Timed | null => {
    const type = TYPES[found?.type ?? ''];
    return found === undefined || type === undefined ? null : { ...found, type };
  };
  const nodesOn = (sources: readonly (readonly [schema: string, name: string])[]): AggregateNode[] =>
    rows
      .filter((row) => sources.some(([schema, name]) => row.sourceSchema === schema && row.sourceName === name))
      .map((row) => ({
        aggregate: {
          ...{ schema: row.schema, name: row.name, owner: row.owner, realTime: !row.materializedOnly },
          storage: timedOf(
            dimensions.find((each) => each.schema === row.storageSchema && each.name === row.storageName),
          ),
          bucket: parseBucketCall(row.definition),
          watermark: row.materializedOnly ? null : (WATERMARK.exec(row.view)?.[0] ?? null),
        },
        children: nodesOn([
          [row.schema, row.name],
          [row.storageSchema, row.storageName],
        ]),
      }));
  const found = dimensions.find((each) => each.schema === table.schema && each.name === table.name);
  return { table: timedOf(found), children: found === undefined ? [] : nodesOn([[found.schema, found.name]]) };
}
