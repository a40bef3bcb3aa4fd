/**
 * Talking to `/rpc` as a client does: raw requests over a socket, and answers decoded by decoders
 * that are not ours (msgpackr, JSON.parse), which do not share our mistakes.
 */

import { type Agent, request as httpRequest } from 'node:http';
import { pack, unpack } from 'msgpackr';

export interface RawRequest {
  readonly method: string;
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array;
}

export interface RawAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: Buffer;
}

export interface RpcError {
  readonly code: number;
  readonly message: string;
  readonly data: unknown;
}

/** Sends one request; rejects if the connection ends without an answer. */
export function send(port: number, request: RawRequest, agent?: Agent): Promise<RawAnswer> {
  return new Promise((resolve, reject) => {
    const { method, path, headers, body } = request;
    const sent = httpRequest(
      {
        host: '127.0.0.1',
        port,
        // Without an agent each request has its own connection.
        agent: agent ?? false,
        method,
        path,
        headers: { ...headers, 'Content-Length': body.length },
      },
      (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('error', reject);
        response.on('end', () =>
          resolve({
            status: response.statusCode ?? 0,
            headers: response.headers,
            body: Buffer.concat(chunks),
          }),
        );
      },
    );
    sent.on('error', reject);
    sent.end(body);
  });
}

/** A MessagePack body of `/rpc`. */
export function postMsgpack(port: number, body: Uint8Array, agent?: Agent): Promise<RawAnswer> {
  const headers = { 'Content-Type': 'application/x-msgpack' };
  return send(port, { method: 'POST', path: '/rpc', headers, body }, agent);
}

/** A JSON text posted to `/rpc`. */
export function postJson(port: number, text: string, agent?: Agent): Promise<RawAnswer> {
  const headers = { 'Content-Type': 'application/json' };
  return send(port, { method: 'POST', path: '/rpc', headers, body: Buffer.from(text) }, agent);
}

/** A call in MessagePack; `params` as msgpackr packs them (bigint: 64-bit integer). */
export function callMsgpack(
  port: number,
  method: string,
  params: unknown,
  agent?: Agent,
): Promise<RawAnswer> {
  const request = { jsonrpc: '2.0', method: `DataService.${method}`, params, id: 1 };
  return postMsgpack(port, pack(request), agent);
}

/** The message of an answer: integers as numbers where exact, byte strings as base64. */
export function decode({ headers, body }: Pick<RawAnswer, 'headers' | 'body'>): unknown {
  if (body.length === 0) return undefined;
  const isJson = String(headers['content-type']).startsWith('application/json');
  return plain(isJson ? JSON.parse(body.toString()) : unpack(body));
}

function plain(value: unknown): unknown {
  if (typeof value === 'bigint') return Number.isSafeInteger(Number(value)) ? Number(value) : value;
  if (value instanceof Uint8Array) return Buffer.from(value).toString('base64');
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, plain(item)]));
}

export function errorOf(answer: Pick<RawAnswer, 'headers' | 'body'>): RpcError {
  return (decode(answer) as { error: RpcError }).error;
}

/** The entries of `responses`. */
export function responsesOf(answer: RawAnswer): unknown[] {
  const { result } = decode(answer) as { result: Record<string, unknown[] | null> };
  return result.responses ?? result.Responses ?? [];
}

interface Dataset {
  readonly names: string[];
  readonly types: string[];
  readonly data: Buffer[];
  readonly length: number;
}

/** The dataset of the first query of an answer. */
export function datasetOf(answer: RawAnswer): Dataset {
  const [first] = responsesOf(answer) as Record<string, Record<string, unknown>>[];
  const set = first?.result ?? first?.Result ?? {};
  const data = (set.data ?? set.ColumnData) as string[];
  return {
    names: (set.names ?? set.ColumnNames) as string[],
    types: (set.types ?? set.ColumnTypes) as string[],
    data: data.map((text) => Buffer.from(text, 'base64')),
    length: Number(set.length ?? set.Length),
  };
}

type ReadValue = (bytes: Buffer, row: number) => number;

const READERS: Readonly<Record<string, ReadValue>> = {
  i1: (bytes, row) => bytes.readInt8(row),
  i4: (bytes, row) => bytes.readInt32LE(4 * row),
  i8: (bytes, row) => Number(bytes.readBigInt64LE(8 * row)),
  f4: (bytes, row) => bytes.readFloatLE(4 * row),
  f8: (bytes, row) => bytes.readDoubleLE(8 * row),
};

/** The rows of the first query of an answer, by column name. */
export function rowsOf(answer: RawAnswer): Record<string, number>[] {
  const { names, types, data, length } = datasetOf(answer);
  return Array.from({ length }, (_, row) =>
    Object.fromEntries(
      names.map((name, at) => {
        const read = READERS[types[at] ?? ''];
        return [name, read?.(data[at] ?? Buffer.alloc(0), row) ?? Number.NaN];
      }),
    ),
  );
}
