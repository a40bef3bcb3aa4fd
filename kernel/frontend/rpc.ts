/**
 * RPC: a request body becomes a call of DataService, its outcome an answer body (spec api.md 2.1).
 * Main thread; knows nothing of HTTP but the two content types.
 *
 *   body → envelope → method → parameters → call → answer
 *          -32700     -32000   -32600       -32000
 *
 * Whatever comes in, something readable goes out: nothing here throws.
 */

import { type ErrorCode, RequestError } from '../base/errors.ts';
import { ECHO_BYTES_MAX } from '../base/limits.ts';
import type { AnswerBody, AnswerWriter } from './answer-writer.ts';
import type { DataService } from './data-service.ts';
import { type Envelope, readEnvelope } from './envelope.ts';
import { type Encoding, Fields } from './fields.ts';
import { JsonWriter } from './json-writer.ts';
import { MsgpackWriter } from './msgpack-writer.ts';
import { wireErrorOf } from './wire-error.ts';

export interface RpcReply {
  /** None for a notification. */
  readonly pieces: readonly Uint8Array[];
  /** `DataService.X`, if the call got as far as being made. */
  readonly dispatched: string | undefined;
  /** Code of the error the answer carries. */
  readonly errorCode: ErrorCode | undefined;
}

export interface RpcOptions {
  readonly service: DataService;
  /** Told of errors that are not the client's. */
  readonly onInternalError: (error: unknown) => void;
}

const SERVICE = 'DataService';
const PARSE_ERROR = -32_700;
const INVALID_REQUEST = -32_600;
const SERVER_ERROR = -32_000;

export class Rpc {
  readonly #options: RpcOptions;

  constructor(options: RpcOptions) {
    this.#options = options;
  }

  /** Answers one request body. Never rejects. */
  async answer(encoding: Encoding, body: Buffer, signal: AbortSignal): Promise<RpcReply> {
    let envelope: Envelope | undefined;
    let dispatched: string | undefined;
    try {
      envelope = readEnvelope(encoding, body);
      const call = this.#prepare(encoding, envelope);
      dispatched = envelope.method;
      const result = await call(signal);
      return { pieces: resultPieces(encoding, envelope, result), dispatched, errorCode: undefined };
    } catch (error) {
      const wire = wireErrorOf(error);
      if (wire.isInternal) this.#options.onInternalError(error);
      const pieces = errorPieces(encoding, envelope, wire.code, wire.text);
      return { pieces, dispatched, errorCode: wire.code };
    }
  }

  #prepare(encoding: Encoding, { version, method, params }: Envelope) {
    if (version !== '2.0') throw new RequestError('MKTS_RPC_VERSION');
    const [service, name, ...more] = method.split('.');
    if (name === undefined || more.length > 0)
      throw new RequestError('MKTS_RPC_METHOD_FORM', { method });
    if (service !== SERVICE) throw new RequestError('MKTS_RPC_SERVICE', { method });
    const call = this.#options.service.prepare(
      name,
      () => new Fields(method, encoding, onlyParam(method, params)),
    );
    if (call === undefined) throw new RequestError('MKTS_RPC_METHOD', { method });
    return call;
  }
}

/** Parameters are an object, or a list of one. */
function onlyParam(method: string, params: unknown): unknown {
  if (!Array.isArray(params)) return params;
  if (params.length !== 1)
    throw new RequestError('MKTS_RPC_PARAMS', { method, reason: 'expected a list of one' });
  return params[0];
}

function writerOf(encoding: Encoding): AnswerWriter {
  return encoding === 'msgpack' ? new MsgpackWriter() : new JsonWriter();
}

function resultPieces(
  encoding: Encoding,
  { id }: Envelope,
  result: AnswerBody,
): readonly Uint8Array[] {
  if (id === undefined) return [];
  const writer = writerOf(encoding);
  writer.beginMap(3);
  writer.key('jsonrpc');
  writer.text('2.0');
  writer.key('result');
  result(writer);
  writer.key('id');
  writer.encoded(id);
  writer.endMap();
  return writer.finish();
}

/** Without an envelope there is no id to answer to; the reference is silent then, ours says why. */
function errorPieces(
  encoding: Encoding,
  envelope: Envelope | undefined,
  code: ErrorCode,
  text: string,
): readonly Uint8Array[] {
  if (envelope !== undefined && envelope.id === undefined) return [];
  const writer = writerOf(encoding);
  writer.beginMap(3);
  writer.key('jsonrpc');
  writer.text('2.0');
  writer.key('error');
  writer.beginMap(3);
  writer.key('code');
  writer.integer(numberOf(code));
  writer.key('message');
  writer.text(text);
  writer.key('data');
  echo(writer, code, envelope);
  writer.endMap();
  writer.key('id');
  if (envelope?.id === undefined) writer.nil();
  else writer.encoded(envelope.id);
  writer.endMap();
  return writer.finish();
}

function numberOf(code: ErrorCode): number {
  if (code === 'MKTS_RPC_PARSE') return PARSE_ERROR;
  return code === 'MKTS_RPC_VERSION' || code === 'MKTS_RPC_PARAMS' ? INVALID_REQUEST : SERVER_ERROR;
}

/** What was wrong, as it came: the request for its version, the parameters for theirs. */
function echo(writer: AnswerWriter, code: ErrorCode, envelope: Envelope | undefined): void {
  const params = envelope?.paramsBytes;
  const isShort = (params?.length ?? 0) + (envelope?.id?.length ?? 0) <= ECHO_BYTES_MAX;
  if (code === 'MKTS_RPC_PARAMS' && params !== undefined && isShort) writer.encoded(params);
  else if (code === 'MKTS_RPC_VERSION' && envelope !== undefined && isShort) {
    writer.beginMap(4);
    writer.key('jsonrpc');
    writer.text(typeof envelope.version === 'string' ? envelope.version : '');
    writer.key('method');
    writer.text(envelope.method);
    writer.key('params');
    if (params === undefined) writer.nil();
    else writer.encoded(params);
    writer.key('id');
    if (envelope.id === undefined) writer.nil();
    else writer.encoded(envelope.id);
    writer.endMap();
  } else writer.nil();
}
