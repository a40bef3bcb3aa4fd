/**
 * What the watchdog and the kernel process say to each other over the channel Node keeps between a
 * process and its child. Types, and the names of what is told.
 *
 *   watchdog  start ▸ … signal …                        kernel  ready ▸ … record … ▸ stopping ▸ stopped
 *
 * Both are the same build, started by the same command: nothing here is a format others read.
 */

import type { BlackBoxRecord } from '../black-box.ts';

/** Why this kernel process was started in the place of another. */
export interface Death {
  /** As `endingText` says it: 'was ended by SIGABRT'. */
  readonly ending: string;
  /** How long the one before had run. */
  readonly uptimeMs: number;
  /** How often within KERNEL_DEATHS_WINDOW_MS. */
  readonly deaths: number;
  /** Held to be the cause, if anybody is. */
  readonly plugin?: string;
  readonly evidence?: string;
}

export type ToKernel =
  | {
      readonly kind: 'start';
      readonly death?: Death;
      /** Plugins that killed a kernel process of this watchdog, and why one thinks so. */
      readonly quarantined: readonly (readonly [plugin: string, reason: string])[];
    }
  | { readonly kind: 'signal'; readonly signal: 'SIGINT' | 'SIGTERM' | 'SIGUSR1' };

export type ToWatchdog =
  /** The server runs: if it dies now, it is to be started again. */
  | { readonly kind: 'ready' }
  /** It was asked to stop: however it ends now, it is not to be started again. */
  | { readonly kind: 'stopping' }
  /** All is written; what is left to do is to exit. */
  | { readonly kind: 'stopped'; readonly exitCode: number }
  | { readonly kind: 'record'; readonly record: BlackBoxRecord };

/** The hidden option by which the kernel process knows that a watchdog started it. */
export const WATCHED_OPTION = '--watched';
