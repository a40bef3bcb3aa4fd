/**
 * `ctx.secrets`: values by name, as far as the plugin declares the names. Runs in the worker. What it
 * does not declare never gets here, and what it does only when it starts: a version that still waits
 * for consent has none.
 */

import { PluginError } from '../kernel/base/errors.ts';

export interface PluginSecretsOptions {
  readonly plugin: string;
  /** It asked for a name it does not declare. */
  readonly onDenied: (name: string) => void;
}

export class PluginSecrets {
  readonly #options: PluginSecretsOptions;
  #declared: ReadonlySet<string> = new Set();
  #values: ReadonlyMap<string, string> = new Map();

  constructor(options: PluginSecretsOptions) {
    this.#options = options;
  }

  /** Names of the plugin's definition. */
  declare(names: readonly string[]): void {
    this.#declared = new Set(names);
  }

  /** Values of the entry, for declared names only. */
  give(values: Readonly<Record<string, string>>): void {
    this.#values = new Map(Object.entries(values));
  }

  /** Undefined: its entry gives no such secret. Throws MKTS_CAPABILITY_DENIED. */
  get(name: string): string | undefined {
    if (this.#declared.has(name)) return this.#values.get(name);
    this.#options.onDenied(name);
    const { plugin } = this.#options;
    throw new PluginError('MKTS_CAPABILITY_DENIED', { plugin, what: `secret ${name}` });
  }
}
