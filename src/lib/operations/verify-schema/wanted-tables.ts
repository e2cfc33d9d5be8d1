import type { Queryable } from '../../db/database.js';
import { UsageError } from '../../errors.js';
import type { SchemaCatalog } from '../../repository/schema/schema-object.js';
import { readTables } from '../../repository/tables/read-tables.js';
import { ALL_TABLES } from '../../repository/tables/reading-tables.js';
import type { WantedTables } from './snapshot.js';

/**
 * Those that are asked for, else every root table of local, the guide's first. Throws a UsageError for one that local
 * does not have.
 */
export async function findWantedTables(
  local: Queryable,
  catalog: SchemaCatalog,
  only: readonly string[],
): Promise<WantedTables> {
  if (only.length > 0) return await findAsked(local, only);
  const partitions = new Set(
    catalog.objects.filter(({ kind }) => kind === 'partition').map(({ identity }) => identity),
  );
  const roots = catalog.objects.filter(({ kind, identity }) => kind === 'table' && !partitions.has(identity));
  const names = roots.flatMap(({ table }) => (table === null ? [] : `${table.schema}.${table.name}`));
  const found = await readTables(local, names);
  const labelled = new Map([...found].map(([name, { label }]) => [label, name]));
  const guide = names.length === 0 || ALL_TABLES.some((table) => labelled.has(table)) ? ALL_TABLES : [];
  const labels = [...guide, ...[...labelled.keys()].filter((label) => !guide.includes(label)).sort()];
  return new Map(labels.map((label) => [label, [labelled.get(label), label].filter((name) => name !== undefined)]));
}

async function findAsked(local: Queryable, only: readonly string[]): Promise<WantedTables> {
  const found = await readTables(local, only);
  const unknown = only.find((name) => !found.has(name) && !ALL_TABLES.includes(name));
  if (unknown !== undefined) throw new UsageError(`local has no table ${unknown}`, { code: 'table-not-on-local' });
  const labels = new Map(only.map((name) => [found.get(name)?.label ?? name, name]));
  const sorted = [
    ...ALL_TABLES.filter((name) => labels.has(name)),
    ...[...labels.keys()].filter((name) => !ALL_TABLES.includes(name)),
  ];
  return new Map(
    sorted.map((label) => {
      const table = found.get(labels.get(label) ?? label);
      return [label, [...(table === undefined ? [] : [`${table.name.schema}.${table.name.name}`]), label]];
    }),
  );
}
