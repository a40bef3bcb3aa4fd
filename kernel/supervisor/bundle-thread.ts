/**
 * Bundles plugins on a thread of its own, at the lowest priority. This file is both sides:
 * `startBundleThread` on the main thread, and the thread itself when it is loaded as a worker.
 *
 * Why: esbuild takes all cores for a tenth of a second, and its answer, a megabyte of text, is read
 * and hashed. On the main thread that held up commits, and beside it, at the same priority as the
 * kernel, the plugins' threads, for as long. On Linux a thread's niceness is inherited by what it
 * starts: so esbuild's own process is as patient as this thread.
 *
 * A library's text crosses once: it is half a megabyte, and a new copy of it with each build made the
 * kernel's heap grow from swap to swap until it was collected.
 *
 * The thread starts with the first bundle. If it dies, what is under way is rejected, and the next
 * request starts another.
 */

import { setPriority } from 'node:os';
import {
  isMainThread,
  type MessagePort,
  parentPort,
  Worker,
  workerData,
} from 'node:worker_threads';
import { stop as stopEsbuild } from 'esbuild';
import { outcomeOf } from '../../workers/outcome.ts';
import type { Outcome } from '../../workers/protocol.ts';
import { fromPlainError, PluginError, reasonOf } from '../base/errors.ts';
import { BUNDLE_NICENESS } from '../base/limits.ts';
import { workerEntry } from '../base/worker-entry.ts';
import { type Bundle, type BundleRequest, bundlePlugin } from './bundle-plugin.ts';

const ROLE = 'mkts bundler';

export interface BundleThread {
  /** As bundlePlugin. */
  bundle(request: BundleRequest): Promise<Bundle>;
  /** Ends the thread and esbuild; what is under way is rejected. */
  stop(): Promise<void>;
}

interface RequestMessage {
  readonly id: number;
  /** Undefined: the thread shall end. */
  readonly request: BundleRequest | undefined;
}

interface ReplyMessage {
  readonly id: number;
  readonly outcome: Outcome<SentBundle>;
}

type SentBundle = Omit<Bundle, 'libraries'> & {
  /** By name; empty: the text was sent before. */
  readonly libraries: readonly (readonly [name: string, text: string])[];
};

interface Pending {
  readonly plugin: string;
  resolve(bundle: Bundle): void;
  reject(cause: Error): void;
}

export function startBundleThread(): BundleThread {
  return new BundleThreadClient();
}

class BundleThreadClient implements BundleThread {
  readonly #pending = new Map<number, Pending>();
  #worker: Worker | undefined;
  #exited: Promise<void> = Promise.resolve();
  #nextId = 0;
  readonly #libraries = new Map<string, string>();

  bundle(request: BundleRequest): Promise<Bundle> {
    const worker = this.#worker ?? this.#start();
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      this.#pending.set(id, { plugin: request.name, resolve, reject });
      worker.postMessage({ id, request } satisfies RequestMessage);
    });
  }

  async stop(): Promise<void> {
    this.#worker?.postMessage({ id: this.#nextId++, request: undefined } satisfies RequestMessage);
    await this.#exited;
  }

  #start(): Worker {
    const entry = workerEntry(new URL('./bundle-thread.ts', import.meta.url), import.meta.url);
    const worker = new Worker(entry, { name: ROLE, workerData: ROLE });
    // A build nobody waits for holds up no process.
    worker.unref();
    this.#worker = worker;
    let reason = 'the thread that builds plugins ended';
    worker.on('error', (error) => {
      reason = reasonOf(error);
    });
    worker.on('message', ({ id, outcome }: ReplyMessage) => {
      const pending = this.#pending.get(id);
      this.#pending.delete(id);
      if (outcome.ok) pending?.resolve(this.#whole(outcome.value));
      else pending?.reject(fromPlainError(outcome.error));
    });
    this.#exited = new Promise((resolve) => {
      worker.once('exit', () => {
        if (this.#worker === worker) this.#worker = undefined;
        const waiting = [...this.#pending.values()];
        this.#pending.clear();
        for (const { plugin, reject } of waiting)
          reject(new PluginError('MKTS_PLUGIN_BUILD', { plugin, reason }));
        resolve();
      });
    });
    return worker;
  }

  /** With the texts that were sent before. */
  #whole(bundle: SentBundle): Bundle {
    const libraries: Record<string, string> = {};
    for (const [name, text] of bundle.libraries) {
      if (text !== '') this.#libraries.set(name, text);
      libraries[name] = this.#libraries.get(name) ?? text;
    }
    return { ...bundle, libraries };
  }
}

function serve(port: MessagePort): void {
  if (process.platform === 'linux') setPriority(BUNDLE_NICENESS);
  const sent = new Set<string>();
  const unsent = (bundle: Bundle): SentBundle => ({
    ...bundle,
    libraries: Object.entries(bundle.libraries).map(([name, text]) => {
      const isSent = sent.has(name);
      sent.add(name);
      return [name, isSent ? '' : text];
    }),
  });
  port.on('message', ({ id, request }: RequestMessage) => {
    if (request === undefined) {
      port.close();
      void stopEsbuild();
    } else {
      void outcomeOf(async () => unsent(await bundlePlugin(request))).then((outcome) =>
        port.postMessage({ id, outcome } satisfies ReplyMessage),
      );
    }
  });
}

if (!isMainThread && workerData === ROLE && parentPort !== null) serve(parentPort);
