/**
 * CPU profiles of a worker in a process of its own: asked for over its line, and come in pieces. What
 * comes is taken for hostile: pieces nobody asked for are a fault, and their sum is bounded. Main
 * thread.
 */

import type { ProfileCommand, ProfilePiece } from '../../workers/process-protocol.ts';
import type { ProfileRequest } from '../../workers/worker-profile.ts';
import { PluginError } from '../base/errors.ts';
import { PROFILE_ANSWER_MS, PROFILE_BYTES_MAX } from '../base/limits.ts';

const PROBLEM_CHARACTERS_MAX = 500;

interface Pending {
  readonly pieces: string[];
  bytes: number;
  readonly resolve: (text: string) => void;
  readonly reject: (reason: string) => void;
}

export class ProcessProfiles {
  readonly #send: (command: ProfileCommand) => void;
  readonly #pending = new Map<number, Pending>();
  #nextId = 1;

  constructor(send: (command: ProfileCommand) => void) {
    this.#send = send;
  }

  /** The text of a .cpuprofile. Rejects with MKTS_PROFILE. */
  async take({ plugin, milliseconds, signal, gone }: ProfileRequest): Promise<string> {
    const id = this.#nextId++;
    const { promise, resolve, reject } = Promise.withResolvers<string>();
    const fail = (reason: string): void =>
      reject(new PluginError('MKTS_PROFILE', { plugin, reason }));
    this.#pending.set(id, { pieces: [], bytes: 0, resolve, reject: fail });
    this.#send({ id, milliseconds });
    const finish = (): void => this.#send({ id, milliseconds: 0 });
    signal.addEventListener('abort', finish, { once: true });
    // Twice: once to begin, once to end.
    const late = setTimeout(
      () => fail('its process does not answer'),
      milliseconds + 2 * PROFILE_ANSWER_MS,
    );
    late.unref();
    void gone.then(() => fail('its process ended meanwhile'));
    try {
      return await promise;
    } finally {
      clearTimeout(late);
      signal.removeEventListener('abort', finish);
      this.#pending.delete(id);
    }
  }

  /** Of what was given up meanwhile nothing is kept. Throws for what is of no known shape. */
  receive(message: unknown): void {
    if (!isPiece(message) || message.id >= this.#nextId)
      throw new Error('a profile of no known shape');
    const pending = this.#pending.get(message.id);
    if (pending === undefined) return;
    if (message.problem !== undefined) {
      pending.reject(message.problem.slice(0, PROBLEM_CHARACTERS_MAX));
      return;
    }
    pending.bytes += message.text.length;
    if (pending.bytes > PROFILE_BYTES_MAX) {
      pending.reject(`it has more than ${PROFILE_BYTES_MAX} bytes`);
      return;
    }
    pending.pieces.push(message.text);
    if (message.isLast) pending.resolve(pending.pieces.join(''));
  }
}

function isPiece(message: unknown): message is ProfilePiece {
  if (typeof message !== 'object' || message === null) return false;
  const { id, text, isLast, problem } = message as Partial<Record<keyof ProfilePiece, unknown>>;
  return (
    Number.isSafeInteger(id) &&
    typeof text === 'string' &&
    typeof isLast === 'boolean' &&
    (problem === undefined || typeof problem === 'string')
  );
}
