/**
 * What a process takes, as the system says: resident memory and CPU time, from /proc. Main thread.
 * Elsewhere than on Linux nothing is known, and what the process says of itself must do.
 */

import { readFileSync } from 'node:fs';

export interface ProcessUsage {
  readonly residentMb: number;
  readonly cpuMs: number;
}

/** Linux counts in hundredths of a second for a user's programs, whatever the machine. */
const TICK_MS = 10;
/** Fields of /proc/<pid>/stat after the command's name. */
const USER_TICKS = 11;
const SYSTEM_TICKS = 12;
/** Not the pages of the executable, which all processes share. */
const RESIDENT = /^RssAnon:\s+(\d+) kB/m;

/** Undefined if it is gone, or where there is no /proc. Two reads of some 20 µs. */
export function processUsage(pid: number): ProcessUsage | undefined {
  if (process.platform !== 'linux') return undefined;
  let stat: string;
  let status: string;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    status = readFileSync(`/proc/${pid}/status`, 'utf8');
  } catch {
    return undefined;
  }
  // The name is in brackets and may hold anything, brackets and spaces too.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const number = (at: number): number => Number(fields[at] ?? 0);
  return {
    residentMb: Number(RESIDENT.exec(status)?.[1] ?? 0) / 1024,
    cpuMs: (number(USER_TICKS) + number(SYSTEM_TICKS)) * TICK_MS,
  };
}
