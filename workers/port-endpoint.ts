/**
 * A MessagePort as comlink wants it, with a door: only messages the guard admits reach comlink.
 *
 * Comlink walks whatever property path the other side names on the exposed object, up to
 * `openSeries.constructor`, and revives whatever it is sent. For the kernel that is too much trust,
 * so its side admits calls of named functions with plain arguments, and nothing else.
 */

import type { MessagePort } from 'node:worker_threads';
import type { Endpoint } from 'comlink';

export type Guard = (message: unknown) => boolean;

/** The port is started by comlink. Messages the guard refuses are dropped: it says what then. */
export function portEndpoint(port: MessagePort, guard: Guard = () => true): Endpoint {
  const listeners = new WeakMap<object, (data: unknown) => void>();
  return {
    postMessage: (message, transfer) => port.postMessage(message, transfer as never),
    addEventListener: (_type, listener) => {
      const receive = (data: unknown): void => {
        if (!guard(data)) return;
        const event = { data } as MessageEvent;
        if (typeof listener === 'function') listener(event);
        else listener.handleEvent(event);
      };
      listeners.set(listener, receive);
      port.on('message', receive);
    },
    removeEventListener: (_type, listener) => {
      const receive = listeners.get(listener);
      if (receive !== undefined) port.off('message', receive);
    },
    start: () => port.start(),
  };
}

/** A guard for an end that offers these functions: admits their calls, with plain arguments. */
export function callsOf(names: readonly string[], onRefused: () => void): Guard {
  return (message) => {
    if (isCallOf(names, message)) return true;
    onRefused();
    return false;
  };
}

function isCallOf(names: readonly string[], message: unknown): boolean {
  if (typeof message !== 'object' || message === null) return false;
  const { id, type, path, argumentList } = message as Record<string, unknown>;
  return (
    typeof id === 'string' &&
    type === 'APPLY' &&
    Array.isArray(path) &&
    path.length === 1 &&
    names.includes(path[0]) &&
    Array.isArray(argumentList) &&
    argumentList.every(
      (argument) =>
        typeof argument === 'object' &&
        argument !== null &&
        Reflect.get(argument, 'type') === 'RAW',
    )
  );
}
