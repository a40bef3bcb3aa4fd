/**
 * Who killed the kernel process? From how it ended and what it told last (black-box.ts). Pure.
 *
 * A plugin in a thread can take the process with it in two ways: V8 aborts on what it allocates, or
 * the system's out-of-memory killer comes. What is looked for, in this order:
 *
 *   over its limit      it held more than it may
 *   silent and growing  it did not answer while the process grew: one native call that allocates
 *   grown               it was within its limit, but had taken most of what the process grew by
 *   silent              it did not answer for long, and nobody else was silent
 *   newest              it was started less than a minute ago, and nobody else was
 *
 * Invariant: nobody is blamed without one of these, and none is enough for every kind of end. A
 * SIGKILL may be an operator's: only growth counts. A process that ended by its own decision (a disk
 * that fails, a mistake of ours) is nobody's fault, nor is an abort with the kernel's own heap full.
 */

import type { BlackBoxRecord } from '../black-box.ts';
import type { WorkerLook } from '../supervisor/process-memory-watch.ts';

/** How a process ended: one of the two is set. */
export interface Ending {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export interface Blame {
  readonly plugin: string;
  /** What speaks against it, to follow "it …". */
  readonly evidence: string;
}

/** Ends of a process that went wrong inside: an assertion of V8 or the C library, a bad address. */
const FAULTS: readonly (NodeJS.Signals | null)[] = [
  'SIGABRT',
  'SIGTRAP',
  'SIGILL',
  'SIGSEGV',
  'SIGBUS',
  'SIGFPE',
];
/** Heartbeats come every 50 ms: nothing shorter is silence. */
const SILENT_MS = 150;
const SILENT_ALONE_MS = 300;
/** Below it the process is not growing. */
const GROWTH_MB = 64;
/** A SIGKILL is the system's only after growth it would notice. */
const KILLED_GROWTH_MB = 256;
const NEW_MS = 60_000;
const KERNEL_HEAP_FULL = 0.9;

/** Undefined: nobody is to blame, as far as one can know. `sinceMs`: since the record was made. */
export function blame(
  ending: Ending,
  record: BlackBoxRecord | undefined,
  sinceMs: number,
): Blame | undefined {
  if (record === undefined) return undefined;
  const isFault = FAULTS.includes(ending.signal);
  const isKilled = ending.signal === 'SIGKILL' && record.growthMb >= KILLED_GROWTH_MB;
  if (!(isFault || isKilled)) return undefined;
  const byGrowth = overLimit(record) ?? silentAndGrowing(record) ?? grown(record);
  if (byGrowth !== undefined || !isFault) return byGrowth;
  if (record.kernelHeapPart >= KERNEL_HEAP_FULL) return undefined;
  return silent(record) ?? newest(record, sinceMs);
}

function overLimit({ workers }: BlackBoxRecord): Blame | undefined {
  const worst = largest(workers, ({ usedMb, limitMb }) => usedMb / limitMb);
  if (worst === undefined || worst.usedMb <= worst.limitMb) return undefined;
  return {
    plugin: worst.plugin,
    evidence: `it held ${worst.usedMb} MB of the ${worst.limitMb} MB it may use`,
  };
}

function silentAndGrowing({ workers, growthMb }: BlackBoxRecord): Blame | undefined {
  if (growthMb < GROWTH_MB) return undefined;
  const worst = largest(workers, silenceOf);
  if (worst === undefined || silenceOf(worst) < SILENT_MS) return undefined;
  return {
    plugin: worst.plugin,
    evidence: `it had not answered for ${silenceOf(worst)} ms while the process grew by ${growthMb} MB`,
  };
}

function grown({ workers, growthMb }: BlackBoxRecord): Blame | undefined {
  if (growthMb < GROWTH_MB) return undefined;
  const worst = largest(workers, ({ usedMb }) => usedMb);
  if (worst === undefined || worst.usedMb < growthMb / 2) return undefined;
  return {
    plugin: worst.plugin,
    evidence: `it held ${worst.usedMb} MB when the process had grown by ${growthMb} MB`,
  };
}

function silent({ workers }: BlackBoxRecord): Blame | undefined {
  const mute = workers.filter((worker) => silenceOf(worker) >= SILENT_ALONE_MS);
  const [only, ...others] = mute;
  if (only === undefined || others.length > 0) return undefined;
  return {
    plugin: only.plugin,
    evidence: `it had not answered for ${silenceOf(only)} ms, as the only one`,
  };
}

function newest({ workers }: BlackBoxRecord, sinceMs: number): Blame | undefined {
  const young = workers.filter(({ ageMs, isEnding }) => !isEnding && ageMs + sinceMs < NEW_MS);
  const [only, ...others] = young;
  if (only === undefined || others.length > 0) return undefined;
  const seconds = ((only.ageMs + sinceMs) / 1000).toFixed(1);
  return {
    plugin: only.plugin,
    evidence: `it was the only one started in the last minute, ${seconds} s before`,
  };
}

/** Milliseconds without a sign of life of either kind. */
function silenceOf({ silentMs, unansweredMs }: WorkerLook): number {
  return Math.max(silentMs, unansweredMs);
}

function largest(
  workers: readonly WorkerLook[],
  measure: (worker: WorkerLook) => number,
): WorkerLook | undefined {
  let best: WorkerLook | undefined;
  for (const worker of workers)
    if (best === undefined || measure(worker) > measure(best)) best = worker;
  return best;
}
