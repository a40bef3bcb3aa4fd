/**
 * What a plugin gets of the builtins of Node its entry grants: `crypto` and `zlib`. Runs in the
 * worker; the modules are taken before the realm is sealed, and only if they are granted.
 *
 * Functions that finish before they return, and nothing else: what takes a callback or returns a
 * stream or a promise works in the process's thread pool, which all plugins and the kernel share.
 * Objects with state (a hash, a cipher) are handed out as their few methods, since the real ones are
 * streams. Everything is frozen and without a prototype, as `ctx` is.
 */

import type * as Crypto from 'node:crypto';
import type * as Zlib from 'node:zlib';
import { PluginError } from '../kernel/base/errors.ts';
import { UNPACKED_BYTES_MAX } from '../kernel/base/limits.ts';

type Call = (...args: unknown[]) => unknown;
type Facade = Readonly<Record<string, unknown>>;

/** One-shot functions of crypto. Given a callback as well they would work in the pool. */
const CRYPTO_CALLS =
  'createSecretKey createPrivateKey createPublicKey getHashes getCiphers getCurves hash hkdfSync ' +
  'pbkdf2Sync scryptSync randomBytes randomInt randomUUID randomFillSync sign timingSafeEqual verify';
/** Functions of crypto that return an object, and what is left of it. */
const CRYPTO_OBJECTS: Readonly<Record<string, string>> = {
  createHash: 'update digest copy',
  createHmac: 'update digest',
  createSign: 'update sign',
  createVerify: 'update verify',
  createCipheriv: 'update final setAAD getAuthTag setAutoPadding',
  createDecipheriv: 'update final setAAD setAuthTag setAutoPadding',
};

const ZLIB_CALLS =
  'deflateSync deflateRawSync gzipSync brotliCompressSync zstdCompressSync inflateSync ' +
  'inflateRawSync gunzipSync unzipSync brotliDecompressSync zstdDecompressSync';

/** By bare name; `require` of the sandbox answers from it. Call it before the realm is sealed. */
export function grantedBuiltins(
  plugin: string,
  grants: readonly string[],
): ReadonlyMap<string, Facade> {
  const granted = new Map<string, Facade>();
  if (grants.includes('crypto')) {
    const crypto: typeof Crypto = process.getBuiltinModule('node:crypto');
    granted.set('crypto', cryptoFacade(plugin, crypto));
  }
  if (grants.includes('zlib')) {
    const zlib: typeof Zlib = process.getBuiltinModule('node:zlib');
    granted.set('zlib', zlibFacade(zlib));
  }
  return granted;
}

function cryptoFacade(plugin: string, crypto: typeof Crypto): Facade {
  const members: Record<string, unknown> = { constants: plainCopy(crypto.constants) };
  for (const name of CRYPTO_CALLS.split(' ')) {
    const call = callOf(crypto, name);
    if (call === undefined) continue;
    members[name] = (...args: unknown[]): unknown => {
      if (typeof args.at(-1) === 'function')
        throw new PluginError('MKTS_CAPABILITY_DENIED', {
          plugin,
          what: `crypto.${name} with a callback`,
        });
      return call(...args);
    };
  }
  for (const [name, methods] of Object.entries(CRYPTO_OBJECTS)) {
    const create = callOf(crypto, name);
    if (create !== undefined)
      members[name] = (...args: unknown[]): unknown => methodsOf(create(...args), methods);
  }
  return facade(members);
}

/** The few methods of an object with state; those that return it for chaining return the facade. */
function methodsOf(real: unknown, methods: string): Facade {
  const members: Record<string, unknown> = {};
  const shown = Object.create(null) as Facade;
  for (const method of methods.split(' ')) {
    const call = callOf(real, method);
    if (call === undefined) continue;
    members[method] = (...args: unknown[]): unknown => {
      const answer = call(...args);
      if (answer === real) return shown;
      return method === 'copy' ? methodsOf(answer, methods) : answer;
    };
  }
  return Object.freeze(Object.assign(shown, members));
}

function zlibFacade(zlib: typeof Zlib): Facade {
  const members: Record<string, unknown> = { constants: plainCopy(zlib.constants) };
  for (const name of ZLIB_CALLS.split(' ')) {
    const call = callOf(zlib, name);
    if (call === undefined) continue;
    // A small packed text may unpack to more than the machine has.
    members[name] = (data: unknown, options: unknown): unknown => {
      const given = typeof options === 'object' && options !== null ? options : {};
      const asked = Number(Reflect.get(given, 'maxOutputLength') ?? UNPACKED_BYTES_MAX);
      const maxOutputLength = Math.min(asked, UNPACKED_BYTES_MAX);
      return call(data, { ...given, maxOutputLength });
    };
  }
  const crc32 = callOf(zlib, 'crc32');
  if (crc32 !== undefined) members.crc32 = (data: unknown, seed?: unknown) => crc32(data, seed);
  return facade(members);
}

/** Undefined for what this Node does not have. */
function callOf(owner: unknown, name: string): Call | undefined {
  const found: unknown =
    typeof owner === 'object' && owner !== null ? Reflect.get(owner, name) : undefined;
  return typeof found === 'function' ? (found.bind(owner) as Call) : undefined;
}

function plainCopy(constants: object): Facade {
  return facade({ ...constants });
}

function facade(members: Readonly<Record<string, unknown>>): Facade {
  return Object.freeze(Object.assign(Object.create(null), members)) as Facade;
}
