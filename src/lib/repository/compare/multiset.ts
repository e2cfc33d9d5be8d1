/** Rows by the name of their key: a digest for each copy. */
export type KeyedRows = ReadonlyMap<string, readonly string[]>;

/** What the one holds more often than the other. */
export function subtract(one: KeyedRows, other: KeyedRows): Map<string, readonly string[]> {
  const left = new Map<string, readonly string[]>();
  for (const [name, digests] of one) {
    const rest = withoutCopies(digests, other.get(name) ?? []);
    if (rest.length > 0) left.set(name, rest);
  }
  return left;
}

/** The items that are left when each of the others has taken away one that is equal to it. */
export function withoutCopies<Item>(items: readonly Item[], others: readonly Item[]): Item[] {
  const copies = new Map<Item, number>();
  for (const other of others) copies.set(other, (copies.get(other) ?? 0) + 1);
  return items.filter((item) => {
    const left = copies.get(item) ?? 0;
    copies.set(item, left - 1);
    return left <= 0;
  });
}

/** Node.js 20 has no `Map.groupBy`. */
export function groupBy<Item, Key>(items: readonly Item[], keyOf: (item: Item) => Key): Map<Key, Item[]> {
  const groups = new Map<Key, Item[]>();
  for (const item of items) {
    const key = keyOf(item);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [item]);
    else group.push(item);
  }
  return groups;
}
