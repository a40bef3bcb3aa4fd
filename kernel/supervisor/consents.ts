/**
 * What the operator has agreed to that each plugin may have: `mkts-consent.json` in the data
 * directory. Main thread.
 *
 * The first start of an entry is the consent to what its plugin declares then: somebody wrote the
 * entry. From then on a version that asks for more waits until an operator approves it
 * (`mkts plugin approve`), and the version before goes on; one that asks for less, or the same, runs.
 * An entry that names another module is a new one. The server's own plugins are part of the server
 * and are not asked about.
 *
 * Invariant: what `approve` agrees to is what was refused, not what the files say by then.
 * The file is written whole, beside the old one, synced, and renamed over it. A damaged one is set
 * aside and told; then every entry starts as if for the first time.
 */

import { join } from 'node:path';
import type { PluginDescription } from '../../workers/protocol.ts';
import { CorruptionError, PluginError, reasonOf } from '../base/errors.ts';
import { CONSENT_FILE } from '../storage/file-names.ts';
import type { Filesystem } from '../storage/filesystem.ts';
import { asksBeyond, asksOf } from './plugin-asks.ts';
import type { Log, PluginEntry } from './plugin-entry.ts';

/**
 * Whether a loaded plugin may go on to run. Resolves with undefined, or with the MKTS_CONSENT it has
 * to wait for: its fields say which `asks` are new.
 */
export type Consent = (
  entry: PluginEntry,
  description: PluginDescription,
) => Promise<PluginError | undefined>;

export interface ConsentOptions {
  readonly root: string;
  readonly filesystem: Filesystem;
  readonly log: Log;
  /** The plugin of this entry comes with the server. Throws as the search for its module does. */
  readonly isOwn: (entry: PluginEntry) => boolean;
}

const FORMAT = 1;

export interface Agreed {
  readonly module: string;
  readonly asks: readonly string[];
}

export class Consents {
  readonly #options: ConsentOptions;
  readonly #path: string;
  readonly #agreed: Map<string, Agreed>;
  readonly #waiting = new Map<string, Agreed>();

  constructor(options: ConsentOptions) {
    this.#options = options;
    this.#path = join(options.root, CONSENT_FILE);
    this.#agreed = this.#load();
  }

  /** The option `consent` of the supervisor. */
  readonly check: Consent = async (entry, description) => {
    const { log, isOwn } = this.#options;
    const { name, module } = entry;
    const asks = asksOf(description, entry);
    const agreed = this.#agreed.get(name);
    this.#waiting.delete(name);
    if (isOwn(entry)) return undefined;
    if (agreed?.module !== module) {
      this.#agreed.set(name, { module, asks });
      this.#save();
      log.info(
        { plugin: name, version: description.version, asks },
        'plugin runs for the first time: what it asks for is agreed to',
      );
      return undefined;
    }
    const more = asksBeyond(asks, agreed.asks);
    if (more.length === 0) return undefined;
    this.#waiting.set(name, { module, asks: [...new Set([...agreed.asks, ...asks])].sort() });
    return new PluginError('MKTS_CONSENT', {
      plugin: name,
      version: description.version,
      asks: more.join(', '),
    });
  };

  /** Agrees to what `check` refused last. False: nothing of this entry waits. */
  approve(plugin: string): boolean {
    const waiting = this.#waiting.get(plugin);
    if (waiting === undefined) return false;
    this.#agreed.set(plugin, waiting);
    this.#save();
    this.#waiting.delete(plugin);
    this.#options.log.info({ plugin, asks: waiting.asks }, 'what the plugin asks for is agreed to');
    return true;
  }

  /** What was agreed to; undefined: it never ran, or comes with the server. */
  agreedTo(plugin: string): readonly string[] | undefined {
    return this.#agreed.get(plugin)?.asks;
  }

  #load(): Map<string, Agreed> {
    const { filesystem, log } = this.#options;
    const bytes = filesystem.readFile(this.#path);
    if (bytes === undefined) return new Map();
    try {
      return decodeConsents(bytes);
    } catch (cause) {
      const aside = `${this.#path}.damaged`;
      filesystem.rename(this.#path, aside);
      const { code, message } = new CorruptionError('MKTS_CATALOG_CORRUPT', {
        path: this.#path,
        reason: reasonOf(cause),
      });
      log.error({ code, path: aside }, message);
      return new Map();
    }
  }

  #save(): void {
    const { filesystem, root } = this.#options;
    const plugins = Object.fromEntries([...this.#agreed].sort(([a], [b]) => (a < b ? -1 : 1)));
    const text = `${JSON.stringify({ format: FORMAT, plugins }, undefined, 2)}\n`;
    const next = `${this.#path}.new`;
    const file = filesystem.open(next, 'create');
    try {
      file.write(new TextEncoder().encode(text), 0);
      file.datasyncBlocking();
    } finally {
      file.close();
    }
    filesystem.rename(next, this.#path);
    filesystem.syncDirectory(root);
  }
}

/** What a file's bytes say, by plugin. Throws a plain Error that says what is wrong. */
export function decodeConsents(bytes: Uint8Array): Map<string, Agreed> {
  const parsed: unknown = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  if (!isRecord(parsed) || parsed.format !== FORMAT) throw new Error('its format is not known');
  if (!isRecord(parsed.plugins)) throw new Error('it has no plugins');
  const agreed = new Map<string, Agreed>();
  for (const [name, value] of Object.entries(parsed.plugins)) {
    if (!isRecord(value)) throw new Error(`the entry of ${name} is malformed`);
    const { module, asks } = value;
    if (typeof module !== 'string' || !Array.isArray(asks))
      throw new Error(`the entry of ${name} is malformed`);
    agreed.set(name, { module, asks: asks.map(String) });
  }
  return agreed;
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
