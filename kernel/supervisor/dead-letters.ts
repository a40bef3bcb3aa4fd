/**
 * Dead letters of all plugins: rows, frames and messages that could not be taken, each with its
 * reason, kept in a file for each plugin (letters-file.ts), listed, read and removed. Main thread.
 * Writing them after all is kernel/letter-replay.ts.
 *
 * Invariant: keeping them delays no commit and fails none. A plugin that is removed from mkts.yml
 * keeps its letters: why it was removed may be in them.
 */

import { join } from 'node:path';
import { TokenBucket } from '../../workers/token-bucket.ts';
import type { DeadLetter, LetterList, PlainDeadLetter } from '../base/dead-letter.ts';
import { MktsError } from '../base/errors.ts';
import { LETTERS_BYTES_MAX, LETTERS_PER_SECOND_MAX } from '../base/limits.ts';
import { lettersFileName, parseLettersFileName } from '../storage/file-names.ts';
import type { Filesystem } from '../storage/filesystem.ts';
import type { LetterSender } from './kernel-api.ts';
import { LettersFile } from './letters-file.ts';
import type { Log } from './plugin-entry.ts';
import type { NewLetter } from './refused-frames.ts';

export interface DeadLettersOptions {
  readonly root: string;
  readonly filesystem: Filesystem;
  readonly log: Log;
  /** Bytes of disk a plugin has left for them. */
  readonly bytesLeftOf: (plugin: string) => number;
  /** Milliseconds, never going back. */
  readonly nowMs?: () => number;
}

/** For metrics. */
export interface LetterTotals {
  readonly plugin: string;
  readonly made: number;
  readonly kept: number;
  readonly dropped: number;
}

interface OfPlugin {
  readonly file: LettersFile;
  /** Workers keep to it themselves; frames of the drain, and a worker that does not, are held to it here. */
  readonly rate: TokenBucket;
}

export class DeadLetters {
  readonly #options: DeadLettersOptions;
  readonly #plugins = new Map<string, OfPlugin>();

  /** Begins to read what an earlier run left: nothing waits for it but who asks for letters. */
  constructor(options: DeadLettersOptions) {
    this.#options = options;
    for (const { name, kind } of options.filesystem.list(options.root)) {
      const plugin = kind === 'file' ? parseLettersFileName(name) : undefined;
      if (plugin !== undefined) this.#of(plugin);
    }
  }

  /** Never throws. */
  add(plugin: string, letter: NewLetter): void {
    const { file, rate } = this.#of(plugin);
    if (rate.tryTake()) file.add(letter);
    else file.noteDropped(1);
  }

  /** What a worker sent; `dropped` more it had no room for. */
  take(
    { plugin, generation }: LetterSender,
    letters: readonly PlainDeadLetter[],
    dropped: number,
  ): void {
    for (const letter of letters) this.add(plugin, { ...letter, generation });
    if (dropped > 0) this.#of(plugin).file.noteDropped(dropped);
  }

  async list(plugin: string, limit: number): Promise<LetterList> {
    const file = this.#plugins.get(plugin)?.file;
    if (file === undefined) return { letters: [], count: 0, bytes: 0, dropped: 0 };
    const letters = await file.list(limit);
    const { count, bytes, dropped } = file;
    return { letters, count, bytes, dropped };
  }

  /** Throws MKTS_LETTER_UNKNOWN. */
  read(plugin: string, id: number): Promise<DeadLetter> {
    return this.#of(plugin).file.read(id);
  }

  remove(plugin: string, ids: readonly number[]): Promise<void> {
    return this.#of(plugin).file.remove(ids);
  }

  /** Returns how many there were. */
  async clear(plugin: string): Promise<number> {
    return (await this.#plugins.get(plugin)?.file.clear()) ?? 0;
  }

  /** Whether it made any that are, or were, kept. */
  has(plugin: string): boolean {
    return this.#plugins.has(plugin);
  }

  /** Of its file. */
  bytesOf(plugin: string): number {
    return this.#plugins.get(plugin)?.file.bytes ?? 0;
  }

  totals(): readonly LetterTotals[] {
    return [...this.#plugins].map(
      ([
        plugin,
        {
          file: { made, count, dropped },
        },
      ]) => ({
        plugin,
        made,
        kept: count,
        dropped,
      }),
    );
  }

  /** Resolves when all are on disk. */
  async close(): Promise<void> {
    await Promise.all([...this.#plugins.values()].map(({ file }) => file.close()));
  }

  #of(plugin: string): OfPlugin {
    let known = this.#plugins.get(plugin);
    if (known === undefined) {
      known = { file: this.#open(plugin), rate: this.#rate() };
      this.#plugins.set(plugin, known);
    }
    return known;
  }

  #rate(): TokenBucket {
    return new TokenBucket(
      2 * LETTERS_PER_SECOND_MAX,
      this.#options.nowMs ?? (() => performance.now()),
    );
  }

  #open(plugin: string): LettersFile {
    const { root, filesystem, log, bytesLeftOf } = this.#options;
    return new LettersFile({
      plugin,
      path: join(root, lettersFileName(plugin)),
      root,
      filesystem,
      bytesMax: () => Math.min(LETTERS_BYTES_MAX, bytesLeftOf(plugin)),
      onError(error) {
        const code = error instanceof MktsError ? error.code : undefined;
        log.error({ plugin, code }, error.message);
      },
    });
  }
}
