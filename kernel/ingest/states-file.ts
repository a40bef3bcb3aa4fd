/**
 * The states of plugins as of a checkpoint, in a file of the data root: what the log no longer says
 * once the checkpoint is complete. Main thread.
 *
 *   {"version":1,"crc32":"89abcdef","states":[
 *   ["coinbase","cursor","{\"trade\":17}"],
 *   …
 *   ]}
 *
 * Plugin, name, and the value's JSON text, as a text: it is the plugin's own and may be anything. The
 * checksum covers every byte behind it. On disk: a change of meaning is a new version.
 *
 * Order: written under another name, synced, renamed, and the directory synced, before the log says
 * that the checkpoint is complete. So the file holds at least what the newest completed checkpoint
 * covers; what it holds beyond that is in the log, too, and replay sets it again to the same.
 */

import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { CorruptionError } from '../base/errors.ts';
import { STATES_FILE_PIECE_BYTES } from '../base/limits.ts';
import { STATE_FILE } from '../storage/file-names.ts';
import type { Filesystem, OpenFile } from '../storage/filesystem.ts';
import type { PluginStates, StateTexts } from './plugin-states.ts';

const NEW_EXTENSION = '.new';
const HEADER = /^\{"version":1,"crc32":"([0-9a-f]{8})",/;
const HEADER_BYTES = '{"version":1,"crc32":"89abcdef",'.length;

export class StatesFile {
  readonly #root: string;
  readonly #path: string;
  readonly #filesystem: Filesystem;
  /** The change count of what the file holds. */
  #written = 0;

  constructor(root: string, filesystem: Filesystem) {
    this.#root = root;
    this.#path = join(root, STATE_FILE);
    this.#filesystem = filesystem;
  }

  /** What the file holds. One that is not what we wrote is reported and set aside: nobody has state. */
  load(onReport: (error: CorruptionError) => void): Map<string, Map<string, string>> {
    const bytes = this.#filesystem.readFile(this.#path);
    if (bytes === undefined) return new Map();
    const found = decodeStates(bytes);
    if (typeof found !== 'string') return found;
    onReport(new CorruptionError('MKTS_STATE_CORRUPT', { path: this.#path, reason: found }));
    let n = 1;
    while (this.#filesystem.exists(`${this.#path}.damaged-${n}`)) n++;
    this.#filesystem.rename(this.#path, `${this.#path}.damaged-${n}`);
    this.#filesystem.syncDirectory(this.#root);
    return new Map();
  }

  /**
   * Takes what is applied now, between two groups; the function it returns makes that durable, unless
   * the file has it already. Rejects with StorageError, and may be tried again.
   */
  begin(states: PluginStates): () => Promise<void> {
    const { changeCount } = states;
    if (changeCount === this.#written) return async () => undefined;
    const texts = states.snapshot();
    return async () => {
      await this.write(texts);
      this.#written = changeCount;
    };
  }

  /** Replaces the file, durably. */
  async write(texts: StateTexts): Promise<void> {
    const newPath = this.#path + NEW_EXTENSION;
    const file = this.#filesystem.open(newPath, 'create');
    try {
      await writeAll(file, texts);
      await file.datasync();
    } finally {
      file.close();
    }
    this.#filesystem.rename(newPath, this.#path);
    await this.#filesystem.syncDirectoryLater(this.#root);
  }
}

/** In pieces, giving the thread back between them: states may be megabytes. */
async function writeAll(file: OpenFile, texts: StateTexts): Promise<void> {
  let at = HEADER_BYTES;
  let checksum = 0;
  let piece = '"states":[';
  const flush = (): void => {
    const bytes = Buffer.from(piece);
    checksum = crc32(bytes, checksum);
    file.write(bytes, at);
    at += bytes.length;
    piece = '';
  };
  let separator = '\n';
  for (const [plugin, ofPlugin] of texts)
    for (const [name, json] of ofPlugin) {
      piece += separator + JSON.stringify([plugin, name, json]);
      separator = ',\n';
      if (piece.length < STATES_FILE_PIECE_BYTES) continue;
      flush();
      await new Promise<void>((resolve) => setImmediate(resolve));
    }
  piece += '\n]}\n';
  flush();
  const sum = checksum.toString(16).padStart(8, '0');
  file.write(Buffer.from(`{"version":1,"crc32":"${sum}",`), 0);
}

/** The states in a file's bytes, or what is wrong with it. */
export function decodeStates(bytes: Uint8Array): Map<string, Map<string, string>> | string {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  const sum = HEADER.exec(text.toString('latin1', 0, HEADER_BYTES))?.[1];
  if (sum === undefined) return 'it does not begin as one of ours';
  if (crc32(text.subarray(HEADER_BYTES)) !== Number.parseInt(sum, 16))
    return 'its checksum is not right';
  const texts = new Map<string, Map<string, string>>();
  for (const entry of entriesOf(text.toString())) {
    if (!isEntry(entry)) return 'an entry is not three texts';
    const [plugin, name, json] = entry;
    const ofPlugin = texts.get(plugin);
    if (ofPlugin === undefined) texts.set(plugin, new Map([[name, json]]));
    else ofPlugin.set(name, json);
  }
  return texts;
}

function entriesOf(text: string): readonly unknown[] {
  try {
    const { states } = JSON.parse(text) as { readonly states?: unknown };
    return Array.isArray(states) ? states : [states];
  } catch {
    return [undefined]; // No JSON: the caller reports it.
  }
}

function isEntry(entry: unknown): entry is readonly [string, string, string] {
  return (
    Array.isArray(entry) && entry.length === 3 && entry.every((text) => typeof text === 'string')
  );
}
