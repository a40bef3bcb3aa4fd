/**
 * A worker that writes frames as fast as it can until it is terminated. A frame: its length, its
 * number, then its number again in every word, so that a torn one shows.
 */

import { workerData } from 'node:worker_threads';
import { Doorbell } from '../../workers/doorbell.ts';
import { RingWriter } from '../../workers/ring.ts';

const { ring, doorbell, committed } = workerData as {
  readonly ring: SharedArrayBuffer;
  readonly doorbell: SharedArrayBuffer;
  /** How many frames were handed over. */
  readonly committed: Int32Array;
};

const bell = new Doorbell(doorbell);
const writer = new RingWriter(ring, () => bell.ring());

for (let number = 1; ; number++) {
  const bytes = 16 + 8 * (number % 61);
  let target = writer.tryWrite(bytes);
  while (target === undefined) {
    await writer.waitForRoom(bytes);
    target = writer.tryWrite(bytes);
  }
  const { view, offset } = target;
  for (let at = 4; at < bytes; at += 4) view.setUint32(offset + at, number, true);
  writer.commit();
  committed[0] = number;
}
