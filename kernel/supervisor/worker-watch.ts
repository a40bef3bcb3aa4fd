/**
 * Watches one worker from outside: is it alive, does it grow. Main thread, a sample now and then.
 *
 * Alive: the worker counts up a word of its ring; a loop without end, a blocking wait or a native
 * call stops that. Silence is counted in our own samples and not by the clock, so that a main thread
 * that was held up itself blames nobody.
 * Memory: V8 answers for the worker even while it spins; its own samples, in the ring, see what
 * V8's miss. The larger counts. The hard limit of V8 is far above: it may end the whole process.
 * What grows faster than this samples is seen by process-memory-watch.ts.
 */

import type { RingReader } from '../../workers/ring.ts';
import { PluginError } from '../base/errors.ts';
import { CpuWatch } from './cpu-watch.ts';
import { MemoryBudget, type MemoryExcess, type MemoryUse } from './memory-budget.ts';
import type { ProcessMemoryWatch, WatchedPlace } from './process-memory-watch.ts';

/** Part of the heartbeat timeout after which a silent worker counts as degraded. */
const LATE_FRACTION = 0.2;

export interface WorkerWatchOptions {
  readonly plugin: string;
  /** What it uses now. Rejects if it does not run; late if it is in native code. */
  readonly measure: () => Promise<MemoryUse>;
  readonly ring: RingReader;
  readonly sampleMs: number;
  readonly heartbeatTimeoutMs: number;
  readonly memorySoftMb: number;
  /** Of `memorySoftMb`, the bound of its heap, and of its buffers. */
  readonly heapMb?: number | undefined;
  readonly externalMb?: number | undefined;
  /** Undefined for a process of its own, whose memory is not this process's. */
  readonly processMemory: ProcessMemoryWatch | undefined;
  /** The worker must go: MKTS_PLUGIN_STUCK or MKTS_PLUGIN_MEMORY. Called once. */
  readonly onFault: (error: PluginError) => void;
  /** It is late, or no longer. */
  readonly onLate: (isLate: boolean) => void;
  /** It is slowed down steadily for want of CPU budget, or no longer. */
  readonly onThrottled?: ((isThrottled: boolean) => void) | undefined;
}

export class WorkerWatch {
  readonly #options: WorkerWatchOptions;
  readonly #timer: NodeJS.Timeout;
  readonly #processMemory: WatchedPlace | undefined;
  #heartbeat = -1;
  #silentSamples = 0;
  #isLate = false;
  readonly #budget: MemoryBudget;
  readonly #cpu = new CpuWatch();
  #isThrottled = false;
  #measured: MemoryUse = { totalMb: 0 };
  #heapAsked = false;
  #memoryMb = 0;

  constructor(options: WorkerWatchOptions) {
    const { memorySoftMb: totalMb, heapMb, externalMb } = options;
    this.#options = options;
    this.#budget = new MemoryBudget({ totalMb, heapMb, externalMb });
    this.#timer = setInterval(() => this.#sample(), options.sampleMs);
    this.#timer.unref();
    this.#processMemory = options.processMemory?.add({
      plugin: options.plugin,
      limitMb: options.memorySoftMb,
      heartbeat: () => options.ring.gauges().heartbeat,
      memoryMb: () => this.#memoryMb,
      measure: () => this.#measure(),
      blame: (usedMb) =>
        this.#blameMemory({ usedMb: Math.round(usedMb), limitMb: totalMb, part: undefined }),
    });
  }

  /** The last sample. */
  get memoryMb(): number {
    return this.#memoryMb;
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#processMemory?.leave();
  }

  /** The worker is gone, late as it may be: a zombie's memory is seen until then. */
  gone(): void {
    this.stop();
    this.#processMemory?.gone();
  }

  #sample(): void {
    this.#checkHeartbeat(this.#options.ring.gauges().heartbeat);
    this.#askHeap();
    this.#update();
    const excess = this.#budget.check(this.#use());
    if (excess === undefined) this.#checkCpu();
    else this.#blameMemory(excess);
  }

  #checkCpu(): void {
    const { cpuMs, throttledMs } = this.#options.ring.gauges();
    this.#cpu.sample({ nowMs: performance.now(), cpuMs, throttledMs });
    if (this.#cpu.isOver === this.#isThrottled) return;
    this.#isThrottled = this.#cpu.isOver;
    this.#options.onThrottled?.(this.#isThrottled);
  }

  /** What V8 or the system said last, or the worker itself: the larger counts. */
  #use(): MemoryUse {
    const { heapKb, externalKb } = this.#options.ring.gauges();
    const { heapMb = 0, externalMb = 0 } = this.#measured;
    return {
      totalMb: this.#memoryMb,
      heapMb: Math.max(heapMb, heapKb / 1024),
      externalMb: Math.max(externalMb, externalKb / 1024),
    };
  }

  /** What V8 said last, or the worker itself. */
  #update(): number {
    const { heapKb, externalKb } = this.#options.ring.gauges();
    this.#memoryMb = Math.max(this.#measured.totalMb, (heapKb + externalKb) / 1024);
    return this.#memoryMb;
  }

  /** As `measure`, and what the worker says itself. */
  async #measure(): Promise<number> {
    this.#measured = await this.#options.measure();
    return this.#update();
  }

  #checkHeartbeat(heartbeat: number): void {
    const { plugin, sampleMs, heartbeatTimeoutMs, onLate } = this.#options;
    this.#silentSamples = heartbeat === this.#heartbeat ? this.#silentSamples + 1 : 0;
    this.#heartbeat = heartbeat;
    const silentMs = this.#silentSamples * sampleMs;
    if (silentMs >= heartbeatTimeoutMs) {
      this.#fault(new PluginError('MKTS_PLUGIN_STUCK', { plugin, silentMs }));
      return;
    }
    const isLate = silentMs >= Math.max(heartbeatTimeoutMs * LATE_FRACTION, 2 * sampleMs);
    if (isLate === this.#isLate) return;
    this.#isLate = isLate;
    onLate(isLate);
  }

  #askHeap(): void {
    if (this.#heapAsked) return;
    this.#heapAsked = true;
    const answered = (): void => {
      this.#heapAsked = false;
    };
    // Rejects if the worker is not running yet, or no more: the exit event says so.
    this.#measure().then(answered, answered);
  }

  #blameMemory({ usedMb, limitMb, part }: MemoryExcess): void {
    const { plugin } = this.#options;
    this.#fault(new PluginError('MKTS_PLUGIN_MEMORY', { plugin, usedMb, limitMb, part }));
  }

  #fault(error: PluginError): void {
    this.stop();
    this.#options.onFault(error);
  }
}
