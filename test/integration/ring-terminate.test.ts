/** A worker may be terminated at any instruction: its ring shows whole frames only, and all of them. */

import { Worker } from 'node:worker_threads';
import { expect, test } from 'vitest';
import { Doorbell } from '../../workers/doorbell.ts';
import { createRing, RingReader } from '../../workers/ring.ts';

const ROUNDS = 100;
const CAPACITY = 16 * 1024;

test('after 100 terminations at random moments no frame is torn and none handed over is lost', async () => {
  const doorbell = new Doorbell();
  for (let round = 0; round < ROUNDS; round++) {
    const ring = createRing(CAPACITY);
    const committed = new Int32Array(new SharedArrayBuffer(4));
    const worker = new Worker(new URL('../support/ring-worker.ts', import.meta.url), {
      workerData: { ring, doorbell: doorbell.shared, committed },
    });
    const exited = new Promise((resolve) => worker.once('exit', resolve));
    const reader = new RingReader(ring, 'terminated');
    let last = 0;
    const drain = (): void => {
      for (let frame = reader.peek(); frame !== undefined; frame = reader.peek()) {
        const copy = reader.data.slice(frame.offset, frame.offset + frame.bytes);
        reader.consume();
        const words = new Uint32Array(copy.buffer);
        expect(words[0]).toBe(copy.length);
        expect(words[1]).toBe(last + 1);
        last++;
        if (!words.subarray(1).every((word) => word === last)) expect(words).toBe(last);
      }
    };
    // Somewhere between the first frame and many turns of the ring; also while the ring is full.
    const target = 1 + Math.floor(Math.random() * 2000);
    while (last < target) {
      await doorbell.wait(10);
      drain();
    }
    void worker.terminate();
    await exited;
    drain();
    expect(last, `round ${round}`).toBeGreaterThanOrEqual(committed[0] ?? 0);
  }
}, 60_000);
