/**
 * The JSON-RPC 2.0 envelope of a request, in both encodings: four members in any order, others
 * ignored, bytes after it ignored. Throws MKTS_RPC_PARSE if it cannot be read.
 *
 * `id` and `params` are kept as the bytes they came in too: an answer repeats the id as it was, an
 * error the parameters.
 */

import type { Encoding } from './fields.ts';
import { jsonMembers, parseJson } from './json-reader.ts';
import { MsgpackReader } from './msgpack-reader.ts';

export interface Envelope {
  /** Decoded, whatever it is; a good request has '2.0'. */
  readonly version: unknown;
  /** Empty if absent or no string. */
  readonly method: string;
  readonly params: unknown;
  readonly paramsBytes: Uint8Array | undefined;
  /** Undefined for a notification: no id, or null. */
  readonly id: Uint8Array | undefined;
}

export function readEnvelope(encoding: Encoding, body: Buffer): Envelope {
  return encoding === 'msgpack' ? readMsgpack(body) : readJson(body);
}

const NIL = 0xc0;

function readMsgpack(body: Buffer): Envelope {
  const reader = new MsgpackReader(body);
  let version: unknown;
  let method: unknown;
  let params: unknown;
  let paramsBytes: Uint8Array | undefined;
  let id: Uint8Array | undefined;
  for (let entries = reader.mapHeader(); entries > 0; entries--) {
    const key = reader.value();
    const start = reader.position;
    const value = reader.value();
    if (key === 'jsonrpc') version = value;
    else if (key === 'method') method = value;
    else if (key === 'params') {
      params = value;
      paramsBytes = body.subarray(start, reader.position);
    } else if (key === 'id') id = body.subarray(start, reader.position);
  }
  return {
    version,
    method: typeof method === 'string' ? method : '',
    params,
    paramsBytes,
    id: id?.[0] === NIL ? undefined : id,
  };
}

function readJson(body: Buffer): Envelope {
  // As in Go, names match in any letter case.
  const members = new Map<string, string>();
  for (const [name, text] of jsonMembers(body.toString())) members.set(name.toLowerCase(), text);
  const parsed = (name: string): unknown => {
    const text = members.get(name);
    return text === undefined ? undefined : parseJson(text);
  };
  const method = parsed('method');
  const params = members.get('params');
  const id = members.get('id');
  // Raw text goes into answers, and so must be JSON: hence id and params are parsed in any case.
  const idValue = parsed('id');
  return {
    version: parsed('jsonrpc'),
    method: typeof method === 'string' ? method : '',
    params: parsed('params'),
    paramsBytes: params === undefined ? undefined : Buffer.from(params),
    id: id === undefined || idValue === null ? undefined : Buffer.from(id),
  };
}
