import { EventEmitter } from 'node:events';
import type { ServerResponse } from 'node:http';
import { expect, test } from 'vitest';
import { REQUEST_TIMEOUT_MS, SEND_SLICE_BYTES } from '../../../../kernel/base/limits.ts';
import { Exchange, sendPieces } from '../../../../kernel/frontend/exchange.ts';

/** A response whose socket takes nothing until it is told to. */
class StalledResponse extends EventEmitter {
  readonly socket = null;
  writableFinished = false;
  destroyed = false;
  writeCount = 0;
  ended = false;

  write(bytes: Uint8Array): boolean {
    expect(bytes.length).toBeLessThanOrEqual(SEND_SLICE_BYTES);
    this.writeCount++;
    return false;
  }

  end(): void {
    this.ended = true;
    this.writableFinished = true;
    this.emit('close');
  }

  destroy(): void {
    this.destroyed = true;
    this.emit('close');
  }
}

function exchange(startMs: number): { response: StalledResponse; exchange: Exchange } {
  const response = new StalledResponse();
  return { response, exchange: new Exchange(response as unknown as ServerResponse, startMs) };
}

test('a call that takes too long is aborted, at its time and not before', () => {
  const { exchange: running } = exchange(1000);
  running.checkTime(1000 + REQUEST_TIMEOUT_MS - 1);
  expect(running.signal.aborted).toBe(false);
  running.checkTime(1000 + REQUEST_TIMEOUT_MS);
  expect(running.signal.reason).toMatchObject({ code: 'MKTS_REQUEST_TIMEOUT' });
});

test('a call whose client goes away is aborted, one that is answered is not', () => {
  const gone = exchange(0);
  gone.response.destroy();
  expect(gone.exchange.signal.aborted).toBe(true);
  const answered = exchange(0);
  answered.response.end();
  expect(answered.exchange.signal.aborted).toBe(false);
});

test('an answer waits for its client, slice by slice, and is cut off if nothing moves', async () => {
  const { response, exchange: sending } = exchange(performance.now());
  const pieces = [new Uint8Array(2 * SEND_SLICE_BYTES), new Uint8Array(1)];
  const sent = sendPieces(sending, response as unknown as ServerResponse, pieces);
  expect(response.writeCount).toBe(1);
  response.emit('drain');
  await expect.poll(() => response.writeCount).toBe(2);
  // Slow is not stuck: every slice taken gives it the full time again.
  sending.checkTime(performance.now() + REQUEST_TIMEOUT_MS - 1000);
  expect(response.destroyed).toBe(false);
  sending.checkTime(performance.now() + REQUEST_TIMEOUT_MS);
  await sent;
  expect([response.destroyed, response.ended, response.writeCount]).toEqual([true, false, 2]);
  expect(response.listenerCount('drain')).toBe(0);
});
