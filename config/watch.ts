/**
 * Notices that mkts.yml has other bytes than before. Main thread.
 *
 * The *directory* is watched, not the file: an editor, or a tool that writes beside and renames, puts
 * another file in its place, and a watch on the file would go on looking at the one that is gone. A
 * burst of events is waited out, then the bytes decide. Some file systems tell nothing (network
 * mounts, files bound into a container), and a link may be turned somewhere above: so the file is also
 * looked at every few seconds.
 */

import { type FSWatcher, readFileSync, realpathSync, watch } from 'node:fs';
import { basename, dirname } from 'node:path';
import { CONFIG_DEBOUNCE_MS, CONFIG_POLL_MS } from '../kernel/base/limits.ts';
import { configHash } from './load.ts';

export interface ConfigWatchOptions {
  /** Absolute path of mkts.yml. */
  readonly path: string;
  /** Of the bytes in force. */
  readonly hash: string;
  /** The file has other bytes, or is gone. Not called twice for the same ones. */
  readonly onChange: () => void;
  readonly debounceMs?: number;
  readonly pollMs?: number;
}

const MISSING = 'missing';

export class ConfigWatch {
  readonly #options: ConfigWatchOptions;
  readonly #watchers: FSWatcher[] = [];
  readonly #poll: NodeJS.Timeout;
  #quiet: NodeJS.Timeout | undefined;
  #seen: string;
  #isClosed = false;

  constructor(options: ConfigWatchOptions) {
    this.#options = options;
    this.#seen = options.hash;
    for (const path of new Set([options.path, targetOf(options.path)])) this.#watch(path);
    this.#poll = setInterval(() => this.#soonIfChanged(), options.pollMs ?? CONFIG_POLL_MS).unref();
    // It may have changed between the start's look and this one.
    this.#soonIfChanged();
  }

  close(): void {
    this.#isClosed = true;
    clearInterval(this.#poll);
    clearTimeout(this.#quiet);
    for (const watcher of this.#watchers.splice(0)) watcher.close();
  }

  #watch(path: string): void {
    const name = basename(path);
    try {
      const watcher = watch(dirname(path), { persistent: false }, (_event, file) => {
        // The data directory may be the same: its files change all the time.
        if (file === null || file === name) this.#soon();
      });
      // The directory is gone, or there are no watches left: the poll is there.
      watcher.on('error', () => watcher.close());
      this.#watchers.push(watcher);
    } catch {
      // As above.
    }
  }

  #soonIfChanged(): void {
    if (hashOf(this.#options.path) !== this.#seen) this.#soon();
  }

  /** Looks once the file has been left alone for a moment: a writer may be in the middle of it. */
  #soon(): void {
    if (this.#isClosed) return;
    clearTimeout(this.#quiet);
    const { debounceMs = CONFIG_DEBOUNCE_MS, path, onChange } = this.#options;
    this.#quiet = setTimeout(() => {
      const hash = hashOf(path);
      if (hash === this.#seen) return;
      this.#seen = hash;
      onChange();
    }, debounceMs).unref();
  }
}

function hashOf(path: string): string {
  try {
    return configHash(readFileSync(path));
  } catch {
    return MISSING;
  }
}

function targetOf(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return path;
  }
}
