/**
 * Watches the files a plugin was built from, and says when one may have changed. Main thread; one per
 * plugin. Whether there is anything new is known by the hash of what they are built to.
 *
 * The *directories* are watched: an editor that saves by renaming leaves a watched file behind. A
 * burst of changes is one, after RELOAD_DEBOUNCE_MS of quiet.
 *
 * Invariant: not more than one watcher for a directory, none after `close`, and none keeps the
 * process alive. Where the system gives no watcher, the plugin runs and is reloaded by command.
 */

import { type FSWatcher, watch } from 'node:fs';
import { basename, dirname } from 'node:path';
import { reasonOf } from '../base/errors.ts';
import { RELOAD_DEBOUNCE_MS } from '../base/limits.ts';
import type { Log } from './plugin-entry.ts';

export interface ModuleWatchOptions {
  readonly plugin: string;
  readonly log: Log;
  readonly onChange: () => void;
}

export class ModuleWatch {
  readonly #options: ModuleWatchOptions;
  readonly #watchers = new Map<string, FSWatcher>();
  /** Names of the files, by directory. */
  #names = new Map<string, Set<string>>();
  #timer: NodeJS.Timeout | undefined;
  #isClosed = false;

  constructor(options: ModuleWatchOptions) {
    this.#options = options;
  }

  /** Watches these files from now on, and no others. Absolute paths. */
  follow(files: readonly string[]): void {
    if (this.#isClosed) return;
    this.#names = new Map();
    for (const file of files) {
      const names = this.#names.get(dirname(file)) ?? new Set();
      this.#names.set(dirname(file), names.add(basename(file)));
    }
    for (const [directory, watcher] of this.#watchers) {
      if (this.#names.has(directory)) continue;
      watcher.close();
      this.#watchers.delete(directory);
    }
    for (const directory of this.#names.keys())
      if (!this.#watchers.has(directory)) this.#open(directory);
  }

  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    for (const watcher of this.#watchers.values()) watcher.close();
    this.#watchers.clear();
  }

  #open(directory: string): void {
    const { plugin, log } = this.#options;
    const lost = (cause: unknown): void => {
      this.#watchers.get(directory)?.close();
      this.#watchers.delete(directory);
      log.warn(
        { plugin, directory, reason: reasonOf(cause) },
        'changes of the plugin’s files are not noticed here: reload it by command',
      );
    };
    try {
      const watcher = watch(directory, { persistent: false }, (_event, name) => {
        // Without a name it may be any file.
        if (name === null || this.#names.get(directory)?.has(name)) this.#changedSoon();
      });
      watcher.on('error', lost);
      this.#watchers.set(directory, watcher);
    } catch (cause) {
      lost(cause);
    }
  }

  #changedSoon(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(this.#options.onChange, RELOAD_DEBOUNCE_MS);
    this.#timer.unref();
  }
}
