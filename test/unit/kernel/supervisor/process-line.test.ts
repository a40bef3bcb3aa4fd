/** The kernel's end of the line to a plugin's process: whatever comes, the kernel stays whole. */

import { Duplex } from 'node:stream';
import { setImmediate as turn } from 'node:timers/promises';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { PluginError } from '../../../../kernel/base/errors.ts';
import {
  LINE_BACKLOG_BYTES_MAX,
  LINE_MESSAGE_BYTES_MAX,
  RING_BYTES,
} from '../../../../kernel/base/limits.ts';
import { ProcessLine } from '../../../../kernel/supervisor/process-line.ts';
import {
  FROM_PROCESS,
  messageHead,
  REPORT_BYTES,
  TO_PROCESS,
} from '../../../../workers/process-protocol.ts';
import { createRing } from '../../../../workers/ring.ts';
import { RingCopy } from '../../../../workers/ring-mirror.ts';

/** A line whose other end is a test: pushes bytes in, and takes what is sent or leaves it. */
function lineTo(options: { readonly reads?: boolean } = {}): {
  readonly line: ProcessLine;
  readonly socket: Duplex;
  readonly messages: unknown[];
  readonly faults: PluginError[];
  readonly rows: () => number;
} {
  const messages: unknown[] = [];
  const faults: PluginError[] = [];
  let rows = 0;
  const socket = new Duplex({
    read: () => undefined,
    write: (_chunk, _encoding, done) => {
      if (options.reads !== false) done();
    },
  });
  const line = new ProcessLine({
    plugin: 'p',
    socket,
    ring: new RingCopy(createRing(), 'p'),
    onRows: () => {
      rows++;
    },
    onReport: (report) => messages.push(report.length),
    onMessage: (_channel, message) => messages.push(message),
    onFault: (error) => faults.push(error),
  });
  return { line, socket, messages, faults, rows: () => rows };
}

function message(channel: number, payload: Uint8Array | string): Buffer {
  const bytes = Buffer.from(payload);
  return Buffer.concat([messageHead(channel, bytes.length), bytes]);
}

/** `bytes` in pieces of these sizes, over and over. */
function* pieces(bytes: Buffer, sizes: readonly number[]): Generator<Buffer> {
  for (let at = 0, turnOf = 0; at < bytes.length; turnOf++) {
    const size = sizes[turnOf % sizes.length] ?? 1;
    yield bytes.subarray(at, at + size);
    at += size;
  }
}

test('messages arrive whole and in order, however the bytes are cut', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.json(), { maxLength: 20 }),
      fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1 }),
      async (texts, sizes) => {
        const { socket, messages, faults } = lineTo();
        const bytes = Buffer.concat(texts.map((text) => message(FROM_PROCESS.call, text)));
        for (const piece of pieces(bytes, sizes)) socket.push(piece);
        while (socket.readableLength > 0 || messages.length < texts.length) await turn();
        expect(messages).toEqual(texts.map((text) => JSON.parse(text)));
        expect(faults).toEqual([]);
        socket.destroy();
      },
    ),
    { numRuns: 50 },
  );
});

test('no bytes throw, and the first that is not valid is the last that is read', async () => {
  const anything = fc.oneof(
    fc.uint8Array({ maxLength: 200 }),
    fc
      .tuple(fc.integer({ min: 0, max: 8 }), fc.uint8Array({ maxLength: 200 }))
      .map(([channel, payload]) => message(channel, payload)),
    fc
      .tuple(fc.integer({ min: 0, max: 0xffff_ffff }), fc.integer({ min: 0, max: 8 }))
      .map(([bytes, channel]) => messageHead(channel, bytes)),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(anything, { maxLength: 10 }), async (parts) => {
      const { socket, messages, faults } = lineTo();
      for (const part of parts) if (!socket.destroyed) socket.push(part);
      await turn();
      await turn();
      expect(faults.length).toBeLessThanOrEqual(1);
      for (const { code } of faults)
        expect(['MKTS_LINE_INVALID', 'MKTS_RING_INVALID']).toContain(code);
      expect(socket.destroyed).toBe(faults.length > 0);
      const before = messages.length;
      if (faults.length > 0) socket.push(message(FROM_PROCESS.call, '1'));
      await turn();
      if (faults.length > 0) expect(messages.length).toBe(before);
      socket.destroy();
    }),
    { numRuns: 200 },
  );
});

test.each([
  ['a channel there is none of', messageHead(9, 1), 'channel 9'],
  ['a message past its bound', messageHead(FROM_PROCESS.call, LINE_MESSAGE_BYTES_MAX + 1), 'bytes'],
  ['rows past the ring', messageHead(FROM_PROCESS.rows, RING_BYTES + 1), 'bytes'],
  [
    'a report of another length',
    message(FROM_PROCESS.report, Buffer.alloc(REPORT_BYTES - 1)),
    'report',
  ],
  ['a call that is no JSON', message(FROM_PROCESS.call, '{"id":'), 'JSON'],
])('it ends at %s', async (_what, bytes, reason) => {
  const { socket, faults } = lineTo();
  socket.push(bytes);
  await turn();
  expect(faults.map(({ code }) => code)).toEqual(['MKTS_LINE_INVALID']);
  expect(faults[0]?.message).toContain(reason);
});

test('a message at its bound is taken, and rows only into room that was given back', async () => {
  const { socket, messages, faults, rows } = lineTo();
  socket.push(message(FROM_PROCESS.call, JSON.stringify('x'.repeat(LINE_MESSAGE_BYTES_MAX - 2))));
  socket.push(message(FROM_PROCESS.rows, Buffer.alloc(RING_BYTES)));
  while (rows() === 0) await turn();
  expect(messages.length).toBe(1);
  expect(faults).toEqual([]);
  socket.push(message(FROM_PROCESS.rows, Buffer.alloc(8)));
  while (faults.length === 0) await turn();
  expect(faults[0]?.code).toBe('MKTS_RING_INVALID');
});

test('a flood is read in slices: others have their turn in between', async () => {
  const { socket, messages, faults } = lineTo();
  const call = message(FROM_PROCESS.call, JSON.stringify({ text: 'x'.repeat(1000) }));
  const count = 50_000;
  socket.push(Buffer.concat(Array.from({ length: count }, () => call)));
  let turns = 0;
  while (messages.length < count) {
    await turn();
    turns++;
  }
  expect(faults).toEqual([]);
  expect(turns).toBeGreaterThan(3);
});

test('a process that leaves unread what it is sent is not listened to, and given up in the end', () => {
  const { line, socket, faults } = lineTo({ reads: false });
  const answer = Buffer.alloc(16 * 1024 * 1024);
  line.send(TO_PROCESS.answer, answer);
  expect(socket.isPaused()).toBe(true);
  for (let sent = 0; sent <= LINE_BACKLOG_BYTES_MAX && faults.length === 0; sent += answer.length)
    line.send(TO_PROCESS.answer, answer);
  line.send(TO_PROCESS.answer, answer);
  expect(faults.map(({ code }) => code)).toEqual(['MKTS_LINE_INVALID']);
});

test('it listens again once what it sent was taken', async () => {
  const { line, socket, messages } = lineTo();
  line.send(TO_PROCESS.answer, Buffer.alloc(1024 * 1024));
  socket.push(message(FROM_PROCESS.call, '1'));
  while (messages.length === 0) await turn();
  expect(messages).toEqual([1]);
});
