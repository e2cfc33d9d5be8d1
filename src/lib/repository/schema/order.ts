import { idOf, rankOf, type SchemaObject } from './schema-object.js';

/** An object, and what has to be there before it, by ids. */
export interface Placed {
  readonly object: SchemaObject;
  readonly needs: ReadonlySet<string>;
}

/** Each object after what it rests on, else by kind and as it was read; circles are cut where they are met. */
export function inOrder(placed: readonly Placed[]): SchemaObject[] {
  const byId = new Map(placed.map((each) => [idOf(each.object), each]));
  const visited = new Set<string>();
  const ordered: SchemaObject[] = [];
  const visit = ({ object, needs }: Placed): void => {
    const id = idOf(object);
    if (visited.has(id)) return;
    visited.add(id);
    for (const need of needs) {
      const needed = byId.get(need);
      if (needed !== undefined) visit(needed);
    }
    ordered.push(object);
  };
  for (const each of placed.toSorted((one, other) => rankOf(one.object.kind) - rankOf(other.object.kind))) visit(each);
  return ordered;
}
