import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { PluginError } from '../../../../kernel/base/errors.ts';
import { FLIGHT_SAMPLES_MAX, FLIGHTS_PER_PLUGIN_MAX } from '../../../../kernel/base/limits.ts';
import type { FlightRecording } from '../../../../kernel/base/plugin-report.ts';
import { createLog } from '../../../../kernel/log.ts';
import { flightFileName, parseFlightFileName } from '../../../../kernel/storage/file-names.ts';
import { FlightRecorder, type PluginLook } from '../../../../kernel/supervisor/flight-recorder.ts';
import { PluginJournal } from '../../../../kernel/supervisor/plugin-journal.ts';
import { temporaryDirectory } from '../../../support/temporary-directory.ts';

const LOOK: PluginLook = {
  plugin: 'a',
  state: 'running',
  generation: 1,
  memoryMb: 20,
  cpuMs: 0,
  ringUsedBytes: 8,
  ringHighWaterBytes: 64,
  rejectedFrames: 0,
  rowCount: 0,
};

function recorderOf(root: string = temporaryDirectory()): {
  readonly root: string;
  readonly recorder: FlightRecorder;
  readonly journal: PluginJournal;
  readonly lines: string[];
  readonly clock: { nowMs: number };
  looks: readonly PluginLook[];
} {
  const lines: string[] = [];
  const log = createLog({
    level: 'debug',
    format: 'json',
    stream: 'stdout',
    write: (line) => lines.push(line),
  });
  const clock = { nowMs: Date.UTC(2026, 0, 1, 12) };
  const now = (): number => clock.nowMs;
  const journal = new PluginJournal({ log, now });
  const parts = { root, journal, lines, clock, looks: [LOOK] as readonly PluginLook[] };
  const recorder = new FlightRecorder({
    root,
    journal,
    look: () => parts.looks,
    report: () => undefined,
    log: journal.log,
    now,
  });
  return Object.assign(parts, { recorder });
}

test('a sample is what changed since the one before, by the second', () => {
  const parts = recorderOf();
  const { recorder, clock, journal } = parts;
  recorder.sample();
  expect(recorder.latest('a')).toBeUndefined();
  expect(recorder.lastRowAt('a')).toBeUndefined();
  clock.nowMs += 2000;
  journal.log.info({ plugin: 'a' }, 'one');
  parts.looks = [{ ...LOOK, rowCount: 500, cpuMs: 400 }];
  recorder.sample();
  expect(recorder.latest('a')).toMatchObject({
    time: '2026-01-01T12:00:02.000Z',
    rowsPerSecond: 250,
    logLinesPerSecond: 0.5,
    cpuPercent: 20,
    memoryMb: 20,
  });
  expect(recorder.lastRowAt('a')).toBe('2026-01-01T12:00:02.000Z');
  clock.nowMs += 1000;
  parts.looks = [{ ...LOOK, rowCount: 500, generation: 2, cpuMs: 5 }];
  recorder.sample();
  expect(recorder.latest('a')).toMatchObject({ rowsPerSecond: 0, generation: 2 });
  expect(recorder.latest('a')?.cpuPercent).toBeUndefined();
  expect(recorder.lastRowAt('a')).toBe('2026-01-01T12:00:02.000Z');
});

test('a minute is kept, and nothing of a plugin that is gone', async () => {
  const parts = recorderOf();
  for (let at = 0; at < FLIGHT_SAMPLES_MAX + 20; at++) {
    parts.clock.nowMs += 1000;
    parts.recorder.sample();
  }
  const { file } = await parts.recorder.record('a', 'why');
  const recording = JSON.parse(await parts.recorder.read('a', file)) as FlightRecording;
  expect(recording.samples).toHaveLength(FLIGHT_SAMPLES_MAX);
  parts.looks = [];
  parts.recorder.sample();
  expect(parts.recorder.latest('a')).toBeUndefined();
});

test('a recording holds states, samples and lines; the newest few are kept', async () => {
  const { recorder, journal, clock, root } = recorderOf();
  journal.entered('a', { kind: 'starting' }, 1);
  recorder.sample();
  journal.log.debug({ plugin: 'a' }, 'detail');
  const names: string[] = [];
  for (let at = 0; at < FLIGHTS_PER_PLUGIN_MAX + 2; at++) {
    clock.nowMs += 1000;
    names.push((await recorder.record('a', 'why', 'MKTS_PLUGIN_STUCK')).file);
  }
  await recorder.record('a-b', 'another’s');
  const kept = await recorder.recordings('a');
  expect(kept.map(({ file }) => file)).toEqual(names.slice(-FLIGHTS_PER_PLUGIN_MAX));
  const recording = JSON.parse(await recorder.read('a', names.at(-1) ?? '')) as FlightRecording;
  expect(recording).toMatchObject({
    format: 1,
    plugin: 'a',
    why: 'why',
    code: 'MKTS_PLUGIN_STUCK',
    states: [{ state: 'starting' }],
    lines: [{ message: 'detail' }],
  });
  expect(readdirSync(root).filter((name) => name.endsWith('.new'))).toEqual([]);
});

test('only recordings of that plugin can be read', async () => {
  const { recorder, root } = recorderOf();
  writeFileSync(join(root, 'mkts.lock'), 'x');
  const { file } = await recorder.record('a', 'why');
  for (const name of ['mkts.lock', '../mkts.lock', `../${file}`, file.replace('-a-', '-b-')])
    await expect(recorder.read('a', name)).rejects.toMatchObject({
      code: 'MKTS_RECORDING_UNKNOWN',
    });
  await expect(recorder.read('b', file)).rejects.toMatchObject({ code: 'MKTS_RECORDING_UNKNOWN' });
});

test('a recording that cannot be written is told, and nothing else happens', async () => {
  const root = join(temporaryDirectory(), 'gone');
  const { recorder, journal, lines } = recorderOf(root);
  journal.entered('a', { kind: 'starting' }, 1);
  recorder.outOfService('a', undefined);
  await recorder.stop();
  await expect.poll(() => lines.join('\n')).toContain('a flight recording cannot be written');
  mkdirSync(root);
});

test('a plugin that never started here is not recorded', async () => {
  const { recorder, journal, root } = recorderOf();
  const cause = new PluginError('MKTS_PLUGIN_QUARANTINED', { plugin: 'a', reason: 'from before' });
  journal.entered('a', { kind: 'quarantined', cause }, 0);
  recorder.outOfService('a', undefined);
  await recorder.stop();
  expect(readdirSync(root)).toEqual([]);
});

test('the name of a recording says whose it is and when, and nothing else passes for one', () => {
  const name = flightFileName('my-plugin-20260101T000000000Z', Date.UTC(2026, 6, 4, 3, 12, 7, 89));
  expect(parseFlightFileName(name)).toEqual({
    plugin: 'my-plugin-20260101T000000000Z',
    time: '2026-07-04T03:12:07.089Z',
  });
  for (const other of ['mkts.lock', 'mkts-flight-a.json', 'mkts-flight--20260101T000000000Z.json'])
    expect(parseFlightFileName(other)).toBeUndefined();
});
