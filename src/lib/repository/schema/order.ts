import { idOf, rankOf, type SchemaObject } from './schema-object.js';

/** Each object after what it rests on, else by kind and as it was read; circles are cut where they are met. */
export function inOrder(objects: readonly SchemaObject[]): SchemaObject[] {
  const byId = new Map(objects.map((object) => [idOf(object), object]));
  const visited = new Set<string>();
  const ordered: SchemaObject[] = [];
  const visit = (object: SchemaObject): void => {
    const id = idOf(object);
    if (visited.has(id)) return;
    visited.add(id);
    for (const need of object.needs) {
      const needed = byId.get(need);
      if (needed !== undefined) visit(needed);
    }
    ordered.push(object);
  };
  for (const each of objects.toSorted((one, other) => rankOf(one.kind) - rankOf(other.kind))) visit(each);
  return ordered;
}
