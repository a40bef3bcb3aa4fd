/**
 * One worker of one plugin, thread or process, with nothing around it: no supervisor, a kernel made
 * of empty answers, and a drain that counts. For what is about the worker itself.
 */

import { MessageChannel, type MessagePort } from 'node:worker_threads';
import type { Isolation } from '../../config/entry-settings.ts';
import { epochAt } from '../../kernel/base/row-block.ts';
import { bundleHost } from '../../kernel/supervisor/host-bundle.ts';
import { createKernelApi } from '../../kernel/supervisor/kernel-api.ts';
import type { SupervisorLimits } from '../../kernel/supervisor/plugin-entry.ts';
import type { Departure, PluginHost } from '../../kernel/supervisor/plugin-host.ts';
import { ProcessMemoryWatch } from '../../kernel/supervisor/process-memory-watch.ts';
import { startHost } from '../../kernel/supervisor/start-host.ts';
import { Doorbell } from '../../workers/doorbell.ts';
import { revive } from '../../workers/outcome.ts';

const LIMITS: SupervisorLimits = {
  heartbeatTimeoutMs: 5_000,
  memorySoftMb: 256,
  sampleMs: 50,
  restartDelayMs: 1_000,
  restartsMax: 1,
  stopTimeoutMs: 5_000,
  callTimeoutMs: 30_000,
  triggerTimeoutMs: 30_000,
  probationMs: 1_000,
} as SupervisorLimits;

const NO_ROWS = { rowCount: 0, columns: [] };

/** A bgworker whose `start` has this body. */
export function pluginText(body: string): string {
  return `module.exports = { kind: 'bgworker', name: 'test', version: '1', api: 1,
    config: { safeParseAsync: async (data) => ({ success: true, data }) },
    async start(ctx) { ${body} } };`;
}

export interface HostBenchOptions {
  readonly limits?: Partial<SupervisorLimits>;
  /** In the place of the host's text: code of ours that plays a host which went bad. */
  readonly hostCode?: string;
  /** The plugin's line to a network broker. */
  readonly line?: MessagePort;
}

export class HostBench {
  readonly host: PluginHost;
  /** What it logged, and what it printed. */
  readonly lines: {
    readonly message: string;
    readonly fields: Readonly<Record<string, unknown>>;
  }[] = [];
  /** Epochs of the rows that came, in order. */
  readonly epochs: number[] = [];
  readonly #doorbell = new Doorbell();
  readonly #watchers = new Set<() => void>();
  readonly #line: MessagePort;
  readonly #draining: Promise<void>;
  #rows = 0;
  #keepsEpochs = true;
  #ended = false;

  static async start(
    isolation: Isolation,
    code: string,
    options: HostBenchOptions = {},
  ): Promise<HostBench> {
    const bench = new HostBench(isolation, code, await bundleHost(), options);
    if (options.hostCode === undefined) revive(await bench.host.call('load', (it) => it.load()));
    return bench;
  }

  private constructor(
    isolation: Isolation,
    code: string,
    hostCode: string,
    options: HostBenchOptions,
  ) {
    const plugin = 'test';
    const line = (fields: Readonly<Record<string, unknown>>, message: string): void => {
      this.lines.push({ message, fields });
      this.#changed();
    };
    this.#line = options.line ?? new MessageChannel().port1;
    this.host = startHost({
      isolation,
      plugin,
      hostCode: options.hostCode ?? hostCode,
      start: {
        plugin,
        code,
        filename: 'test.js',
        config: {},
        timezone: 'UTC',
        allowance: { grants: [], cpuPercent: undefined, logLinesPerSecond: 200 },
      },
      doorbell: this.#doorbell.shared,
      api: createKernelApi({
        plugin,
        kernel: {
          openBucket: (_key, schema) => ({ schema }),
          schemaOf: () => undefined,
          query: async () => NO_ROWS,
          lastRow: () => NO_ROWS,
          metric: () => undefined,
        },
        log: { debug: line, info: line, warn: line, error: line },
        redact: (text) => text,
      }),
      limits: { ...LIMITS, ...options.limits },
      processMemory: new ProcessMemoryWatch(),
      onOutput: (text) => line({}, text),
      onLate: () => undefined,
    });
    void this.host.gone.then(() => this.#changed());
    this.#draining = this.#drain();
  }

  /** Configures and starts the plugin; settles as its `start` does. */
  async run(): Promise<void> {
    await this.host.call('configure', (it) => it.configure());
    const state = { entries: [], bytesMax: 1_000_000 };
    revive(await this.host.call('start', (it) => it.start(this.#line, state, {}, [])));
  }

  /** Resolves once `condition` holds; looks again whenever anything happened. */
  until(condition: () => boolean): Promise<void> {
    return new Promise((resolve) => {
      const look = (): void => {
        if (!condition()) return;
        this.#watchers.delete(look);
        resolve();
      };
      this.#watchers.add(look);
      look();
    });
  }

  /** Fields of the first line that says this. */
  async said(message: string): Promise<Readonly<Record<string, unknown>>> {
    await this.until(() => this.lines.some((line) => line.message === message));
    return this.lines.find((line) => line.message === message)?.fields ?? {};
  }

  /** Counts rows for a time, after it has seen the first. */
  async rowsPerSecond(seconds: number): Promise<number> {
    this.#keepsEpochs = false;
    await this.until(() => this.#rows > 0);
    const fromMs = performance.now();
    const before = this.#rows;
    await this.until(() => performance.now() - fromMs > 1000 * seconds);
    return (this.#rows - before) / ((performance.now() - fromMs) / 1000);
  }

  /** Ends the worker, whatever it does. */
  async end(): Promise<Departure> {
    this.host.terminate(new Error('the test is over'));
    const departure = await this.host.gone;
    this.#ended = true;
    this.#doorbell.ring();
    await this.#draining;
    this.#line.close();
    return departure;
  }

  async #drain(): Promise<void> {
    while (!this.#ended) {
      const { ring } = this.host;
      const view = new DataView(ring.data.buffer, ring.data.byteOffset);
      const before = this.#rows;
      try {
        for (let frames = 0; frames < 4096; frames++) {
          const frame = ring.peek();
          if (frame === undefined) break;
          // What a drain does, no less: one copy, and a look at the head.
          const copy = ring.data.slice(frame.offset, frame.offset + frame.bytes);
          const rowCount = view.getUint32(frame.offset + 12, true);
          if (this.#keepsEpochs)
            for (let row = 0; row < rowCount; row++)
              this.epochs.push(epochAt(new DataView(copy.buffer), 24 + 8 * row));
          this.#rows += rowCount;
          ring.markCommitted(ring.consume());
        }
      } catch (cause) {
        this.host.terminate(cause as Error);
        return;
      }
      if (this.#rows === before) await this.#doorbell.wait(10);
      else await new Promise<void>((resolve) => setImmediate(resolve));
      this.#changed();
    }
  }

  #changed(): void {
    for (const look of [...this.#watchers]) look();
  }
}
