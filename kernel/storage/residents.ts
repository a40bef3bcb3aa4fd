/**
 * The memory the store holds: what is dirty waits for a checkpoint, what is clean is kept for
 * readers up to CLEAN_PAGE_BYTES_MAX, the least recently used going first.
 *
 * A resident is *held* while it is dirty or while a write-back carries it (`isInFlight`); held
 * memory is never evicted, since nothing on disk equals it yet.
 */

import { CLEAN_PAGE_BYTES_MAX } from '../base/limits.ts';

export interface Resident {
  readonly residentBytes: number;
  /** Forgets the memory; called for clean residents only. */
  evict(): void;
}

export class Residents {
  readonly #cleanBytesMax: number;
  /** Least recently used first. */
  readonly #clean = new Map<Resident, number>();
  #cleanBytes = 0;
  #heldBytes = 0;

  constructor(cleanBytesMax: number = CLEAN_PAGE_BYTES_MAX) {
    this.#cleanBytesMax = cleanBytesMax;
  }

  /** Bytes that a checkpoint has to bring to disk, those under way included. */
  get heldBytes(): number {
    return this.#heldBytes;
  }

  /** A clean resident was loaded or used: it is now the most recently used. */
  touch(resident: Resident): void {
    this.forgetClean(resident);
    const bytes = resident.residentBytes;
    this.#clean.set(resident, bytes);
    this.#cleanBytes += bytes;
    this.#trim();
  }

  /** A clean or new resident is held from now on. */
  hold(resident: Resident): void {
    this.forgetClean(resident);
    this.#heldBytes += resident.residentBytes;
  }

  /** Held memory grew (or shrank). */
  resize(bytes: number): void {
    this.#heldBytes += bytes;
  }

  /** A held resident is clean again. */
  release(resident: Resident): void {
    this.#heldBytes -= resident.residentBytes;
    this.touch(resident);
  }

  /** A resident of a bucket that is gone. */
  discard(resident: Resident, isHeld: boolean): void {
    if (isHeld) this.#heldBytes -= resident.residentBytes;
    else this.forgetClean(resident);
  }

  forgetClean(resident: Resident): void {
    const bytes = this.#clean.get(resident);
    if (bytes === undefined) return;
    this.#clean.delete(resident);
    this.#cleanBytes -= bytes;
  }

  #trim(): void {
    if (this.#cleanBytes <= this.#cleanBytesMax) return;
    for (const [resident, bytes] of this.#clean) {
      if (this.#cleanBytes <= this.#cleanBytesMax || this.#clean.size === 1) return;
      this.#clean.delete(resident);
      this.#cleanBytes -= bytes;
      resident.evict();
    }
  }
}
