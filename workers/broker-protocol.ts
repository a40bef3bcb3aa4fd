/**
 * What crosses between a plugin's worker and the network broker: plain data over MessagePorts.
 *
 *   kernel ──BrokerCommand──▶ broker thread         registers a plugin and its grants
 *   kernel ──LineMessage────▶ plugin's worker       hands it a port to the broker, again after a
 *                                                   broker that died was replaced
 *   plugin's worker ◀──BrokerRequest / BrokerReply──▶ broker thread     all traffic, never by main
 *
 * Invariant: `id` is chosen by the worker, grows, and names one fetch or one socket for good. After
 * `response`, `failed` or `closed` of an id nothing more is sent about it by the broker, and what
 * the worker still sends about it is ignored: both sides may have ended it at the same time.
 *
 * Credit: a socket may send the worker SOCKET_CREDIT messages; every one the plugin has taken is
 * given back by `credit`. What arrives beyond waits in the broker, up to a bound.
 */

import type { MessagePort } from 'node:worker_threads';
import type { PlainError } from '../kernel/base/errors.ts';

/** What a plugin's worker asks of the broker. */
export type BrokerRequest =
  | {
      readonly kind: 'fetch';
      readonly id: number;
      readonly url: string;
      readonly method: string;
      readonly headers: Readonly<Record<string, string>>;
      readonly body: string | undefined;
      readonly timeoutMs: number;
    }
  /** Ends a fetch nobody waits for any more; it is not answered. */
  | { readonly kind: 'abort'; readonly id: number }
  | { readonly kind: 'open'; readonly id: number; readonly url: string }
  /** The plugin took `count` more messages. */
  | { readonly kind: 'credit'; readonly id: number; readonly count: number }
  | { readonly kind: 'send'; readonly id: number; readonly text: string }
  /** Closes a socket, also one that is still opening; answered by `closed`. */
  | {
      readonly kind: 'close';
      readonly id: number;
      readonly code: number | undefined;
      readonly reason: string | undefined;
    };

/** What the broker tells a plugin's worker. */
export type BrokerReply =
  | {
      readonly kind: 'response';
      readonly id: number;
      readonly status: number;
      /** Names in lower case. */
      readonly headers: Readonly<Record<string, string>>;
      /** Transferred, already unpacked. */
      readonly body: ArrayBuffer;
    }
  /** A fetch failed, a socket did not open, or an open one broke. The last word on its id. */
  | { readonly kind: 'failed'; readonly id: number; readonly error: PlainError }
  | { readonly kind: 'opened'; readonly id: number }
  /** One or more messages of a socket, in order. */
  | { readonly kind: 'messages'; readonly id: number; readonly texts: readonly string[] }
  /** Either side closed the socket in good order. */
  | {
      readonly kind: 'closed';
      readonly id: number;
      readonly code: number;
      readonly reason: string;
    };

/** What the kernel sends down the port it gave to a plugin's worker. */
export interface LineMessage {
  /** Leads to the broker; it replaces the one before, which is closed. */
  readonly port: MessagePort;
}

/** What the broker thread tells the kernel. */
export interface BrokerEvent {
  readonly kind: 'denied';
  readonly plugin: string;
  /** `host:port` it asked for and may not reach. */
  readonly host: string;
  readonly count: number;
}

/** What the kernel tells the broker thread. */
export type BrokerCommand =
  | {
      readonly kind: 'register';
      /** Names the line: one for each generation of a plugin. */
      readonly line: string;
      readonly plugin: string;
      /** `host` (ports 80 and 443) or `host:port`. */
      readonly grants: readonly string[];
      /** HTTP requests under way at a time. */
      readonly fetchesMax: number;
      readonly port: MessagePort;
    }
  /** Ends all traffic of the line. */
  | { readonly kind: 'unregister'; readonly line: string }
  /** Closes every socket and ends the thread. */
  | { readonly kind: 'stop' };
