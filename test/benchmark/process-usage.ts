import { readFileSync } from 'node:fs';

/** Linux counts CPU time in ticks of 10 ms (sysconf(_SC_CLK_TCK), 100 on every platform that Node runs on). */
const TICKS_PER_SECOND = 100;

/** CPU seconds that a process has used so far; NaN where the system does not tell (only Linux does, in /proc). */
export function cpuSecondsOf(pid: number | undefined): number {
  const stat = readProc(`${pid ?? 0}/stat`);
  // The second field is the program's name in parentheses, which may hold spaces (proc(5)).
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11] ?? NaN) + Number(fields[12] ?? NaN)) / TICKS_PER_SECOND;
}

/** CPU seconds that the whole machine has spent working so far. */
export function busySecondsOfMachine(): number {
  const fields = readProc('stat').split('\n')[0]?.trim().split(/\s+/).slice(1).map(Number) ?? [];
  const [user = NaN, nice = 0, system = 0, , , interrupts = 0, softInterrupts = 0] = fields;
  return (user + nice + system + interrupts + softInterrupts) / TICKS_PER_SECOND;
}

/** The most memory that a process has held resident, in MiB. */
export function peakMemoryMib(pid: number | undefined): number {
  const match = /^VmHWM:\s+(\d+) kB$/m.exec(readProc(`${pid ?? 0}/status`));
  return Number(match?.[1] ?? NaN) / 1024;
}

function readProc(name: string): string {
  try {
    return readFileSync(`/proc/${name}`, 'utf8');
  } catch {
    return '';
  }
}
