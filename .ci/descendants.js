// What runs below a process, for a watchdog's report.
import { readdirSync, readFileSync } from 'node:fs';

/** Pid and command line of this process and of each below it, where there is a /proc. */
export function describeDescendants(root) {
  const parents = readParents();
  const below = [root];
  for (const pid of below) for (const [each, parent] of parents) if (parent === pid) below.push(each);
  return below.map((pid) => `${pid}: ${read(`/proc/${pid}/cmdline`).replaceAll('\0', ' ').trim()}`);
}

/** The parent of each process. */
function readParents() {
  try {
    const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
    return pids.map((pid) => [Number(pid), parentOf(read(`/proc/${pid}/stat`))]);
  } catch {
    return [];
  }
}

/** proc(5): pid (comm) state ppid …; comm may hold spaces and brackets. */
function parentOf(stat) {
  return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]);
}

function read(file) {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return ''; // it has ended meanwhile
  }
}
