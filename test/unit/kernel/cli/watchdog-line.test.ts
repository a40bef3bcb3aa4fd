/** Signals that come directly, through the watchdog, or both ways: how often were they meant? */

import { EventEmitter } from 'node:events';
import { expect, test } from 'vitest';
import { connectWatchdog, type WatchedProcess } from '../../../../kernel/cli/watchdog-line.ts';
import type { ToWatchdog } from '../../../../kernel/cli/watchdog-protocol.ts';

class FakeProcess extends EventEmitter implements WatchedProcess {
  readonly connected = true;
  readonly sent: ToWatchdog[] = [];
  exit(): void {}
  send(message: ToWatchdog, _handle: undefined, _options: object, done: () => void): boolean {
    this.sent.push(message);
    done();
    return true;
  }
}

async function scene() {
  const own = new FakeProcess();
  const connecting = connectWatchdog(own);
  const say = (message: unknown): unknown => own.emit('message', message);
  say({ kind: 'start', quarantined: [['bad', 'it leaks']] });
  const line = await connecting;
  if (line === undefined) throw new Error('the watchdog said what to start with');
  const stops: string[] = [];
  const listen = (): void => {
    for (const signal of ['SIGINT', 'SIGTERM']) line.signals.on(signal, () => stops.push(signal));
  };
  const passOn = (signal: string): unknown => say({ kind: 'signal', signal });
  return { own, line, stops, listen, passOn };
}

test('who is in quarantine comes with the start', async () => {
  const { line } = await scene();
  expect([...line.quarantined]).toEqual([['bad', 'it leaks']]);
  expect(line.death).toBeUndefined();
});

test('a Ctrl-C that reaches both processes is one, and the second is the second', async () => {
  const { own, stops, listen, passOn } = await scene();
  listen();
  own.emit('SIGINT');
  passOn('SIGINT');
  expect(stops).toEqual(['SIGINT']);
  passOn('SIGINT');
  own.emit('SIGINT');
  expect(stops).toEqual(['SIGINT', 'SIGINT']);
});

test.each(['direct', 'passed on'])('signals to one process only count each: %s', async (way) => {
  const { own, stops, listen, passOn } = await scene();
  listen();
  for (let time = 0; time < 2; time++) {
    if (way === 'direct') own.emit('SIGTERM');
    else passOn('SIGTERM');
  }
  expect(stops).toEqual(['SIGTERM', 'SIGTERM']);
});

test('a signal that comes before anybody listens is kept', async () => {
  const { stops, listen, passOn } = await scene();
  passOn('SIGINT');
  listen();
  await Promise.resolve();
  expect(stops).toEqual(['SIGINT']);
});

test('if the watchdog goes the server stops, once, and a stop under way stays one', async () => {
  const first = await scene();
  first.listen();
  first.own.emit('disconnect');
  expect(first.stops).toEqual(['SIGTERM']);

  const second = await scene();
  second.listen();
  second.passOn('SIGINT');
  second.own.emit('disconnect');
  expect(second.stops).toEqual(['SIGINT']);
});

test('a report is asked for directly or through the watchdog', async () => {
  const { own, line, passOn } = await scene();
  let reports = 0;
  line.signals.on('SIGUSR1', () => reports++);
  own.emit('SIGUSR1');
  passOn('SIGUSR1');
  expect(reports).toBe(2);
});

test('a watchdog that goes before it said a word leaves nothing to start', async () => {
  const own = new FakeProcess();
  const connecting = connectWatchdog(own);
  own.emit('disconnect');
  expect(await connecting).toBeUndefined();
});
