import { expect, test } from 'vitest';
import type { Tape, TapeEntry } from '../../../../kernel/base/tape.ts';
import type { Context } from '../../../../plugins/sdk.ts';
import { FakeKernel, type FakeKernelOptions } from '../../../../plugins/testing/fake-kernel.ts';

const URL_A = 'https://venue.example/a?from=1&to=2';

function fetched(body: string, more: Partial<TapeEntry> = {}): TapeEntry {
  const answer = { status: 200, headers: {}, body };
  const asked = { kind: 'fetch', atMs: 0, method: 'GET', url: URL_A, sent: undefined } as const;
  return { ...asked, answer, ...more } as TapeEntry;
}

function play(
  entries: readonly TapeEntry[],
  options: FakeKernelOptions = {},
): { kernel: FakeKernel; ctx: Context<unknown> } {
  const tape: Tape = { plugin: 'p', startedMs: Date.UTC(2026, 0, 5), entries };
  const kernel = new FakeKernel({ tape, ...options });
  return { kernel, ctx: kernel.context({}, new AbortController().signal) };
}

test('time begins where the tape did', () => {
  expect(play([]).kernel.clock.now()).toBe(Date.UTC(2026, 0, 5));
});

test('the same request gets the next answer to it, and then none', async () => {
  const { kernel, ctx } = play([fetched('one'), fetched('two')]);
  expect((await ctx.fetch('https://venue.example/a?to=2&from=1')).text()).toBe('one');
  expect(kernel.unplayed).toEqual([`GET ${URL_A}`]);
  expect((await ctx.fetch(URL_A)).text()).toBe('two');
  expect(kernel.unplayed).toEqual([]);
  await expect(ctx.fetch(URL_A)).rejects.toMatchObject({ code: 'MKTS_TAPE_MISS' });
});

test('a request that is not on the tape is told what is', async () => {
  const { ctx } = play([fetched('one')]);
  await expect(ctx.fetch('https://venue.example/a?from=3')).rejects.toThrow(
    `the tape has nothing for GET https://venue.example/a?from=3; left on it: GET ${URL_A}`,
  );
  await expect(ctx.socket('wss://venue.example/feed')).rejects.toMatchObject({
    code: 'MKTS_TAPE_MISS',
  });
});

test('method and body tell requests apart; parameters may be left out of it', async () => {
  const entries = [
    fetched('got'),
    fetched('posted', { method: 'POST', sent: '{"a":1}' } as Partial<TapeEntry>),
    fetched('signed', { method: 'POST', sent: '{"sign":"***"}' } as Partial<TapeEntry>),
  ];
  const { ctx } = play(entries, { ignoreParameters: ['to'] });
  const url = 'https://venue.example/a?from=1&to=99';
  expect((await ctx.fetch(url, { method: 'POST', body: '{"a":1}' })).text()).toBe('posted');
  // What is masked cannot be compared.
  expect((await ctx.fetch(url, { method: 'POST', body: '{"sign":"x"}' })).text()).toBe('signed');
  expect((await ctx.fetch(url)).text()).toBe('got');
});

test('a failure fails again', async () => {
  const { ctx } = play([fetched('', { answer: { failed: 'ECONNRESET' } } as Partial<TapeEntry>)]);
  await expect(ctx.fetch(URL_A)).rejects.toMatchObject({
    code: 'MKTS_NET_FAILED',
    fields: { reason: 'ECONNRESET' },
  });
});

const FEED = 'wss://venue.example/feed';

test('a socket speaks at its time, and waits for the plugin where it waited before', async () => {
  const { kernel, ctx } = play([
    { kind: 'open', atMs: 100, socket: 1, url: FEED },
    { kind: 'received', atMs: 150, socket: 1, text: 'hello' },
    { kind: 'sent', atMs: 160, socket: 1, text: 'subscribe' },
    { kind: 'received', atMs: 170, socket: 1, text: 'one' },
    { kind: 'received', atMs: 5_170, socket: 1, text: 'two' },
    { kind: 'closed', atMs: 5_180, socket: 1, code: 1000, reason: '' },
  ]);
  const beganMs = kernel.clock.now();
  const heard: string[] = [];
  let isOver = false;
  const socket = await ctx.socket(FEED);
  const listening = (async () => {
    for await (const text of socket) heard.push(`${text} ${kernel.clock.now() - beganMs}`);
    isOver = true;
  })();
  await kernel.clock.advance(1_000);
  expect(heard).toEqual(['hello 50']);
  socket.send('subscribe');
  await kernel.until(() => isOver);
  await listening;
  expect(heard).toEqual(['hello 50', 'one 1010', 'two 6010']);
  expect(kernel.sockets[0]?.sent).toEqual(['subscribe']);
});

test('a message sent early does not let a later answer pass an earlier one', async () => {
  const { kernel, ctx } = play([
    { kind: 'open', atMs: 0, socket: 1, url: FEED },
    { kind: 'received', atMs: 50, socket: 1, text: 'hello' },
    { kind: 'sent', atMs: 51, socket: 1, text: 'subscribe' },
    { kind: 'received', atMs: 52, socket: 1, text: 'one' },
    { kind: 'failed', atMs: 60, socket: 1, reason: 'ECONNRESET' },
  ]);
  const socket = await ctx.socket(FEED);
  socket.send('subscribe');
  const heard: string[] = [];
  let failure: unknown;
  const listening = (async () => {
    for await (const text of socket) heard.push(text);
  })().catch((error: unknown) => {
    failure = error;
  });
  await kernel.until(() => failure !== undefined);
  await listening;
  expect(heard).toEqual(['hello', 'one']);
  expect(failure).toMatchObject({ code: 'MKTS_NET_FAILED', fields: { reason: 'ECONNRESET' } });
});

test('a socket that did not open does not open', async () => {
  const { ctx } = play([
    { kind: 'open', atMs: 0, socket: 1, url: FEED },
    { kind: 'failed', atMs: 60, socket: 1, reason: 'ECONNREFUSED' },
  ]);
  await expect(ctx.socket(FEED)).rejects.toMatchObject({ code: 'MKTS_NET_FAILED' });
});
