/** States of a plugin, how they are shown, and how a change of state is told in the log. */

import type { PluginDescription } from '../../workers/protocol.ts';
import { MktsError, reasonOf } from '../base/errors.ts';
import type { ShadowReport } from '../base/plugin-report.ts';
import type { Log, PluginEntry } from './plugin-entry.ts';

export type PluginState =
  | { readonly kind: 'idle' }
  | { readonly kind: 'starting' }
  | { readonly kind: 'running' }
  | { readonly kind: 'degraded'; readonly reason: string }
  | { readonly kind: 'backoff'; readonly cause: Error; readonly delayMs: number }
  /** `why` of itself; else it crashed too often, or `cause` says who put it there. */
  | { readonly kind: 'quarantined'; readonly cause: Error; readonly why?: 'cannot be started' }
  | { readonly kind: 'failed'; readonly cause: Error }
  | { readonly kind: 'stopped'; readonly reason: string };

/** A generation that is to take over, or just did. */
export interface CandidateStatus {
  readonly generation: number;
  /**
   * `preparing`: built, loaded, checked beside the one that runs. `waiting`: for the operator's
   * consent. `probation`: it runs, and the one before is parked. `failed`: the one before goes on.
   */
  readonly state: 'preparing' | 'waiting' | 'probation' | 'failed';
  /** Why it waits or failed; secrets hidden. */
  readonly reason: string | undefined;
}

/** What came of a reload that did not reject. */
export interface SwapOutcome {
  /**
   * `swapped`: the new generation runs. `unchanged`: what runs is what a build gives. `waiting`: the
   * new one asks for more than was agreed to; the one before goes on until `approve`. `started`:
   * nothing ran, so there was nothing to hand over. `shadow`: the new one runs beside the one before,
   * which goes on, and its rows are compared.
   */
  readonly outcome: 'swapped' | 'unchanged' | 'waiting' | 'started' | 'shadow';
  /** Of the worker that runs, or waits. */
  readonly generation: number;
}

/** What the files of an entry are and ask for, found without running them beyond `load`. */
export interface Inspection {
  readonly plugin: string;
  readonly module: string;
  readonly description: PluginDescription;
  /** Of the code. */
  readonly hash: string;
  /** The plugin's own files. */
  readonly inputs: readonly string[];
  /** The hash of what runs; undefined: nothing. */
  readonly runningHash: string | undefined;
}

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
  /** Of the code that runs, or ran last; undefined: none was built. */
  readonly hash: string | undefined;
  /** The newest generation that is not, or not yet for good, the one that runs. */
  readonly candidate: CandidateStatus | undefined;
  /** The generation that takes over again if the running one fails in its probation. */
  readonly parkedGeneration: number | undefined;
  /** A generation that runs beside it, and writes to a diff. */
  readonly shadow: ShadowReport | undefined;
  /** Changes of generation while it ran. */
  readonly swaps: number;
  readonly restarts: number;
  readonly zombies: number;
  readonly memoryMb: number;
  /** CPU time of its worker so far, and what of it waited to keep to its budget; u32. */
  readonly cpuMs: number;
  readonly throttledMs: number;
  /** Queries of its worker under way, and those that wait for one of them to end. */
  readonly requests: { readonly underWay: number; readonly waiting: number };
  readonly ringUsedBytes: number;
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
        state.cause instanceof MktsError && state.cause.code === 'MKTS_PLUGIN_QUARANTINED'
          ? 'plugin is quarantined'
          : `plugin ${state.why ?? 'crashed too often'} and is quarantined`,
      );
      break;
    case 'failed':
      log.error({ ...fields, ...causeFields(state.cause, mask) }, 'plugin cannot be started');
  }
}

/** The stack is the plugin's: that of an error without a code, or of the cause below a coded one. */
export function causeFields(
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
