/**
 * `mkts plugin record`: a plugin in its real worker against a venue on loopback, its traffic on a
 * tape, and the tape played to the same plugin in a test: it does the same again, without a network.
 */

import { execFile } from 'node:child_process';
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { expect, onTestFinished, test } from 'vitest';
import { WebSocketServer } from 'ws';
import { parseTape } from '../../kernel/base/tape.ts';
import type { BgWorker } from '../../plugins/sdk.ts';
import { FakeKernel } from '../../plugins/testing/fake-kernel.ts';
import { PROJECT } from '../support/source-tree.ts';
import { temporaryDirectory } from '../support/temporary-directory.ts';

const API_KEY = 'sesame-4711';
const KEY = 'A/1Min/PRICE';

/** It asks, posts, fails once, logs in on a socket, and writes what it is told. */
const PLUGIN = `
import { defineBgWorker, z } from '${join(PROJECT, 'plugins/sdk.ts')}';
const config = z.object({ api_key: z.string(), base_url: z.string(), stream_url: z.string() });
export default defineBgWorker({
  name: 'told', version: '1', api: 1, config,
  capabilities: { networkFromConfig: ['base_url', 'stream_url'] },
  async start(ctx) {
    const { api_key, base_url, stream_url } = ctx.config;
    const { price } = (await ctx.fetch(base_url + '/price?api_key=' + api_key)).json() as { price: number };
    const body = JSON.stringify({ user: 'me', api_key });
    const session = await ctx.fetch(base_url + '/session', { method: 'POST', body });
    const { listenKey } = session.json() as { listenKey: string };
    const broken = await ctx.fetch(base_url + '/broken').then(() => 0, () => 1);
    const socket = await ctx.socket(stream_url + '/' + listenKey);
    socket.send(JSON.stringify({ op: 'login', api_key }));
    let epoch = 60;
    await ctx.write('${KEY}', { Epoch: [epoch], Price: [price + broken] });
    for await (const text of socket)
      await ctx.write('${KEY}', { Epoch: [(epoch += 60)], Price: [JSON.parse(text).price] });
  },
});
`;

const WAITS = `
import { defineBgWorker, z } from '${join(PROJECT, 'plugins/sdk.ts')}';
export default defineBgWorker({
  name: 'waits', version: '1', api: 1, config: z.object({}),
  start: (ctx) => ctx.clock.sleep(1e9),
});
`;

async function startVenue(): Promise<string> {
  const http = createServer((request, response) => {
    if (request.url === '/broken') request.socket.destroy();
    else if (request.url === '/session')
      response.end(JSON.stringify({ listenKey: 'listen-abcdef', permits: 1 }));
    else {
      expect(request.url).toContain(API_KEY);
      response.setHeader('set-cookie', 'a=b').end('{"price":1}');
    }
  });
  new WebSocketServer({ server: http }).on('connection', (socket) => {
    socket.on('message', (data) => {
      expect(String(data)).toContain(API_KEY);
      socket.send(`{"price":2,"for":"${API_KEY}"}`);
      socket.send('{"price":3}');
      socket.close(1000, 'that is all');
    });
  });
  await new Promise<void>((listening) => http.listen(0, '127.0.0.1', listening));
  onTestFinished(() => void http.close());
  const address = http.address();
  return `127.0.0.1:${typeof address === 'object' ? address?.port : ''}`;
}

interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

function record(directory: string, ...args: string[]): Promise<Ended> {
  const command = [join(PROJECT, 'kernel/main.ts'), 'plugin', 'record', ...args];
  return new Promise((done) => {
    execFile(process.execPath, command, { cwd: directory }, (error, stdout, stderr) => {
      done({ code: error === null ? 0 : Number(error.code ?? -1), stdout, stderr });
    });
  });
}

test('what passed the network is on the tape, without secrets, and plays', async () => {
  const host = await startVenue();
  const directory = temporaryDirectory();
  writeFileSync(join(directory, 'told.ts'), PLUGIN);
  const config = { base_url: `http://${host}`, stream_url: `ws://${host}`, api_key: API_KEY };
  const entry = { module: 'told', config };
  const settings = { root_directory: 'data', listen_port: 0, bgworkers: [entry] };
  writeFileSync(join(directory, 'mkts.yml'), JSON.stringify(settings));

  const recorded = await record(directory, 'told', '--output', 'told.jsonl');
  expect(recorded.code, recorded.stderr).toBe(0);
  expect(recorded.stdout).toBe('');
  const path = join(directory, 'told.jsonl');
  expect(statSync(path).mode & 0o077).toBe(0);
  const text = readFileSync(path, 'utf8');
  for (const secret of [API_KEY, 'listen-abcdef', 'set-cookie']) expect(text).not.toContain(secret);
  const tape = parseTape(text, path);
  expect(tape.entries.map(({ kind }) => kind)).toEqual([
    ...['fetch', 'fetch', 'fetch'],
    ...['open', 'sent', 'received', 'received', 'closed'],
  ]);
  expect(tape.entries[1]).toMatchObject({
    method: 'POST',
    url: `http://${host}/session`,
    sent: '{"user":"me","api_key":"***"}',
    answer: { status: 200, body: '{"listenKey":"***","permits":1}' },
  });
  expect(tape.entries[2]).toMatchObject({ answer: { failed: expect.stringMatching(/./) } });

  const loaded = (await import(pathToFileURL(join(directory, 'told.ts')).href)) as {
    readonly default: BgWorker;
  };
  const kernel = new FakeKernel({ tape });
  const run = kernel.start(loaded.default, config);
  await kernel.until(() => run.ended);
  expect(run.failure).toBeUndefined();
  expect(kernel.unplayed).toEqual([]);
  expect(kernel.rows(KEY).map(({ Price }) => Price)).toEqual([2, 2, 3]);

  const again = await record(directory, 'told', '--output', 'told.jsonl');
  expect(again).toMatchObject({ code: 1, stderr: expect.stringContaining('MKTS_TAPE_WRITE') });
  expect(readFileSync(path, 'utf8')).toBe(text);
});

test('a recording ends after the time it was given', async () => {
  const directory = temporaryDirectory();
  writeFileSync(join(directory, 'waits.ts'), WAITS);
  const { code, stderr } = await record(directory, './waits.ts', '--for', '0.5');
  expect(code, stderr).toBe(0);
  expect(parseTape(readFileSync(join(directory, 'tape.jsonl'), 'utf8'), 'tape').entries).toEqual(
    [],
  );
});
