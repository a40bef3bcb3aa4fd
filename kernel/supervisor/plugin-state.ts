/** States of a plugin, how they are shown, and how a change of state is told in the log. */

import { MktsError, reasonOf } from '../base/errors.ts';
import type { Log, PluginEntry } from './plugin-entry.ts';

export type PluginState =
  | { readonly kind: 'idle' }
  | { readonly kind: 'starting' }
  | { readonly kind: 'running' }
  | { readonly kind: 'degraded'; readonly reason: string }
  | { readonly kind: 'backoff'; readonly cause: Error; readonly delayMs: number }
  | { readonly kind: 'quarantined'; readonly cause: Error }
  | { readonly kind: 'failed'; readonly cause: Error }
  | { readonly kind: 'stopped'; readonly reason: string };

/** What `/metrics` and the API show of a plugin. */
export interface PluginStatus {
  readonly name: string;
  readonly kind: PluginEntry['kind'];
  readonly module: string;
  /** As the plugin says of itself; undefined until it was loaded once. */
  readonly version: string | undefined;
  readonly state: PluginState['kind'];
  /** Why it is in this state, if there is a reason. */
  readonly reason: string | undefined;
  /** Milliseconds in this state. */
  readonly stateMs: number;
  readonly generation: number;
  readonly restarts: number;
  readonly zombies: number;
  readonly memoryMb: number;
  readonly ringHighWaterBytes: number;
  readonly ringCapacityBytes: number;
  readonly rejectedFrames: number;
}

/** Why a plugin is in this state, if there is a reason. */
export function stateReason(
  state: PluginState,
  mask: (text: string) => string,
): string | undefined {
  if ('cause' in state) return mask(reasonOf(state.cause));
  return 'reason' in state ? state.reason : undefined;
}

export interface TransitionFields {
  readonly plugin: string;
  readonly kind: PluginEntry['kind'];
  readonly generation: number;
  readonly version: string | undefined;
  /** Hides secrets. */
  readonly mask: (text: string) => string;
}

/** One line for one transition, with its cause. */
export function logTransition(
  log: Log,
  state: PluginState,
  { mask, ...fields }: TransitionFields,
): void {
  const reason = stateReason(state, mask);
  switch (state.kind) {
    case 'idle':
    case 'starting':
      log.debug(fields, `plugin is ${state.kind}`);
      break;
    case 'running':
      log.info(fields, 'plugin is running');
      break;
    case 'stopped':
      log.info({ ...fields, reason }, 'plugin is stopped');
      break;
    case 'degraded':
      log.warn({ ...fields, reason }, 'plugin is degraded');
      break;
    case 'backoff':
      log.warn(
        { ...fields, ...causeFields(state.cause, mask), delayMs: Math.round(state.delayMs) },
        'plugin crashed and will be restarted',
      );
      break;
    case 'quarantined':
      log.error(
        { ...fields, ...causeFields(state.cause, mask) },
        'plugin crashed too often and is quarantined',
      );
      break;
    case 'failed':
      log.error({ ...fields, ...causeFields(state.cause, mask) }, 'plugin cannot be started');
  }
}

/** The stack is the plugin's: that of an error without a code, or of the cause below a coded one. */
function causeFields(
  cause: Error,
  mask: (text: string) => string,
): Readonly<Record<string, unknown>> {
  const coded = cause instanceof MktsError;
  const thrown = coded ? cause.cause : cause;
  return {
    code: coded ? cause.code : 'MKTS_PLUGIN_FAILED',
    reason: mask(reasonOf(cause)),
    stack: thrown instanceof Error ? mask(thrown.stack ?? '') : undefined,
  };
}
