/**
 * A real server, two feeders that behave, eight clients that query, and one plugin that does not
 * behave. While it does its worst the others go on as if it were not there; it comes back by itself
 * where the policy says so; and the server stops in good order.
 *
 * No test measures time: the bound on an answer is only there to catch a kernel that stood still.
 */

import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { type AnsweredBucket, queryServer } from '../../kernel/cli/rpc-client.ts';
import { type LogLine, ServerProcess } from '../support/server-process.ts';
import { temporaryDirectory } from '../support/temporary-directory.ts';

const FEEDER = join(import.meta.dirname, '../crash/counting-feeder.ts');
const FAULTY = join(import.meta.dirname, 'faulty/faulty-plugin.ts');
const CULPRIT_KEY = 'CULPRIT/1Min/MARK';
const KEYS = ['FEED/1Min/COUNT', 'FEED/1Sec/TICK'] as const;
const CLIENTS = 8;
const LAST_ROWS = 10;
/** Rows each healthy feeder must commit between the fault and the end. */
const ROWS_DURING_FAULT = 220;
const ANSWER_MS_MAX = 5_000;

interface Case {
  readonly fault: string;
  /** Code and cause of the one line about its end; undefined: it is not ended. */
  readonly ends?: { readonly code: string; readonly reason: RegExp };
  readonly module?: string;
}

const CASES: readonly Case[] = [
  { fault: 'throws in start', ends: { code: 'MKTS_PLUGIN_FAILED', reason: /^boom$/ } },
  { fault: 'throws in a timer', ends: { code: 'MKTS_PLUGIN_FAILED', reason: /boom/ } },
  { fault: 'rejects unheard', ends: { code: 'MKTS_PLUGIN_FAILED', reason: /boom/ } },
  { fault: 'loops for ever', ends: { code: 'MKTS_PLUGIN_STUCK', reason: /not answered for/ } },
  {
    fault: 'storms with microtasks',
    ends: { code: 'MKTS_PLUGIN_STUCK', reason: /not answered for/ },
  },
  { fault: 'exits', ends: { code: 'MKTS_PLUGIN_EXIT', reason: /exit code 3/ } },
  { fault: 'leaks small objects', ends: { code: 'MKTS_PLUGIN_MEMORY', reason: /of the 256 MB/ } },
  {
    fault: 'leaks buffers in a loop',
    ends: { code: 'MKTS_PLUGIN_MEMORY', reason: /of the 256 MB/ },
  },
  {
    fault: 'leaks small objects in a loop',
    ends: { code: 'MKTS_PLUGIN_MEMORY', reason: /of the 256 MB/ },
  },
  {
    fault: 'recurses without end',
    ends: { code: 'MKTS_PLUGIN_FAILED', reason: /call stack/ },
  },
  {
    fault: 'throws at import',
    module: join(import.meta.dirname, 'faulty/throws-at-import.ts'),
    ends: { code: 'MKTS_PLUGIN_FAILED', reason: /boom at import/ },
  },
  { fault: 'floods the log' },
  { fault: 'floods with rows' },
  { fault: 'floods with questions' },
];

/** Rows of a feeder the kernel has promised to be on disk, as far as the log tells. */
function committed(server: ServerProcess, key: string): number {
  const line = server.lines.findLast((each) => each.msg === 'committed' && each.key === key);
  return Number(line?.rows ?? 0);
}

function valuesOf(bucket: AnsweredBucket | undefined): number[] {
  return Array.from(bucket?.columns.find(({ name }) => name === 'Value')?.data ?? [], Number);
}

function consecutive(first: number, count: number): number[] {
  return Array.from({ length: count }, (_, at) => first + at);
}

interface Load {
  readonly answers: number;
  readonly worstMs: number;
}

/** Asks until `isOver`; each answer is the newest rows, without a gap, with all that was promised. */
async function keepAsking(
  server: ServerProcess,
  key: string,
  isOver: () => boolean,
): Promise<Load> {
  let answers = 0;
  let worstMs = 0;
  do {
    const promised = committed(server, key);
    const askedMs = performance.now();
    const [bucket] = await queryServer(server.url, { destination: key, limit: LAST_ROWS });
    worstMs = Math.max(worstMs, performance.now() - askedMs);
    answers++;
    const values = valuesOf(bucket);
    expect(values).toEqual(consecutive(values[0] ?? Number.NaN, LAST_ROWS));
    expect((values.at(-1) ?? 0) + 1, 'what was promised is there').toBeGreaterThanOrEqual(promised);
  } while (!isOver());
  return { answers, worstMs };
}

/** State and generation of each plugin, as /metrics has them. */
async function pluginStates(
  url: string,
): Promise<Map<string, { readonly state: string; readonly generation: number }>> {
  const text = await (await fetch(`${url}/metrics`)).text();
  const generations = new Map(
    [...text.matchAll(/^mkts_plugin_generation\{plugin="([^"]+)"\} (\d+)$/gm)].map(
      ([, name = '', count]) => [name, Number(count)],
    ),
  );
  const states = text.matchAll(/^mkts_plugin_state\{plugin="([^"]+)",state="([^"]+)"\} 1$/gm);
  return new Map(
    [...states].map(([, name = '', state = '']) => [
      name,
      { state, generation: generations.get(name) ?? 0 },
    ]),
  );
}

function isCulprits({ plugin }: LogLine): boolean {
  return plugin === 'culprit';
}

describe('a plugin that misbehaves hurts itself only', () => {
  test.for(CASES)('it $fault', async ({ fault, ends, module }, { annotate }) => {
    const directory = temporaryDirectory();
    const feeders = KEYS.map((key, at) => ({
      module: FEEDER,
      name: `healthy-${at}`,
      config: { key, variable: key.includes('TICK') },
    }));
    const culprit = {
      module: module ?? FAULTY,
      name: 'culprit',
      config: module === undefined ? { key: CULPRIT_KEY, fault } : {},
    };
    const server = await ServerProcess.start(directory, {
      root_directory: join(directory, 'data'),
      checkpoint_interval: '500ms',
      bgworkers: [...feeders, culprit],
    });
    onTestFinished(() => server.kill());
    const { pid } = server;
    await server.until(() => KEYS.every((key) => committed(server, key) > 0) || undefined);
    let isOver = false;
    const loads = Promise.all(
      Array.from({ length: CLIENTS }, (_, client) =>
        keepAsking(server, KEYS[client % KEYS.length] ?? KEYS[0], () => isOver),
      ),
    );
    const before = KEYS.map((key) => committed(server, key));

    // The fault, and its end: by itself, or by the kernel and then a second worker.
    if (ends !== undefined)
      await server.line((line) => isCulprits(line) && line.msg.includes('will be restarted'));
    if (module === undefined)
      await server.line((line) => isCulprits(line) && line.msg === 'behaves');
    else await server.line((line) => isCulprits(line) && line.generation === 2);
    await server.until(
      () =>
        KEYS.every((key, at) => committed(server, key) >= (before[at] ?? 0) + ROWS_DURING_FAULT) ||
        undefined,
    );
    isOver = true;
    const asked = await loads;
    const worstMs = Math.max(...asked.map((load) => load.worstMs));
    const answers = asked.reduce((sum, load) => sum + load.answers, 0);
    await annotate(`${answers} answers, the slowest after ${Math.round(worstMs)} ms`);
    expect(worstMs).toBeLessThan(ANSWER_MS_MAX);

    expect(server.pid).toBe(pid);
    const states = await pluginStates(server.url);
    for (const { name } of feeders)
      expect(states.get(name)).toEqual({ state: 'running', generation: 1 });
    const ended = server.lines.filter(
      (line) => isCulprits(line) && line.msg.startsWith('plugin crashed'),
    );
    if (ends === undefined) {
      expect(states.get('culprit')).toEqual({ state: 'running', generation: 1 });
      expect(ended).toEqual([]);
    } else {
      if (module === undefined) {
        expect(states.get('culprit')).toEqual({ state: 'running', generation: 2 });
        expect(ended).toHaveLength(1);
      } else {
        // It will crash for ever, at growing distances.
        expect(states.get('culprit')?.generation).toBeGreaterThanOrEqual(2);
        expect(states.get('culprit')?.state).toMatch(/^(starting|running|backoff)$/);
      }
      expect(ended[0]).toMatchObject({
        level: 'warn',
        code: ends.code,
        reason: expect.stringMatching(ends.reason),
        generation: 1,
      });
    }
    if (module === undefined) {
      // Handed over by the worker that then died.
      const [mark] = await queryServer(server.url, { destination: CULPRIT_KEY });
      expect(valuesOf(mark)).toEqual([42]);
    }
    for (const key of KEYS) {
      const promised = committed(server, key);
      const [bucket] = await queryServer(server.url, { destination: key });
      const values = valuesOf(bucket);
      expect(values.length).toBeGreaterThanOrEqual(promised);
      expect(values, `${key}: each row once, none missing`).toEqual(consecutive(0, values.length));
    }
    expect(await server.stop(), server.stderr).toBe(0);
    expect(server.stderr).toBe('');
    expect(server.lines.filter(({ level }) => level === 'error' || level === 'fatal')).toEqual([]);
  });

  test('log lines above the limit are dropped, and it is told how many', async () => {
    const directory = temporaryDirectory();
    const server = await ServerProcess.start(directory, {
      root_directory: join(directory, 'data'),
      bgworkers: [
        { module: FAULTY, name: 'culprit', config: { key: CULPRIT_KEY, fault: 'floods the log' } },
      ],
    });
    onTestFinished(() => server.kill());
    await server.line(({ msg }) => msg === 'log lines of a plugin were dropped');
    await server.line(({ msg }) => msg === 'behaves');
    const noise = server.lines.filter(({ msg }) => msg === 'noise').length;
    expect(noise).toBeGreaterThan(0);
    expect(noise).toBeLessThan(30_000);
    expect(await server.stop()).toBe(0);
  });
});
