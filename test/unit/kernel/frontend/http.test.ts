import type { IncomingMessage } from 'node:http';
import { connect, type Socket } from 'node:net';
import { PassThrough } from 'node:stream';
import { afterEach, describe, expect, test } from 'vitest';
import { BODY_BYTES_MAX } from '../../../../kernel/base/limits.ts';
import type { Ingestion } from '../../../../kernel/frontend/data-service.ts';
import { HttpServer } from '../../../../kernel/frontend/http.ts';
import { readBody } from '../../../../kernel/frontend/request-body.ts';
import {
  type FrontendOptions,
  type FrontendServer,
  startFrontend,
  TEST_HASH,
} from '../../../support/frontend-server.ts';
import { callMsgpack, decode, send } from '../../../support/wire-client.ts';

let server: FrontendServer | undefined;

afterEach(async () => {
  await server?.close();
  server = undefined;
});

async function start(options: FrontendOptions = {}): Promise<FrontendServer> {
  server = await startFrontend(options);
  return server;
}

const get = (port: number, path: string, method = 'GET') =>
  send(port, { method, path, headers: {}, body: new Uint8Array(0) });

/** What a socket received until it was closed or `until` was seen. */
function received(socket: Socket, until: string): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = '';
    socket.on('data', (chunk: Buffer) => {
      text += chunk.toString('latin1');
      if (text.includes(until)) resolve(text);
    });
    socket.on('close', () => resolve(text));
    socket.on('error', reject);
  });
}

describe('routes', () => {
  test('/heartbeat says how it is, also when a stop has begun', async () => {
    const { address, readiness } = await start({ version: 'v1.2.3' });
    const alive = await get(address.port, '/heartbeat');
    expect([alive.status, alive.headers['content-type']]).toEqual([
      200,
      'text/plain; charset=utf-8',
    ]);
    expect(JSON.parse(alive.body.toString())).toEqual({
      status: 'queryable',
      version: 'v1.2.3',
      git_hash: TEST_HASH,
      uptime: expect.stringMatching(/^[\d.]+m?s$/),
    });
    readiness.writesPaused = 'ENOSPC: no space left on device';
    const full = await get(address.port, '/heartbeat');
    expect(full.status, 'reads go on').toBe(200);
    expect(JSON.parse(full.body.toString())).toMatchObject({
      status: 'queryable',
      writes_paused: 'ENOSPC: no space left on device',
    });
    readiness.writesPaused = undefined;
    readiness.queryable = false;
    const stopping = await get(address.port, '/heartbeat?x=1');
    expect(stopping.status).toBe(503);
    expect(JSON.parse(stopping.body.toString())).toMatchObject({ status: 'not queryable' });
  });

  test('/metrics has the six families, and a query counts', async () => {
    const { address } = await start();
    await callMsgpack(address.port, 'Query', {});
    const { status, headers, body } = await get(address.port, '/metrics');
    expect([status, headers['content-type']]).toEqual([
      200,
      'text/plain; version=0.0.4; charset=utf-8',
    ]);
    const text = body.toString();
    for (const family of [
      'startup_seconds',
      'rpc_total_request_duration_seconds_count 1',
      'rpc_successful_request_duration_seconds_count{method="DataService.Query"} 1',
      'ws_connections',
      'write_csm_duration_seconds',
      'total_disk_usage_bytes',
    ])
      expect(text).toContain(`alpaca_marketstore_${family}`);
  });

  test.each([
    '/',
    '/rpc/',
    '/ws',
    '/pprof/',
    '/debug/vars',
    '/debug/pprof/',
    '/../rpc',
    '/rpc%2f',
    '/metrics/',
  ])('%s is not there', async (path) => {
    const { address } = await start();
    const { status, body } = await get(address.port, path);
    expect([status, body.toString()]).toEqual([404, '404 page not found\n']);
  });

  test('every answer of /rpc names the version of the server', async () => {
    const { address } = await start();
    for (const method of ['GET', 'HEAD', 'PUT', 'DELETE', 'OPTIONS']) {
      const { status, headers } = await get(address.port, '/rpc', method);
      expect([status, headers['marketstore-version']]).toEqual([405, TEST_HASH]);
    }
  });
});

describe('bodies', () => {
  test('one past the limit is refused before it is sent, and the connection goes on', async () => {
    const { address } = await start();
    const socket = connect(address.port, '127.0.0.1');
    socket.write(
      `POST /rpc HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: ${BODY_BYTES_MAX + 1}\r\n\r\n{`,
    );
    const text = await received(socket, 'bytes\n');
    socket.destroy();
    expect(text).toMatch(/^HTTP\/1.1 413 /);
    expect(text).toContain('Mkts-Error: MKTS_BODY_TOO_LARGE');
    expect(text).toContain(`Marketstore-Version: ${TEST_HASH}`);
    expect(text).toContain(`request body exceeds ${BODY_BYTES_MAX} bytes`);
  });

  const body = (budget: { heldBytes: number; heldBytesMax: number; bytesMax: number }) => {
    const stream = new PassThrough();
    const request = Object.assign(stream, { headers: {} }) as unknown as IncomingMessage;
    return { stream, read: readBody(request, budget) };
  };

  test('of exactly the limit pass; one byte more does not, though its length was not announced', async () => {
    const budget = { heldBytes: 0, heldBytesMax: 100, bytesMax: 10 };
    const fits = body(budget);
    fits.stream.end(Buffer.alloc(10));
    const read = await fits.read;
    expect([read?.bytes.length, budget.heldBytes]).toEqual([10, 10]);
    read?.release();
    const large = body(budget);
    large.stream.write(Buffer.alloc(6));
    large.stream.end(Buffer.alloc(5));
    await expect(large.read).rejects.toMatchObject({ code: 'MKTS_BODY_TOO_LARGE' });
    expect(budget.heldBytes).toBe(0);
  });

  test('that are too many together are refused until some are done', async () => {
    const budget = { heldBytes: 0, heldBytesMax: 15, bytesMax: 10 };
    const first = body(budget);
    first.stream.end(Buffer.alloc(10));
    const held = await first.read;
    const second = body(budget);
    second.stream.end(Buffer.alloc(10));
    await expect(second.read).rejects.toMatchObject({ code: 'MKTS_OVERLOADED' });
    held?.release();
    const third = body(budget);
    third.stream.end(Buffer.alloc(10));
    expect((await third.read)?.bytes.length).toBe(10);
  });

  test('that break off give their bytes back', async () => {
    const budget = { heldBytes: 0, heldBytesMax: 15, bytesMax: 10 };
    const broken = body(budget);
    broken.stream.write(Buffer.alloc(4));
    await expect.poll(() => budget.heldBytes).toBe(4);
    broken.stream.destroy();
    expect(await broken.read).toBeUndefined();
    expect(budget.heldBytes).toBe(0);
  });
});

describe('large answers', () => {
  const ROWS = 400_000;
  const large: (plain: Ingestion) => Ingestion = (plain) => plain;

  async function filled(): Promise<FrontendServer> {
    const started = await start({ ingestion: large });
    const epochs = BigInt64Array.from({ length: ROWS }, (_v, at) => BigInt(1_483_228_800 + at));
    const values = Float64Array.from({ length: ROWS }, (_v, at) => at);
    const dataset = {
      types: ['i8', 'f8'],
      names: ['Epoch', 'A'],
      data: [Buffer.from(epochs.buffer), Buffer.from(values.buffer)],
      length: ROWS,
      startindex: { 'A/1Sec/X': 0 },
      lengths: { 'A/1Sec/X': ROWS },
    };
    await callMsgpack(started.address.port, 'Write', { requests: [{ dataset }] });
    return started;
  }

  test('arrive whole, and a client that reads none of its own harms nobody', async () => {
    const { address, http } = await filled();
    const requests = [{ destination: 'A/1Sec/X' }, { destination: 'A/1Sec/X' }];
    const { pack } = await import('msgpackr');
    const message = pack({
      jsonrpc: '2.0',
      method: 'DataService.Query',
      params: { requests },
      id: 1,
    });
    const idle = connect(address.port, '127.0.0.1');
    idle.pause();
    idle.write(
      `POST /rpc HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-msgpack\r\nContent-Length: ${message.length}\r\n\r\n`,
    );
    idle.write(message);
    await expect.poll(() => http.requestCount).toBe(1);
    const answer = await callMsgpack(address.port, 'Query', { requests: requests.slice(1) });
    expect(answer.body.length).toBe(Number(answer.headers['content-length']));
    expect(answer.body.length).toBeGreaterThan(16 * ROWS);
    // It still waits for its client; when that goes, nothing of it stays.
    expect(http.requestCount).toBe(1);
    idle.destroy();
    await expect.poll(() => http.requestCount).toBe(0);
  });
});

describe('starting and stopping', () => {
  test('a port that is taken is named, and why', async () => {
    const { address, metrics, readiness } = await start();
    const options = { host: '127.0.0.1', port: address.port, metrics, readiness };
    const listening = HttpServer.listen({
      ...options,
      rpc: undefined as never,
      gitHash: 'x',
      version: 'x',
      onInternalError: () => undefined,
    });
    await expect(listening).rejects.toMatchObject({
      code: 'MKTS_LISTEN',
      message: `failed to start server - error: listen on 127.0.0.1:${address.port}: another process listens there already`,
    });
  });

  test('during the grace period all is served but ListSymbols, then the port is free', async () => {
    const started = await start();
    const { address, http } = started;
    const closed = http.close(200);
    const heartbeat = await get(address.port, '/heartbeat');
    expect(heartbeat.status).toBe(503);
    const listed = await callMsgpack(address.port, 'ListSymbols', {});
    expect(decode(listed)).toMatchObject({ error: { message: 'server is not queryable' } });
    const query = await callMsgpack(address.port, 'Query', {});
    expect(decode(query)).toMatchObject({ result: { responses: null } });
    await closed;
    await expect(get(address.port, '/heartbeat')).rejects.toMatchObject({ code: 'ECONNREFUSED' });
  });

  test('an answer under way at the end of the grace period still leaves', async () => {
    let finish = (): void => undefined;
    const { address, http } = await start({
      ingestion: (plain) => ({
        ...plain,
        destroy: () =>
          new Promise((resolve) => {
            finish = resolve;
          }),
        write: plain.write,
      }),
    });
    const dataset = {
      types: ['i8'],
      names: ['Epoch'],
      data: [Buffer.alloc(8)],
      startindex: { 'A/1Sec/X': 0 },
      lengths: { 'A/1Sec/X': 1 },
    };
    await callMsgpack(address.port, 'Write', { requests: [{ dataset }] });
    const answer = callMsgpack(address.port, 'Destroy', { requests: [{ key: 'A/1Sec/X' }] });
    await expect.poll(() => http.requestCount).toBe(1);
    const closed = http.close(0);
    setImmediate(() => finish());
    expect(decode(await answer)).toMatchObject({ result: { responses: [{ error: '' }] } });
    await closed;
  });

  test('a connection that is silent does not hold the stop up', async () => {
    const { address, http } = await start();
    const socket = connect(address.port, '127.0.0.1');
    await new Promise((resolve) => socket.once('connect', resolve));
    await http.close(0);
    socket.destroy();
  });
});
