/** Who is held to have killed the kernel: records and ends are handed in. */

import { describe, expect, test } from 'vitest';
import type { BlackBoxRecord } from '../../../../kernel/black-box.ts';
import { blame } from '../../../../kernel/cli/blame.ts';
import type { WorkerLook } from '../../../../kernel/supervisor/process-memory-watch.ts';

const ABORTED = { code: null, signal: 'SIGABRT' } as const;
const KILLED = { code: null, signal: 'SIGKILL' } as const;
const HOUR_MS = 3_600_000;

function worker(plugin: string, seen: Partial<WorkerLook> = {}): WorkerLook {
  return {
    plugin,
    ageMs: HOUR_MS,
    usedMb: 20,
    limitMb: 256,
    silentMs: 0,
    unansweredMs: 0,
    isEnding: false,
    ...seen,
  };
}

function record(workers: readonly WorkerLook[], growthMb: number = 0): BlackBoxRecord {
  return { rssMb: 200 + growthMb, growthMb, kernelHeapPart: 0.1, workers };
}

describe('an abort is held against', () => {
  test('who held more than it may', () => {
    const seen = record([worker('a'), worker('b', { usedMb: 812 })], 900);
    expect(blame(ABORTED, seen, 0)).toEqual({
      plugin: 'b',
      evidence: 'it held 812 MB of the 256 MB it may use',
    });
  });

  test('who was silent while the process grew, even if it was told to end already', () => {
    const silent = worker('b', { silentMs: 50, unansweredMs: 350, isEnding: true });
    expect(blame(ABORTED, record([worker('a'), silent], 1700), 0)).toEqual({
      plugin: 'b',
      evidence: 'it had not answered for 350 ms while the process grew by 1700 MB',
    });
  });

  test('who had taken most of the growth, within its limit', () => {
    const seen = record([worker('a'), worker('b', { usedMb: 200 })], 220);
    expect(blame(ABORTED, seen, 0)?.plugin).toBe('b');
  });

  test('the only one that was silent', () => {
    const seen = record([worker('a'), worker('b', { silentMs: 400 })]);
    expect(blame(ABORTED, seen, 0)?.plugin).toBe('b');
  });

  test('the only one that is new', () => {
    const seen = record([worker('a'), worker('b', { ageMs: 2000 })]);
    expect(blame(ABORTED, seen, 1500)).toEqual({
      plugin: 'b',
      evidence: 'it was the only one started in the last minute, 3.5 s before',
    });
    expect(blame({ code: null, signal: 'SIGSEGV' }, seen, 0)?.plugin).toBe('b');
  });
});

describe('nobody is blamed', () => {
  test('without a word from the kernel, or without plugins', () => {
    expect(blame(ABORTED, undefined, 0)).toBeUndefined();
    expect(blame(ABORTED, record([]), 0)).toBeUndefined();
  });

  test('when several are new, or several silent, or the new one is not new any more', () => {
    const young = { ageMs: 2000 };
    expect(blame(ABORTED, record([worker('a', young), worker('b', young)]), 0)).toBeUndefined();
    const mute = { silentMs: 900 };
    expect(blame(ABORTED, record([worker('a', mute), worker('b', mute)]), 0)).toBeUndefined();
    expect(blame(ABORTED, record([worker('a', young)]), HOUR_MS)).toBeUndefined();
  });

  test('when the kernel grew and the plugins answered', () => {
    expect(blame(ABORTED, record([worker('a'), worker('b')], 3000), 0)).toBeUndefined();
  });

  test('when the heap of the kernel itself was full', () => {
    const seen = { ...record([worker('a', { ageMs: 10 })]), kernelHeapPart: 0.97 };
    expect(blame(ABORTED, seen, 0)).toBeUndefined();
  });

  test('by a SIGKILL of an operator, which needs no reason', () => {
    const seen = record([worker('a', { ageMs: 10, silentMs: 5000 })], 100);
    expect(blame(KILLED, seen, 0)).toBeUndefined();
  });

  test('when the process decided to end', () => {
    const seen = record([worker('a', { usedMb: 900 })], 2000);
    expect(blame({ code: 1, signal: null }, seen, 0)).toBeUndefined();
  });
});

test('a SIGKILL after growth is the system’s, and somebody’s', () => {
  const seen = record([worker('a', { usedMb: 9000 })], 9000);
  expect(blame(KILLED, seen, 0)?.plugin).toBe('a');
});
