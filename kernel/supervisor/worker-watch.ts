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

import type { Worker } from 'node:worker_threads';
import type { RingReader } from '../../workers/ring.ts';
import { PluginError } from '../base/errors.ts';
import type { ProcessMemoryWatch } from './process-memory-watch.ts';

const MIB = 1024 * 1024;
/** Over the limit for this many samples, since garbage is counted too; over twice at once. */
const SAMPLES_OVER_MAX = 4;
/** Part of the heartbeat timeout after which a silent worker counts as degraded. */
const LATE_FRACTION = 0.2;

export interface WorkerWatchOptions {
  readonly plugin: string;
  readonly worker: Worker;
  readonly ring: RingReader;
  readonly sampleMs: number;
  readonly heartbeatTimeoutMs: number;
  readonly memorySoftMb: number;
  readonly processMemory: ProcessMemoryWatch;
  /** The worker must go: MKTS_PLUGIN_STUCK or MKTS_PLUGIN_MEMORY. Called once. */
  readonly onFault: (error: PluginError) => void;
  /** It is late, or no longer. */
  readonly onLate: (isLate: boolean) => void;
}

export class WorkerWatch {
  readonly #options: WorkerWatchOptions;
  readonly #timer: NodeJS.Timeout;
  readonly #leaveProcessMemory: () => void;
  #heartbeat = -1;
  #silentSamples = 0;
  #isLate = false;
  #samplesOver = 0;
  #heapMb = 0;
  #heapAsked = false;
  #memoryMb = 0;

  constructor(options: WorkerWatchOptions) {
    this.#options = options;
    this.#timer = setInterval(() => this.#sample(), options.sampleMs);
    this.#timer.unref();
    this.#leaveProcessMemory = options.processMemory.add({
      limitMb: options.memorySoftMb,
      heartbeat: () => options.ring.gauges().heartbeat,
      measure: () => this.#measure(),
      blame: (usedMb) => this.#blameMemory(usedMb),
    });
  }

  /** The last sample. */
  get memoryMb(): number {
    return this.#memoryMb;
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#leaveProcessMemory();
  }

  #sample(): void {
    this.#checkHeartbeat(this.#options.ring.gauges().heartbeat);
    this.#askHeap();
    this.#update();
    this.#checkMemory();
  }

  /** What V8 said last, or the worker itself. */
  #update(): number {
    const { heapKb, externalKb } = this.#options.ring.gauges();
    this.#memoryMb = Math.max(this.#heapMb, (heapKb + externalKb) / 1024);
    return this.#memoryMb;
  }

  /** Megabytes, now. Rejects if the worker does not run; late if it is in native code. */
  async #measure(): Promise<number> {
    const heap = await this.#options.worker.getHeapStatistics();
    this.#heapMb = (heap.used_heap_size + heap.external_memory) / MIB;
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

  #checkMemory(): void {
    const { memorySoftMb } = this.#options;
    this.#samplesOver = this.#memoryMb > memorySoftMb ? this.#samplesOver + 1 : 0;
    if (this.#samplesOver < SAMPLES_OVER_MAX && this.#memoryMb <= 2 * memorySoftMb) return;
    this.#blameMemory(this.#memoryMb);
  }

  #blameMemory(megabytes: number): void {
    const { plugin, memorySoftMb: limitMb } = this.#options;
    const usedMb = Math.round(megabytes);
    this.#fault(new PluginError('MKTS_PLUGIN_MEMORY', { plugin, usedMb, limitMb }));
  }

  #fault(error: PluginError): void {
    this.stop();
    this.#options.onFault(error);
  }
}
