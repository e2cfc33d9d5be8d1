import { parsePlace } from '../tables/axis.js';
import type { TablePair } from '../tables/table-pair.js';
import type { Suspect } from './look.js';
import { keyColumns } from './slices.js';

/** Where a row lies on the table's axis; null off the axis, and where there is none. */
export function placeOf({ axis, ...table }: TablePair, { key }: Pick<Suspect, 'key'>): number | null {
  if (axis === null) return null;
  const columns = keyColumns({ axis, ...table });
  const named = columns.length === 0 ? table.columns : columns;
  const text = key[named.findIndex(({ isAxis }) => isAxis)];
  return text == null ? null : parsePlace(axis.primary, text);
}
