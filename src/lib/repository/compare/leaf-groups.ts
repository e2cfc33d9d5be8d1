import { isTooMuch } from '../../db/sqlstate.js';
import { halveLeaf, type Leaf } from './find-leaves.js';

const GROUP_ROWS = 20_000;
const GROUP_LEAVES = 64;

/** Works on one half after the other where a server ran out of time with the whole. */
export async function inTime<Found>(leaves: Leaf[], work: (leaves: Leaf[]) => Promise<Found[]>): Promise<Found[]> {
  try {
    return await work(leaves);
  } catch (error) {
    const parts = leaves.length === 1 ? leaves.flatMap(halveLeaf) : leaves;
    if (parts.length < 2 || !isTooMuch(error)) throw error;
    const middle = Math.ceil(parts.length / 2);
    return [...(await inTime(parts.slice(0, middle), work)), ...(await inTime(parts.slice(middle), work))];
  }
}

/** Leaves that are few enough, and hold few enough rows, to be looked at together. */
export async function* groupLeaves(leaves: AsyncIterable<Leaf> | Iterable<Leaf>): AsyncGenerator<Leaf[]> {
  let group: Leaf[] = [];
  let rows = 0;
  for await (const leaf of leaves) {
    group.push(leaf);
    rows += leaf.rows;
    if (rows < GROUP_ROWS && group.length < GROUP_LEAVES) continue;
    yield group;
    [group, rows] = [[], 0];
  }
  if (group.length > 0) yield group;
}
