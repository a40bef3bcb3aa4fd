/** Who is blamed for memory: readings and answers are handed in, polls are called by hand. */

import { beforeEach, expect, test } from 'vitest';
import {
  type MemoryLook,
  type MemorySuspect,
  ProcessMemoryWatch,
} from '../../../../kernel/supervisor/process-memory-watch.ts';

const MIB = 1024 * 1024;
const LIMIT_MB = 256;

let rssMb = 500;
let poll: (() => void) | undefined;

let lastLook: MemoryLook | undefined;

function watch(): ProcessMemoryWatch {
  return new ProcessMemoryWatch({
    onLook: (look) => {
      lastLook = look;
    },
    rssBytes: () => rssMb * MIB,
    repeat: (task) => {
      poll = task;
      return () => {
        poll = undefined;
      };
    },
  });
}

class Suspect implements MemorySuspect {
  readonly plugin = 'suspect';
  readonly limitMb = LIMIT_MB;
  readonly blamedFor: number[] = [];
  asked = 0;
  beats = 0;
  isAlive = true;
  /** Undefined: in native code, no answer ever. */
  usedMb: number | undefined = 20;

  readonly heartbeat = (): number => {
    if (this.isAlive) this.beats++;
    return this.beats;
  };
  readonly memoryMb = (): number => this.usedMb ?? 0;
  readonly measure = (): Promise<number> => {
    this.asked++;
    return this.usedMb === undefined ? new Promise(() => {}) : Promise.resolve(this.usedMb);
  };
  readonly blame = (usedMb: number): void => void this.blamedFor.push(usedMb);
}

/** Polls, and lets the answers arrive. */
async function polls(count = 1): Promise<void> {
  for (let at = 0; at < count; at++) {
    poll?.();
    for (let turn = 0; turn < 4; turn++) await Promise.resolve();
  }
}

beforeEach(() => {
  rssMb = 500;
  poll = undefined;
});

test('nothing is polled while no plugin runs, and nobody is asked while the process is calm', async () => {
  const memory = watch();
  expect(poll).toBeUndefined();
  const suspect = new Suspect();
  const place = memory.add(suspect);
  rssMb += 60;
  await polls(50);
  expect(suspect.asked).toBe(0);
  place.leave();
  place.gone();
  expect(poll).toBeUndefined();
});

test('the one past its limit goes, at its answer; the others stay', async () => {
  const memory = watch();
  const [innocent, spinning] = [new Suspect(), new Suspect()];
  spinning.isAlive = false;
  spinning.usedMb = 300;
  memory.add(innocent);
  memory.add(spinning);
  rssMb += 280;
  await polls();
  expect(spinning.blamedFor).toEqual([300]);
  await polls(50);
  expect(spinning.blamedFor).toEqual([300]);
  expect(innocent.blamedFor).toEqual([]);
});

test('what the kernel itself takes is blamed on nobody, and is the new calm level', async () => {
  const memory = watch();
  const [busy, idle] = [new Suspect(), new Suspect()];
  // Spinning, and silent for it; but V8 says that it holds little.
  busy.isAlive = false;
  memory.add(busy);
  memory.add(idle);
  for (let step = 0; step < 40; step++) {
    rssMb += 100;
    await polls(2);
  }
  expect([busy.blamedFor, idle.blamedFor]).toEqual([[], []]);
  const { asked } = idle;
  await polls(50);
  expect(idle.asked, 'the level is calm again').toBe(asked);
});

test('a worker in native code goes only if the process grew by more than it may use', async () => {
  const memory = watch();
  const mute = new Suspect();
  mute.isAlive = false;
  mute.usedMb = undefined;
  memory.add(mute);
  rssMb += 200;
  await polls(50);
  expect(mute.blamedFor).toEqual([]);
  rssMb += 100;
  await polls();
  expect(mute.blamedFor).toEqual([300]);
});

test('one that beats is not mute, however late its answer is', async () => {
  const memory = watch();
  const slow = new Suspect();
  slow.usedMb = undefined;
  memory.add(slow);
  rssMb += 1000;
  await polls(50);
  expect(slow.blamedFor).toEqual([]);
});

test('a worker that is gone is cleared', async () => {
  const memory = watch();
  const gone = new Suspect();
  Object.assign(gone, { measure: () => Promise.reject(new Error('ERR_WORKER_NOT_RUNNING')) });
  memory.add(gone);
  rssMb += 1000;
  await polls(50);
  expect(gone.blamedFor).toEqual([]);
});

test('one that was told to end is seen until it has, with what the process grew by since', async () => {
  const memory = watch();
  const [good, mute] = [new Suspect(), new Suspect()];
  mute.isAlive = false;
  mute.usedMb = undefined;
  memory.add(good);
  const place = memory.add(mute);
  rssMb += 300;
  await polls(20);
  expect(mute.blamedFor).toHaveLength(1);
  // It hangs in native code, which goes on taking memory; the level is called calm all the same.
  rssMb += 1000;
  await polls(20);
  expect(lastLook?.growthMb).toBe(1300);
  expect(lastLook?.workers.map(({ isEnding }) => isEnding)).toEqual([false, true]);
  expect(lastLook?.workers[1]?.silentMs).toBeGreaterThan(500);
  place.gone();
  expect(lastLook).toMatchObject({ growthMb: 0, workers: [{ isEnding: false }] });
  expect(mute.blamedFor).toHaveLength(1);
});
