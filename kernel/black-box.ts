/**
 * What the watchdog must know should this process die before it can say another word: which plugins
 * run in it, since when, and who grows or is silent. Main thread.
 *
 * It is told of changes and not of time: a worker came or went, the process or a worker grew by a
 * step, a worker fell silent. So a calm server sends nothing, and one that blows up sends a few
 * hundred bytes for each step, the last of them some milliseconds before the end.
 *
 * Invariant: one record is on its way at most; what is seen meanwhile waits, the newest only, so that
 * a watchdog that does not read costs no memory.
 */

import { getHeapStatistics } from 'node:v8';
import type { MemoryLook, WorkerLook } from './supervisor/process-memory-watch.ts';

/** The process grew by so much since it was told last. */
const PROCESS_STEP_MB = 32;
/** A worker did. */
const WORKER_STEP_MB = 16;
/** Silence is told when it has lasted this long, and at each doubling. */
const SILENCE_STEP_MS = 100;

/** What is told. */
export interface BlackBoxRecord extends MemoryLook {
  /** Part of the kernel's own heap, as V8 limits it, that is in use: 0 to 1. */
  readonly kernelHeapPart: number;
}

/** Hands a record over; calls back when the next may come. */
export type TellRecord = (record: BlackBoxRecord, done: () => void) => void;

export class BlackBox {
  readonly #tell: TellRecord;
  readonly #kernelHeapPart: () => number;
  #told: MemoryLook | undefined;
  #waiting: MemoryLook | undefined;
  #isTelling = false;

  constructor(tell: TellRecord, kernelHeapPart: () => number = kernelHeapPartNow) {
    this.#tell = tell;
    this.#kernelHeapPart = kernelHeapPart;
  }

  /** Called many times a second. */
  observe(look: MemoryLook): void {
    if (this.#told !== undefined && !isNews(this.#told, look)) return;
    if (this.#isTelling) this.#waiting = look;
    else this.#send(look);
  }

  #send(look: MemoryLook): void {
    this.#told = look;
    this.#isTelling = true;
    this.#tell(rounded(look, this.#kernelHeapPart()), () => {
      this.#isTelling = false;
      const next = this.#waiting;
      this.#waiting = undefined;
      if (next !== undefined) this.#send(next);
    });
  }
}

function isNews(told: MemoryLook, look: MemoryLook): boolean {
  if (told.workers.length !== look.workers.length) return true;
  // Down too: what was growing and is calm again must not be blamed for what comes later.
  if (Math.abs(look.rssMb - told.rssMb) >= PROCESS_STEP_MB) return true;
  return look.workers.some((worker, at) => {
    const before = told.workers[at];
    return before === undefined || isWorkerNews(before, worker);
  });
}

function isWorkerNews(before: WorkerLook, now: WorkerLook): boolean {
  return (
    before.plugin !== now.plugin ||
    before.isEnding !== now.isEnding ||
    // A new worker of the same plugin.
    now.ageMs < before.ageMs ||
    Math.abs(now.usedMb - before.usedMb) >= WORKER_STEP_MB ||
    silence(before.silentMs) !== silence(now.silentMs) ||
    silence(before.unansweredMs) !== silence(now.unansweredMs)
  );
}

/** 0 below a step, then one more for each doubling. */
function silence(milliseconds: number): number {
  return Math.max(0, Math.floor(Math.log2(milliseconds / SILENCE_STEP_MS) + 1));
}

function rounded(look: MemoryLook, kernelHeapPart: number): BlackBoxRecord {
  return {
    rssMb: Math.round(look.rssMb),
    growthMb: Math.round(look.growthMb),
    kernelHeapPart: Math.round(kernelHeapPart * 100) / 100,
    workers: look.workers.map((worker) => ({
      ...worker,
      ageMs: Math.round(worker.ageMs),
      usedMb: Math.round(worker.usedMb),
    })),
  };
}

function kernelHeapPartNow(): number {
  const { used_heap_size: used, heap_size_limit: limit } = getHeapStatistics();
  return used / limit;
}
