/**
 * Backups of the running kernel: holds the files at a checkpoint, packs them while writes go on, and
 * lets go. One at a time. Main thread.
 */

import { packBackup, packFailure } from './backup/pack.ts';
import { databaseFiles } from './backup/source-files.ts';
import { RequestError, reasonOf } from './base/errors.ts';
import type { BackupOperations } from './frontend/backup-operations.ts';
import type { Checkpointer } from './ingest/checkpointer.ts';
import type { Log } from './log.ts';
import { VERSION } from './package-root.ts';

export interface BackupsOptions {
  readonly root: string;
  /** Of mkts.yml: 'UTC'. */
  readonly timezone: string;
  readonly checkpointer: Pick<Checkpointer, 'hold'>;
  readonly log: Pick<Log, 'info' | 'error'>;
}

export class Backups implements BackupOperations {
  readonly #options: BackupsOptions;
  #isRunning = false;

  constructor(options: BackupsOptions) {
    this.#options = options;
  }

  async *stream(): AsyncGenerator<Uint8Array> {
    const { root, timezone, checkpointer, log } = this.#options;
    if (this.#isRunning)
      throw new RequestError('MKTS_OVERLOADED', { reason: 'another backup is being made' });
    this.#isRunning = true;
    const startedMs = Date.now();
    try {
      const hold = await checkpointer.hold();
      const { sequence } = hold;
      const takenAt = new Date(startedMs).toISOString();
      let bytes = 0;
      try {
        const about = { sequence, takenAt, version: VERSION, timezone };
        const files = databaseFiles(root);
        for await (const piece of packBackup({ about, files, check: () => hold.check() })) {
          bytes += piece.length;
          yield piece;
        }
        const seconds = (Date.now() - startedMs) / 1000;
        log.info({ sequence: String(sequence), bytes, seconds }, 'a backup was made');
      } catch (error) {
        log.error({ error }, `a backup was given up: ${reasonOf(error)}`);
        yield packFailure(error, startedMs);
        throw error;
      } finally {
        hold.release();
      }
    } finally {
      this.#isRunning = false;
    }
  }
}
