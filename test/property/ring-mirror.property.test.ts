/**
 * A ring that spans two processes against an array: frames of any size come out the same and in
 * order, whatever the moments at which bytes and cursors cross, and however the bytes are cut.
 */

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { createRing, RingWriter } from '../../workers/ring.ts';
import { MirroredReader, RingCopy, RingSource } from '../../workers/ring-mirror.ts';

const CAPACITY = 512;

type Step =
  | { readonly kind: 'write'; readonly words: number }
  | { readonly kind: 'send'; readonly piece: number }
  | { readonly kind: 'read'; readonly count: number }
  | { readonly kind: 'tell' };

const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({ kind: fc.constant('write' as const), words: fc.integer({ min: 2, max: 32 }) }),
  fc.record({ kind: fc.constant('send' as const), piece: fc.integer({ min: 1, max: 100 }) }),
  fc.record({ kind: fc.constant('read' as const), count: fc.integer({ min: 1, max: 8 }) }),
  fc.record({ kind: fc.constant('tell' as const) }),
);

test('what is written on one side is read on the other', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 500 }), (steps) => {
      const here = createRing(CAPACITY);
      const there = createRing(CAPACITY);
      const writer = new RingWriter(here, () => undefined);
      const source = new RingSource(here, 'p');
      const copy = new RingCopy(there, 'p');
      let changes = 0;
      const reader = new MirroredReader(there, 'p', () => changes++);
      const written: number[] = [];
      const read: number[] = [];
      const send = (piece: number): void => {
        for (const bytes of source.take())
          for (let at = 0; at < bytes.length; at += piece)
            copy.append(bytes.subarray(at, at + piece));
        copy.publish();
      };
      const take = (count: number): void => {
        for (let frames = 0; frames < count; frames++) {
          const frame = reader.peek();
          if (frame === undefined) return;
          read.push(
            new DataView(reader.data.buffer, reader.data.byteOffset).getUint32(frame.offset + 8),
          );
          reader.consume();
        }
      };
      for (const action of steps) {
        if (action.kind === 'write') {
          const target = writer.tryWrite(8 * action.words);
          if (target === undefined) continue;
          target.view.setUint32(target.offset + 8, written.length);
          written.push(written.length);
          writer.commit();
        } else if (action.kind === 'send') send(action.piece);
        else if (action.kind === 'read') take(action.count);
        else source.apply(copy.cursors());
      }
      while (read.length < written.length) {
        send(7);
        take(CAPACITY);
        source.apply(copy.cursors());
      }
      expect(read).toEqual(written);
      expect(changes).toBe(written.length);
    }),
  );
});

test('a plugin that scribbles over the cursor of its own ring is told apart from an empty one', () => {
  const shared = createRing(CAPACITY);
  const source = new RingSource(shared, 'p');
  expect(source.take()).toEqual([]);
  new Int32Array(shared)[0] = CAPACITY + 8;
  expect(() => source.take()).toThrow(expect.objectContaining({ code: 'MKTS_RING_INVALID' }));
});
