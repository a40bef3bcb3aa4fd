/**
 * Reads the tar of a backup, checks all of it, and hands its parts on. Main thread of a command.
 *
 * What was handed on counts for nothing until `readBackup` has returned: only the manifest, which
 * comes last, says that it is whole.
 */

import { createHash, type Hash } from 'node:crypto';
import { ConfigError } from '../base/errors.ts';
import { type BackupFile, MANIFEST_NAME, type Manifest, parseManifest } from './manifest.ts';
import { expectFiles, FAILURE_NAME } from './pack.ts';
import { decodePart, type Part } from './parts.ts';
import { readTar, type TarMember } from './tar.ts';

/** The parts of a file come one after the other, files in any order; one that is all zero has none. */
export type OnPart = (part: Part) => void;

/** Throws ConfigError MKTS_BACKUP_INVALID; of one the server gave up it says why. */
export async function readBackup(
  chunks: AsyncIterable<Uint8Array>,
  onPart: OnPart,
): Promise<Manifest> {
  const found = new FoundFiles();
  let manifest: Manifest | undefined;
  for await (const member of readTar(chunks)) {
    if (manifest !== undefined) throw invalid(`${member.name} follows its manifest`);
    if (member.name === FAILURE_NAME) throw invalid(`it was given up: ${failureOf(member)}`);
    if (member.name === MANIFEST_NAME) {
      manifest = parseManifest(member.content);
      continue;
    }
    const part = decodePart(member.content);
    found.add(part, member.content);
    onPart(part);
  }
  if (manifest === undefined) throw invalid(`it has no ${MANIFEST_NAME}`);
  found.expect(manifest);
  return manifest;
}

/** Digests of the files as they come. */
class FoundFiles {
  readonly #files = new Map<string, BackupFile>();
  #current: { readonly path: string; readonly bytes: number; readonly hash: Hash } | undefined;
  #end = 0;

  add({ path, bytes, runs }: Part, content: Uint8Array): void {
    if (this.#current?.path !== path) {
      this.#finish();
      if (this.#files.has(path)) throw invalid(`the parts of ${path} are not together`);
      this.#current = { path, bytes, hash: createHash('sha256') };
      this.#end = 0;
    }
    const [first] = runs;
    const last = runs.at(-1);
    if (first === undefined || last === undefined || first.offset < this.#end)
      throw invalid(`the parts of ${path} are not in order`);
    if (this.#current.bytes !== bytes) throw invalid(`${path} has two sizes`);
    this.#end = last.offset + last.content.length;
    this.#current.hash.update(content);
  }

  /** Throws unless the files are those of the manifest, to the last byte. */
  expect({ files }: Manifest): void {
    this.#finish();
    const empty = createHash('sha256').digest('hex');
    const said = new Set(files.map(({ path }) => path));
    for (const path of this.#files.keys())
      if (!said.has(path)) throw invalid(`its manifest does not name ${path}`);
    expectFiles(
      files.map(({ path, bytes }) => this.#files.get(path) ?? { path, bytes, sha256: empty }),
      files,
    );
  }

  #finish(): void {
    if (this.#current === undefined) return;
    const { path, bytes, hash } = this.#current;
    this.#files.set(path, { path, bytes, sha256: hash.digest('hex') });
    this.#current = undefined;
  }
}

function failureOf({ content }: TarMember): string {
  const text = Buffer.from(content).toString();
  try {
    const { code, message } = JSON.parse(text) as Readonly<Record<string, unknown>>;
    return `${String(message)} (${String(code)})`;
  } catch {
    return text;
  }
}

function invalid(reason: string): ConfigError {
  return new ConfigError('MKTS_BACKUP_INVALID', { reason });
}
