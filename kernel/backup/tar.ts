/**
 * An ordinary tar (POSIX ustar) of small members, written and read: names of at most 100 bytes, plain
 * files, nothing else. Reading checks every byte that can be checked, padding included, so that no
 * flipped bit goes unnoticed. Pure.
 *
 *   archive = (header, 512 | content | zeros up to 512)* | 1024 zeros
 */

import { ConfigError } from '../base/errors.ts';
import { BACKUP_MEMBER_BYTES_MAX } from '../base/limits.ts';

const RECORD_BYTES = 512;
const NAME_BYTES_MAX = 100;
const ZEROS = Buffer.alloc(2 * RECORD_BYTES);
/** Where the checksum lies: its own eight bytes count as blanks. */
const CHECKSUM_AT = 148;
const CHECKSUM_END = 156;

export interface TarMember {
  readonly name: string;
  readonly content: Uint8Array;
}

/** One member, its header and padding included; `parts` are its content, one after the other. */
export function tarMember(name: string, mtimeMs: number, ...parts: readonly Uint8Array[]): Buffer {
  const bytes = parts.reduce((sum, part) => sum + part.length, 0);
  const whole = RECORD_BYTES + Math.ceil(bytes / RECORD_BYTES) * RECORD_BYTES;
  const member = Buffer.allocUnsafeSlow(whole);
  member.set(headerOf(name, bytes, mtimeMs), 0);
  let at = RECORD_BYTES;
  for (const part of parts) {
    member.set(part, at);
    at += part.length;
  }
  member.fill(0, at);
  return member;
}

/** What stands behind the last member. */
export function tarEnd(): Buffer {
  return Buffer.from(ZEROS);
}

function headerOf(name: string, bytes: number, mtimeMs: number): Buffer {
  const header = Buffer.alloc(RECORD_BYTES);
  const octal = (value: number, at: number, digits: number): void =>
    void header.write(value.toString(8).padStart(digits, '0'), at, 'latin1');
  header.write(name, 0, NAME_BYTES_MAX, 'latin1');
  octal(0o600, 100, 7);
  octal(0, 108, 7); // user
  octal(0, 116, 7); // group
  octal(bytes, 124, 11);
  octal(Math.floor(mtimeMs / 1000), 136, 11);
  header.write('0', 156, 'latin1'); // a plain file
  header.write('ustar\u000000', 257, 'latin1');
  octal(checksumOf(header), CHECKSUM_AT, 6);
  header[CHECKSUM_END - 1] = 0x20;
  return header;
}

function checksumOf(header: Uint8Array): number {
  let sum = 0;
  for (let at = 0; at < RECORD_BYTES; at++)
    sum += at >= CHECKSUM_AT && at < CHECKSUM_END ? 0x20 : (header[at] ?? 0);
  return sum;
}

/** The members of a tar, in order. Throws ConfigError MKTS_BACKUP_INVALID where it is none of ours. */
export async function* readTar(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<TarMember> {
  const input = new ByteReader(chunks);
  for (;;) {
    const header = await input.take(RECORD_BYTES);
    if (isZero(header)) break;
    const { name, bytes } = parseHeader(header);
    const content = await input.take(bytes);
    const padding = await input.take((RECORD_BYTES - (bytes % RECORD_BYTES)) % RECORD_BYTES);
    if (!isZero(padding)) throw invalid(`what follows ${name} is damaged`);
    yield { name, content };
  }
  if (!isZero(await input.take(RECORD_BYTES))) throw invalid('its end is damaged');
  // Other programs fill up their last record.
  await input.expectZeros();
}

function parseHeader(header: Buffer): { readonly name: string; readonly bytes: number } {
  const text = (at: number, bytes: number): string =>
    header.toString('latin1', at, at + bytes).replace(/[\0 ]+$/, '');
  const octal = (at: number, bytes: number): number => {
    const digits = text(at, bytes);
    return /^[0-7]+$/.test(digits) ? Number.parseInt(digits, 8) : Number.NaN;
  };
  if (text(257, 5) !== 'ustar' || octal(CHECKSUM_AT, 8) !== checksumOf(header))
    throw invalid('it is no tar, or a header in it is damaged');
  const [name, bytes, kind] = [text(0, NAME_BYTES_MAX), octal(124, 12), text(156, 1)];
  if (kind !== '0' || !(bytes >= 0 && bytes <= BACKUP_MEMBER_BYTES_MAX))
    throw invalid(`${name} is not a member of a backup`);
  return { name, bytes };
}

/** Takes any number of bytes at a time from a stream of chunks of any size. */
class ByteReader {
  readonly #chunks: AsyncIterator<Uint8Array>;
  #rest: Uint8Array = new Uint8Array(0);

  constructor(chunks: AsyncIterable<Uint8Array>) {
    this.#chunks = chunks[Symbol.asyncIterator]();
  }

  async take(count: number): Promise<Buffer> {
    const taken = Buffer.allocUnsafeSlow(count);
    for (let at = 0; at < count; ) {
      if (this.#rest.length === 0 && !(await this.#next())) throw invalid('it is cut off');
      const piece = this.#rest.subarray(0, count - at);
      taken.set(piece, at);
      this.#rest = this.#rest.subarray(piece.length);
      at += piece.length;
    }
    return taken;
  }

  async expectZeros(): Promise<void> {
    do if (!isZero(this.#rest)) throw invalid('something follows its end');
    while (await this.#next());
  }

  async #next(): Promise<boolean> {
    const { value, done } = await this.#chunks.next();
    this.#rest = done === true ? new Uint8Array(0) : value;
    return done !== true;
  }
}

function isZero(bytes: Uint8Array): boolean {
  return bytes.every((byte) => byte === 0);
}

function invalid(reason: string): ConfigError {
  return new ConfigError('MKTS_BACKUP_INVALID', { reason });
}
