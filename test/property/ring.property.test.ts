/**
 * The ring against an array: whatever is written in whatever sizes comes out the same and in order;
 * and against a plugin that scribbles over all of it: PluginError, nothing else.
 */

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { PluginError } from '../../kernel/base/errors.ts';
import { createRing, RingReader, RingWriter } from '../../workers/ring.ts';

const CAPACITY = 512;
const CONTROL_BYTES = 6 * 64;

type Step =
  | { readonly kind: 'write'; readonly bytes: number; readonly fill: number }
  | { readonly kind: 'read'; readonly count: number };

const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({
    kind: fc.constant('write' as const),
    bytes: fc.integer({ min: 1, max: CAPACITY / 16 }).map((words) => words * 8),
    fill: fc.integer({ min: 0, max: 255 }),
  }),
  fc.record({ kind: fc.constant('read' as const), count: fc.integer({ min: 1, max: 8 }) }),
);

/** A ring whose cursors start at `cursor`, so that runs cross 2^32 too. */
function ringAt(cursor: number): SharedArrayBuffer {
  const shared = createRing(CAPACITY);
  const words = new Int32Array(shared);
  words[0] = cursor;
  words[16] = cursor;
  words[32] = cursor;
  return shared;
}

test('frames of any size come out whole and in order, over any number of wraps', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 400 }), (steps) => {
      const shared = createRing(CAPACITY);
      const writer = new RingWriter(shared, () => {});
      const reader = new RingReader(shared, 'model');
      const model: { bytes: number; fill: number }[] = [];
      let waiting = 0;
      for (const { kind, ...rest } of steps) {
        if (kind === 'write') {
          const { bytes, fill } = rest as { bytes: number; fill: number };
          const target = writer.tryWrite(bytes);
          if (target === undefined) {
            // Refused only if it may not fit: the frame, and a skipped end, are larger than what is free.
            expect(waiting + 2 * bytes).toBeGreaterThan(CAPACITY);
            continue;
          }
          target.bytes.fill(fill, target.offset + 4, target.offset + bytes);
          writer.commit();
          model.push({ bytes, fill });
          waiting += bytes;
        } else {
          for (let at = 0; at < (rest as { count: number }).count; at++) {
            const frame = reader.peek();
            const expected = model.shift();
            expect(frame?.bytes).toBe(expected?.bytes);
            if (frame === undefined || expected === undefined) break;
            const body = reader.data.slice(frame.offset + 4, frame.offset + frame.bytes);
            expect(body.every((byte) => byte === expected.fill)).toBe(true);
            reader.consume();
            waiting -= frame.bytes;
          }
        }
      }
    }),
    { numRuns: 300 },
  );
});

test('cursors run over 2^32 without a case of their own', () => {
  const shared = ringAt(-64);
  const writer = new RingWriter(shared, () => {});
  const reader = new RingReader(shared, 'model', -64);
  for (let round = 0; round < 100; round++) {
    const target = writer.tryWrite(48);
    expect(target).toBeDefined();
    target?.bytes.fill(round, target.offset + 8, target.offset + 48);
    writer.commit();
    const frame = reader.peek();
    expect(frame?.bytes).toBe(48);
    expect(reader.data[(frame?.offset ?? 0) + 8]).toBe(round);
    reader.consume();
  }
});

test('a scribbling plugin gets PluginError, never a read outside the data', () => {
  fc.assert(
    fc.property(
      fc.array(
        fc.record({
          word: fc.integer({ min: 0, max: (CONTROL_BYTES + CAPACITY) / 4 - 1 }),
          value: fc.oneof(
            fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }),
            fc.integer({ min: 0, max: CAPACITY }).map((bytes) => bytes & ~7),
            fc.constant(-1),
          ),
        }),
        { minLength: 1, maxLength: 60 },
      ),
      fc.integer({ min: 0, max: CAPACITY * 2 }),
      (scribbles, written) => {
        const shared = createRing(CAPACITY);
        const words = new Int32Array(shared);
        const reader = new RingReader(shared, 'hostile');
        words[0] = written;
        for (const { word, value } of scribbles) {
          words[word] = value;
          try {
            for (let frames = 0; frames < 100; frames++) {
              const frame = reader.peek();
              if (frame === undefined) break;
              expect(frame.offset % 8).toBe(0);
              expect(frame.offset).toBeGreaterThanOrEqual(0);
              expect(frame.offset + frame.bytes).toBeLessThanOrEqual(CAPACITY);
              reader.consume();
            }
          } catch (thrown) {
            expect(thrown).toBeInstanceOf(PluginError);
            expect((thrown as PluginError).code).toBe('MKTS_RING_INVALID');
            // Once damaged, for good: the worker behind it is replaced.
            expect(() => reader.peek()).toThrow(PluginError);
            return;
          }
        }
      },
    ),
    { numRuns: 2000 },
  );
});
