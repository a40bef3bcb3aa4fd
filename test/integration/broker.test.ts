/** The network broker with its real thread, against real HTTP and WebSocket servers on loopback. */

import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Worker } from 'node:worker_threads';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type WebSocket as ServerSocket, WebSocketServer } from 'ws';
import { FETCH_BYTES_MAX, FETCHES_MAX, SOCKET_CREDIT } from '../../kernel/base/limits.ts';
import { type Broker, startBroker } from '../../kernel/supervisor/broker-thread.ts';
import type { Denial } from '../../kernel/supervisor/denials.ts';
import { type BrokerClient, brokerClient } from '../../workers/broker-client.ts';

type Handler = (request: IncomingMessage, response: ServerResponse) => void;

/** A venue whose answers a test decides. */
class Venue {
  handler: Handler = (_request, response) => response.end('ok');
  readonly #http = createServer((request, response) => this.handler(request, response));
  readonly sockets = new WebSocketServer({ server: this.#http });

  async start(): Promise<string> {
    this.#http.listen(0, '127.0.0.1');
    await once(this.#http, 'listening');
    return `127.0.0.1:${(this.#http.address() as AddressInfo).port}`;
  }

  nextSocket(): Promise<ServerSocket> {
    return once(this.sockets, 'connection').then(([socket]) => socket as ServerSocket);
  }

  async stop(): Promise<void> {
    for (const socket of this.sockets.clients) socket.terminate();
    this.#http.closeAllConnections();
    this.#http.close();
    await once(this.#http, 'close');
  }
}

let venue: Venue;
let host: string;
let broker: Broker;
let client: BrokerClient;
let workers: Worker[];
let onWorker: () => void;
let onDenied: (denial: Denial) => void;

beforeEach(async () => {
  venue = new Venue();
  host = await venue.start();
  workers = [];
  onWorker = () => {};
  onDenied = () => {};
  broker = startBroker({
    onDenied: (denial) => onDenied(denial),
    onWorker: (worker) => {
      workers.push(worker);
      onWorker();
    },
  });
  client = brokerClient(broker.register('feeder', [host], 1), 'feeder');
});

afterEach(async () => {
  await broker.stop();
  await venue.stop();
});

/** The code and text of what a promise rejects with. */
async function rejection(promise: Promise<unknown>): Promise<{ code: string; message: string }> {
  const error: unknown = await promise.then(
    () => new Error('was not rejected'),
    (thrown: unknown) => thrown,
  );
  const { code = '', message } = error as { code?: string; message: string };
  return { code, message };
}

describe('fetch', () => {
  test('hands over method, headers and body, and gives back status, headers and text', async () => {
    venue.handler = async (request, response) => {
      const chunks: Buffer[] = [];
      for await (const chunk of request) chunks.push(chunk as Buffer);
      const seen = [request.method, request.url, request.headers['x-asked'], String(chunks[0])];
      response.writeHead(201, { 'X-Weight': '7', 'content-type': 'application/json' });
      response.end(JSON.stringify(seen));
    };
    const response = await client.fetch(`http://${host}/path?a=1`, {
      method: 'POST',
      headers: { 'X-Asked': 'yes' },
      body: 'täxt',
    });
    expect(response.status).toBe(201);
    expect(response.ok).toBe(true);
    expect(response.headers['x-weight']).toBe('7');
    expect(response.json()).toEqual(['POST', '/path?a=1', 'yes', 'täxt']);
  });

  test('an answer of 429 is an answer, not an error', async () => {
    venue.handler = (_request, response) =>
      response.writeHead(429, { 'retry-after': '7' }).end('{}');
    const response = await client.fetch(`http://${host}/`);
    expect([response.status, response.ok, response.headers['retry-after']]).toEqual([
      429,
      false,
      '7',
    ]);
  });

  test('a host that is not granted is refused, naming the allowed ones', async () => {
    const { code, message } = await rejection(client.fetch('https://example.com/x'));
    expect(code).toBe('MKTS_NET_DENIED');
    expect(message).toContain('feeder may not reach example.com:443');
    expect(message).toContain(`allowed: ${host}`);
  });

  test('what was refused is told to the kernel, gathered', async () => {
    const told = new Promise<Denial>((resolve) => {
      onDenied = resolve;
    });
    await Promise.allSettled([
      ...Array.from({ length: 9 }, () => client.fetch('https://example.com/x')),
      client.socket('wss://example.com/'),
    ]);
    expect(await told).toEqual({
      plugin: 'feeder',
      what: 'network',
      detail: 'example.com:443',
      count: 10,
    });
  });

  test('a redirect to a granted host is followed, one to another host is refused', async () => {
    venue.handler = (request, response) => {
      const targets: Record<string, string> = { '/near': '/end', '/far': 'http://127.0.0.1:9/' };
      const location = targets[request.url ?? ''];
      if (location === undefined) response.end('arrived');
      else response.writeHead(302, { location }).end();
    };
    expect((await client.fetch(`http://${host}/near`)).text()).toBe('arrived');
    expect(await rejection(client.fetch(`http://${host}/far`))).toMatchObject({
      code: 'MKTS_NET_DENIED',
    });
  });

  test('a redirect loop ends', async () => {
    venue.handler = (_request, response) => response.writeHead(302, { location: '/' }).end();
    const { code, message } = await rejection(client.fetch(`http://${host}/`));
    expect(code).toBe('MKTS_NET_FAILED');
    expect(message).toContain('redirects');
  });

  test('a refused connection says so, and no secret of the query is in the text', async () => {
    broker.unregister('feeder', 1);
    client = brokerClient(broker.register('feeder', ['127.0.0.1:2'], 2), 'feeder');
    const asked = 'http://127.0.0.1:2/a?symbol=X&apiKey=hunter2&token=hunter3';
    const { code, message } = await rejection(client.fetch(asked));
    expect(code).toBe('MKTS_NET_FAILED');
    expect(message).toMatch(/^GET http:\/\/127\.0\.0\.1:2\/a\?symbol=X/);
    expect(message).toContain('ECONNREFUSED');
    expect(message).not.toContain('hunter');
  });

  test('other schemes and methods are refused', async () => {
    expect(await rejection(client.fetch('file:///etc/passwd'))).toMatchObject({
      code: 'MKTS_NET_FAILED',
    });
    const method = 'DELETE' as 'GET';
    const { message } = await rejection(client.fetch(`http://${host}/`, { method }));
    expect(message).toContain('method must be GET or POST');
  });

  test('an answer that does not come in time fails', async () => {
    venue.handler = () => {};
    const { code, message } = await rejection(client.fetch(`http://${host}/`, { timeoutMs: 20 }));
    expect(code).toBe('MKTS_NET_FAILED');
    expect(message).toContain('within 20 ms');
  });

  test('an answer past the bound fails while it is read', async () => {
    const chunk = Buffer.alloc(1 << 20);
    venue.handler = (_request, response) => {
      const pump = (): void => {
        while (!response.destroyed && response.write(chunk));
      };
      response.on('drain', pump);
      pump();
    };
    const { message } = await rejection(client.fetch(`http://${host}/`));
    expect(message).toContain(`answer exceeds ${FETCH_BYTES_MAX} bytes`);
  });

  test('an aborted call rejects with the reason, and the venue sees the connection end', async () => {
    const asked = Promise.withResolvers<IncomingMessage>();
    venue.handler = (request) => asked.resolve(request);
    const controller = new AbortController();
    const call = client.fetch(`http://${host}/`, { signal: controller.signal });
    const request = await asked.promise;
    const ended = once(request.socket, 'close');
    controller.abort(new Error('stop'));
    await expect(call).rejects.toThrow('stop');
    await ended;
  });

  test('no more than the allowed number of requests are under way, and none is lost', async () => {
    const held: ServerResponse[] = [];
    let reached: () => void = () => {};
    venue.handler = (_request, response) => {
      held.push(response);
      reached();
    };
    const full = new Promise<void>((resolve) => {
      reached = () => held.length === FETCHES_MAX && resolve();
    });
    const calls = Array.from({ length: FETCHES_MAX + 3 }, () => client.fetch(`http://${host}/`));
    await full;
    expect(held).toHaveLength(FETCHES_MAX);
    venue.handler = (_request, response) => response.end('late');
    for (const response of held) response.end('held');
    const texts = (await Promise.all(calls)).map((response) => response.text());
    expect(texts.filter((text) => text === 'held')).toHaveLength(FETCHES_MAX);
    expect(texts.filter((text) => text === 'late')).toHaveLength(3);
  });

  test('a budget of requests of a plugin’s own holds in place of the general one', async () => {
    client = brokerClient(broker.register('modest', [host], 1, 2), 'modest');
    let most = 0;
    const held: ServerResponse[] = [];
    // Answered in pairs, a little late: a third that is under way would be seen.
    venue.handler = (_request, response) => {
      held.push(response);
      most = Math.max(most, held.length);
      if (held.length !== 2) return;
      setTimeout(() => {
        for (const each of held.splice(0)) each.end('ok');
      }, 20);
    };
    await Promise.all(Array.from({ length: 12 }, () => client.fetch(`http://${host}/`)));
    expect(most).toBe(2);
  });
});

describe('socket', () => {
  test('messages go both ways in order, and the loop ends when the venue closes', async () => {
    const accepted = venue.nextSocket();
    const socket = await client.socket(`ws://${host}/ws`);
    const server = await accepted;
    const received = once(server, 'message');
    socket.send('hello');
    expect(String((await received)[0])).toBe('hello');
    for (const text of ['a', 'b', 'c']) server.send(text);
    server.close(1012, 'restart');
    const texts: string[] = [];
    for await (const text of socket) texts.push(text);
    expect(texts).toEqual(['a', 'b', 'c']);
  });

  test('a ping is answered with its payload', async () => {
    const accepted = venue.nextSocket();
    const socket = await client.socket(`ws://${host}/`);
    const server = await accepted;
    const pong = once(server, 'pong');
    server.ping('1700000000000');
    expect(String((await pong)[0])).toBe('1700000000000');
    socket.close();
  });

  test('close of the plugin reaches the venue with its code', async () => {
    const accepted = venue.nextSocket();
    const socket = await client.socket(`ws://${host}/`);
    const closed = once(await accepted, 'close');
    socket.close(1000, 'done');
    expect((await closed)[0]).toBe(1000);
    for await (const _text of socket) expect.unreachable();
  });

  test('a connection that breaks throws after what was received', async () => {
    const accepted = venue.nextSocket();
    const socket = await client.socket(`ws://${host}/`);
    const server = await accepted;
    server.send('last', () => server.terminate());
    const messages = socket[Symbol.asyncIterator]();
    expect(await messages.next()).toEqual({ done: false, value: 'last' });
    const { code, message } = await rejection(messages.next());
    expect(code).toBe('MKTS_NET_FAILED');
    expect(message).toContain('connection lost');
  });

  test('a socket that cannot open says why', async () => {
    broker.unregister('feeder', 1);
    client = brokerClient(broker.register('feeder', ['127.0.0.1:2'], 2), 'feeder');
    expect((await rejection(client.socket('ws://127.0.0.1:2/x'))).message).toContain(
      'ECONNREFUSED',
    );
    expect((await rejection(client.socket(`ws://${host}/x`))).code).toBe('MKTS_NET_DENIED');
    expect((await rejection(client.socket('http://127.0.0.1:2/'))).message).toContain('ws or wss');
  });

  test('a handshake the venue refuses names its status', async () => {
    venue.sockets.options.verifyClient = (
      _info: unknown,
      done: (ok: boolean, code: number) => void,
    ) => done(false, 429);
    const { message } = await rejection(client.socket(`ws://${host}/`));
    expect(message).toContain('429');
  });

  test('a plugin that takes nothing is cut off at the bound, and its next socket works', async () => {
    const accepted = venue.nextSocket();
    const socket = await client.socket(`ws://${host}/`);
    const server = await accepted;
    const closed = once(server, 'close');
    const text = 'x'.repeat(100_000);
    const flood = (): void => {
      if (server.readyState === server.OPEN) server.send(text, () => setImmediate(flood));
    };
    for (let i = 0; i < SOCKET_CREDIT; i++) server.send('.');
    flood();
    await closed;
    let error: unknown;
    let taken = 0;
    try {
      for await (const _text of socket) taken++;
    } catch (thrown) {
      error = thrown;
    }
    expect(taken).toBe(SOCKET_CREDIT);
    expect(String(error)).toContain('too slow');
    const again = venue.nextSocket();
    (await client.socket(`ws://${host}/`)).close();
    await again;
  });

  test('a plugin that takes its messages receives far more than its credit', async () => {
    const accepted = venue.nextSocket();
    const socket = await client.socket(`ws://${host}/`);
    const server = await accepted;
    const count = 5 * SOCKET_CREDIT + 3;
    for (let i = 0; i < count; i++) server.send(String(i));
    server.close(1000);
    let next = 0;
    for await (const text of socket) expect(text).toBe(String(next++));
    expect(next).toBe(count);
  });
});

describe('life', () => {
  test('what is under way fails when a plugin is unregistered', async () => {
    const accepted = venue.nextSocket();
    const socket = await client.socket(`ws://${host}/`);
    const closed = once(await accepted, 'close');
    broker.unregister('feeder', 1);
    expect((await closed)[0]).toBe(1000);
    expect(await rejection(socket[Symbol.asyncIterator]().next())).toMatchObject({
      code: 'MKTS_NET_FAILED',
    });
    expect(await rejection(client.fetch(`http://${host}/`))).toMatchObject({
      code: 'MKTS_NET_FAILED',
    });
  });

  test('a broker that dies fails what is under way and is there again', async () => {
    const asked = Promise.withResolvers<void>();
    venue.handler = () => asked.resolve();
    const call = client.fetch(`http://${host}/`);
    await asked.promise;
    const restarted = new Promise<void>((resolve) => {
      onWorker = resolve;
    });
    const failed = rejection(call);
    await workers[0]?.terminate();
    expect(await failed).toMatchObject({ code: 'MKTS_NET_FAILED' });
    await restarted;
    venue.handler = (_request, response) => response.end('again');
    // The new port reaches the client by an event of its own; until then calls fail at once.
    let text: string | undefined;
    while (text === undefined) {
      text = await client.fetch(`http://${host}/`).then(
        (response) => response.text(),
        () => new Promise<undefined>((resolve) => setImmediate(() => resolve(undefined))),
      );
    }
    expect(text).toBe('again');
  });

  test('stop closes sockets in good order', async () => {
    const accepted = venue.nextSocket();
    await client.socket(`ws://${host}/`);
    const closed = once(await accepted, 'close');
    await broker.stop();
    expect((await closed)[0]).toBe(1000);
  });
});
