import type { Table } from './table.js';

/** In which order tables are written that refer to each other. */
export interface TableOrder {
  /** By name: a table comes after those that it refers to, which have lower levels. */
  readonly levels: ReadonlyMap<string, number>;
  /** Those that others of them refer to. */
  readonly parents: ReadonlySet<string>;
  /** Those that refer to themselves, directly or in a circle, with the others of their circle. */
  readonly circles: ReadonlyMap<string, readonly string[]>;
}

/** By the foreign keys of these tables; `name` is what the order calls each. */
export function orderByParents(tables: readonly { readonly name: string; readonly table: Table }[]): TableOrder {
  const byFullName = new Map(tables.map(({ name, table }) => [fullName(table.name), name]));
  const refersTo = new Map(
    tables.map(({ name, table }) => [
      name,
      [...new Set(table.parents.flatMap((parent) => byFullName.get(fullName(parent.table)) ?? []))],
    ]),
  );
  const groups = findGroups(refersTo);
  const groupOf = new Map(groups.flatMap((group) => group.map((name) => [name, group])));
  const levels = new Map<string, number>();
  // A group comes after all that its tables refer to: each of those has its level by then.
  for (const group of groups) {
    const above = group.flatMap((name) => refersTo.get(name) ?? []).filter((name) => groupOf.get(name) !== group);
    const level = Math.max(-1, ...above.map((name) => levels.get(name) ?? 0)) + 1;
    for (const name of group) levels.set(name, level);
  }
  const isCircle = (group: readonly string[]): boolean =>
    group.length > 1 || group.some((name) => refersTo.get(name)?.includes(name) === true);
  return {
    levels,
    parents: new Set([...refersTo.values()].flat()),
    circles: new Map(groups.filter(isCircle).flatMap((group) => group.map((name) => [name, group]))),
  };
}

/** Tables that refer to each other in a circle are one group; a group comes after those that it refers to (Tarjan, 1972). */
function findGroups(refersTo: ReadonlyMap<string, readonly string[]>): string[][] {
  const groups: string[][] = [];
  const places = new Map<string, number>();
  const lowest = new Map<string, number>();
  const path: string[] = [];
  const visit = (name: string): void => {
    const place = places.size;
    places.set(name, place);
    lowest.set(name, place);
    path.push(name);
    for (const next of refersTo.get(name) ?? []) {
      if (!places.has(next)) visit(next);
      if (path.includes(next)) lowest.set(name, Math.min(lowest.get(name) ?? 0, lowest.get(next) ?? 0));
    }
    if (lowest.get(name) === place) groups.push(path.splice(path.indexOf(name)));
  };
  for (const name of refersTo.keys()) if (!places.has(name)) visit(name);
  return groups;
}

function fullName({ schema, name }: Table['name']): string {
  return JSON.stringify([schema, name]);
}
