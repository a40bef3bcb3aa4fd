/**
 * What crosses the socket between the kernel and a plugin's process: messages of
 *
 *   u32 payload bytes | u8 channel | payload
 *
 * What goes to the process is structured clone (v8.serialize), since answers hold columns of bytes.
 * What comes from it is rows, fixed words, or JSON: the process may run anybody's code, and JSON is
 * the one form of these whose parser is made for text of strangers.
 */

import type { PlainError } from '../kernel/base/errors.ts';
import { GAUGE_BYTES } from './ring-mirror.ts';

/** Of a message's head. */
export const HEAD_BYTES = 5;

/** Kernel → process. */
export const TO_PROCESS = {
  /** ProcessStart; the first message, once. */
  start: 1,
  /** CURSOR_BYTES: how far the ring's rows are consumed and committed, whether it is closed, … */
  cursors: 2,
  /** A comlink message for the plugin: a call of PluginShape. */
  call: 3,
  /** A comlink message for the worker: the answer to a call of KernelShape. */
  answer: 4,
  /** BrokerNotice. */
  broker: 5,
  /** ProfileCommand. */
  profile: 6,
} as const;

/** Process → kernel. */
export const FROM_PROCESS = {
  /** Bytes of the ring, whole frames together: taken as they come, readable at the message's end. */
  rows: 1,
  /** GAUGE_BYTES of the worker's words, then what the process says of itself: see REPORT_BYTES. */
  report: 2,
  /** A comlink message of the worker: a call of KernelShape. */
  call: 3,
  /** A comlink message of the plugin: the answer to a call of PluginShape. */
  answer: 4,
  /** A BrokerRequest. */
  broker: 5,
  /** ProcessEnded; the last message. */
  ended: 6,
  /** ProfilePiece. */
  profile: 7,
} as const;

/** Four u32: consumed, committed, closed, frames rejected. */
export const CURSOR_BYTES = 16;
/** The worker's words, then f64 megabytes of the worker and f64 milliseconds of CPU time of the process. */
export const REPORT_BYTES: number = GAUGE_BYTES + 16;

/** Takes a CPU profile of the worker; with 0 milliseconds the one under way is over. */
export interface ProfileCommand {
  readonly id: number;
  readonly milliseconds: number;
}

/** A part of the text of a .cpuprofile, in order; or why there is none. */
export interface ProfilePiece {
  readonly id: number;
  readonly text: string;
  readonly isLast: boolean;
  readonly problem?: string;
}

/** What the process needs to start its worker. */
export interface ProcessStart {
  /** Text of workers/host.ts, bundled. */
  readonly hostCode: string;
  readonly plugin: string;
  /** WorkerStart without what is made in the process. */
  readonly start: unknown;
  readonly execArgv: readonly string[];
  readonly heapMb: number;
  readonly reportMs: number;
  /** Niceness of the process's threads. */
  readonly niceness: number;
}

/** How the worker in the process ended. */
export interface ProcessEnded {
  readonly exitCode: number;
  readonly isOutOfMemory: boolean;
  /** What it threw, if it did. */
  readonly error: PlainError | undefined;
}

/** The plugin's line to the network broker, as the process sees it. */
export type BrokerNotice =
  /** There is a broker, for the first time or again: what was under way before has failed. */
  | { readonly kind: 'attached' }
  /** It is gone; another may come. */
  | { readonly kind: 'detached' }
  | { readonly kind: 'reply'; readonly reply: unknown };

export function messageHead(channel: number, payloadBytes: number): Buffer {
  const head = Buffer.allocUnsafe(HEAD_BYTES);
  head.writeUInt32LE(payloadBytes, 0);
  head[4] = channel;
  return head;
}
