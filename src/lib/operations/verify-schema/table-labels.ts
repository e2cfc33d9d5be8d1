import {
  sameName,
  type ObjectName,
  type SchemaCatalog,
  type SchemaObject,
} from '../../repository/schema/schema-object.js';
import { takesPartitions } from './compare-children.js';
import type { Snapshot } from './snapshot.js';

export interface CatalogOfSide {
  readonly snapshot: Snapshot;
  readonly catalog: SchemaCatalog;
}

/** What two sides hold. */
export interface ObjectsOfSides {
  readonly local: CatalogOfSide;
  readonly ec2: CatalogOfSide;
  /** Only what belongs to these tables, as findings name them; null for everything. */
  readonly only: readonly string[] | null;
}

/** An object that both sides have, and that means something else on each. */
export interface ObjectPair {
  readonly local: SchemaObject;
  readonly ec2: SchemaObject;
}

const keyOf = ({ schema, name }: ObjectName): string => JSON.stringify([schema, name]);

/** How findings name tables; a partition goes by the name of its root. */
export class TableLabels {
  readonly #labels = new Map<string, string>();
  /** Partitions of local for which EC2 has no place: its table is none, or is cut otherwise. */
  readonly #closed = new Set<string>();

  constructor(local: CatalogOfSide, ec2: CatalogOfSide) {
    for (const [label, { table }] of local.snapshot.tables) this.#labels.set(keyOf(table.name), label);
    const parts = local.catalog.objects.filter(({ kind, parent }) => kind === 'partition' && parent !== null);
    // Partitions of partitions find their parents' labels in a later turn.
    for (let found = 1; found > 0;) {
      const size = this.#labels.size;
      for (const { table, parent } of parts)
        if (table !== null && parent !== null) this.#follow(table, parent, local, ec2);
      found = this.#labels.size - size;
    }
  }

  /** Null for what is no table, such as a view. */
  find(name: ObjectName | null): string | null {
    return name === null ? null : (this.#labels.get(keyOf(name)) ?? null);
  }

  isClosed(name: ObjectName | null): boolean {
    return name !== null && this.#closed.has(keyOf(name));
  }

  #follow(table: ObjectName, parent: ObjectName, local: CatalogOfSide, ec2: CatalogOfSide): void {
    const label = this.find(parent);
    if (label === null) return;
    this.#labels.set(keyOf(table), label);
    const [here, there] = [local.snapshot.tables.get(label), ec2.snapshot.tables.get(label)];
    const isThere = ec2.catalog.objects.some((object) => object.kind === 'table' && sameName(object.table, table));
    if (isThere || here === undefined || there === undefined) return;
    const isOfRoot = sameName(here.table.name, parent);
    if (isOfRoot ? !takesPartitions(here, there) : this.isClosed(parent)) this.#closed.add(keyOf(table));
  }
}
