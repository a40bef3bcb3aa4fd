/**
 * Runs one fault on a real server in a process of its own: two feeders that behave, clients that
 * query, and the culprit, which begins when it is told to. What is promised of every fault is
 * checked here; what was measured is returned.
 *
 *   start ─▶ quiet phase ─▶ GO ─▶ the fault, until its end is seen ─▶ all rows counted ─▶ stop
 */

import assert from 'node:assert/strict';
import { cpSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type AnsweredBucket, queryServer } from '../../kernel/cli/rpc-client.ts';
import { writeRows } from '../support/rpc-write.ts';
import { type LogLine, ServerProcess } from '../support/server-process.ts';
import type { Fault, Outcome, Tier } from './faults.ts';

const PROJECT = resolve(import.meta.dirname, '../..');
const CULPRIT = join(import.meta.dirname, 'culprit.ts');
const HEALTHY = join(import.meta.dirname, 'healthy-feeder.ts');
const CULPRIT_KEY = 'CULPRIT/1Min/MARK';
const KEYS = ['FEED/1Min/COUNT', 'FEED/1Sec/TICK'] as const;
/** The word for the culprit to begin. */
const GO = [
  { name: 'Epoch', type: 'i8', data: BigInt64Array.of(1_609_459_200n) },
  { name: 'Value', type: 'i8', data: BigInt64Array.of(1n) },
];
const LAST_ROWS = 10;

export interface FaultRun {
  /** How long everybody is watched before the fault, and at least during it. */
  readonly quietMs: number;
  readonly faultMs: number;
  /** Clients that query without a pause. */
  readonly clients: number;
}

export interface Observation {
  readonly fault: string;
  readonly tier: Tier;
  /** The kernel went down with it and was back after this long; undefined: it did not notice. */
  readonly kernelBackMs: number | undefined;
  /** From the beginning of the fault until the culprit was ended, or told no. */
  readonly endedMs: number | undefined;
  /** … and until it worked again. */
  readonly recoveredMs: number | undefined;
  /** The one line about it. */
  readonly code: string;
  readonly quiet: Latencies;
  readonly during: Latencies;
}

/** Milliseconds. */
export interface Latencies {
  readonly queryP99: number;
  readonly commitP99: number;
}

/** Throws what a test throws, if a promise is broken. */
export async function runFault(
  fault: Fault,
  tier: Tier,
  directory: string,
  { quietMs, faultMs, clients }: FaultRun,
): Promise<Observation> {
  const port = await freePort();
  const server = await startServer(fault, tier, directory, port);
  try {
    return await observe();
  } finally {
    await server.kill();
  }

  async function observe(): Promise<Observation> {
    const isLoaded = fault.module === undefined && fault.text === undefined;
    await server.until(() => KEYS.every((key) => committed(server, key) > 0) || undefined);
    if (isLoaded) await server.line((line) => isCulprits(line) && line.msg === 'waits');
    const quiet = await load(server, clients, () => sleep(quietMs));

    const told = server.lines.length;
    const toldMs = performance.now();
    const before = KEYS.map((key) => committed(server, key));
    let end: End = { code: '', endedMs: undefined, recoveredMs: undefined };
    const during = await load(server, clients, async () => {
      await writeRows(server.url, 'GO/1Min/MARK', GO);
      end = await ending(server, fault, toldMs);
      const leftMs = toldMs + faultMs - performance.now();
      await sleep(Math.max(0, leftMs));
      await server.until(
        () => KEYS.every((key, at) => committed(server, key) > (before[at] ?? 0) + 11) || undefined,
      );
    });
    const restarts = server.lines.filter(({ address }) => typeof address === 'string').length - 1;
    assert(
      restarts <= (fault.mayEndKernel === true && tier === 'worker' ? 1 : 0),
      'the kernel ends only where V8 may end it',
    );

    await checkStates(server, fault, restarts);
    if (isLoaded && fault.tampered !== true) {
      const [mark] = await queryServer(server.url, { destination: CULPRIT_KEY });
      assert.equal(valuesOf(mark)[0], 42, 'what it handed over before');
    }
    for (const key of KEYS) {
      const promised = committed(server, key);
      const [bucket] = await queryServer(server.url, { destination: key });
      const values = valuesOf(bucket);
      assert(values.length >= promised, `${key}: nothing promised is missing`);
      assert.deepEqual(
        values,
        values.map((_, at) => at),
        `${key}: each row once`,
      );
    }
    const about = server.lines
      .slice(told)
      .filter((line) => isCulprits(line) && line.msg.startsWith('plugin crashed'));
    if (fault.outcome === 'restarted' && restarts === 0 && fault.text === undefined)
      assert.equal(about.length, 1, 'one line about it');
    return {
      fault: fault.name,
      tier,
      kernelBackMs: restarts === 0 ? undefined : (end.recoveredMs ?? Number.NaN),
      ...end,
      quiet,
      during,
    };
  }
}

interface End {
  readonly code: string;
  readonly endedMs: number | undefined;
  readonly recoveredMs: number | undefined;
}

async function ending(server: ServerProcess, fault: Fault, sinceMs: number): Promise<End> {
  const found = await server.until(() => {
    const line = server.lines.find((each) => isCulprits(each) && isEnd(fault.outcome, each));
    if (line !== undefined) return { line, kernel: false };
    if (fault.mayEndKernel !== true) return undefined;
    const isBack = server.lines.filter(({ address }) => typeof address === 'string').length > 1;
    return isBack ? { line: undefined, kernel: true } : undefined;
  });
  const endedMs = performance.now() - sinceMs;
  const { line } = found;
  const code = String(line?.code ?? (found.kernel ? 'MKTS_KERNEL_DIED' : ''));
  if (line !== undefined && fault.outcome !== 'bounded') {
    assert.match(code, fault.code);
    if (fault.reason !== undefined) assert.match(String(line.reason), fault.reason);
  }
  if (found.kernel || fault.outcome === 'not started' || fault.text !== undefined)
    return { code, endedMs, recoveredMs: found.kernel ? endedMs : undefined };
  if (fault.outcome === 'restarted')
    await server.line((each) => isCulprits(each) && each.msg === 'behaves');
  return { code, endedMs, recoveredMs: performance.now() - sinceMs };
}

/** The line by which the end of the fault is known. */
function isEnd(outcome: Outcome, { msg }: LogLine): boolean {
  switch (outcome) {
    case 'restarted':
      return msg.includes('will be restarted');
    case 'refused':
      return msg === 'refused';
    case 'not started':
      return msg === 'plugin cannot be started';
    case 'bounded':
      return ['behaves', 'begins'].includes(msg);
  }
}

/** `/metrics` says of each plugin what is so. */
async function checkStates(server: ServerProcess, fault: Fault, restarts: number): Promise<void> {
  const text = await (await fetch(`${server.url}/metrics`)).text();
  const states = new Map(
    [...text.matchAll(/^mkts_plugin_state\{([^}]*)\} 1$/gm)].map(([, labels = '']) => [
      /plugin="([^"]+)"/.exec(labels)?.[1] ?? '',
      /state="([^"]+)"/.exec(labels)?.[1] ?? '',
    ]),
  );
  for (const at of KEYS.keys()) assert.equal(states.get(`healthy-${at}`), 'running');
  const expected: Readonly<Record<Outcome, RegExp>> = {
    restarted:
      restarts > 0 ? /./ : fault.text === undefined ? /running/ : /starting|running|backoff/,
    refused: /running/,
    'not started': /failed|quarantined/,
    bounded: /running|degraded/,
  };
  assert.match(states.get('culprit') ?? '', expected[fault.outcome]);
}

/** Clients that query while `phase` lasts, and the feeders' promises in that time. */
async function load(
  server: ServerProcess,
  clientCount: number,
  phase: () => Promise<unknown>,
): Promise<Latencies> {
  const from = server.lines.length;
  const queriesMs: number[] = [];
  let isOver = false;
  const ask = async (key: string): Promise<void> => {
    while (!isOver) {
      const promised = committed(server, key);
      const askedMs = performance.now();
      const answer = await queryServer(server.url, { destination: key, limit: LAST_ROWS }).catch(
        () => undefined,
      );
      // The kernel is away: whoever may be is checked by its restarts.
      if (answer === undefined) await sleep(5);
      else {
        queriesMs.push(performance.now() - askedMs);
        const values = valuesOf(answer[0]);
        assert((values.at(-1) ?? 0) + 1 >= promised, 'what was promised is there');
      }
    }
  };
  const clients = Promise.all(
    Array.from({ length: clientCount }, (_, client) => ask(KEYS[client % KEYS.length] ?? KEYS[0])),
  );
  try {
    await Promise.race([phase(), clients.then(() => phase)]);
  } finally {
    isOver = true;
  }
  await clients;
  const commitsMs = server.lines
    .slice(from)
    .filter(({ msg }) => msg === 'committed')
    .map(({ ms }) => Number(ms));
  return { queryP99: quantile(queriesMs, 0.99), commitP99: quantile(commitsMs, 0.99) };
}

function quantile(values: readonly number[], part: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(part * sorted.length))] ?? Number.NaN;
}

/** Rows of a feeder the kernel has promised to be on disk, as far as the log tells. */
function committed(server: ServerProcess, key: string): number {
  const line = server.lines.findLast((each) => each.msg === 'committed' && each.key === key);
  return Number(line?.rows ?? 0);
}

function valuesOf(bucket: AnsweredBucket | undefined): number[] {
  return Array.from(bucket?.columns.find(({ name }) => name === 'Value')?.data ?? [], Number);
}

function isCulprits({ plugin }: LogLine): boolean {
  return plugin === 'culprit';
}

async function startServer(
  fault: Fault,
  tier: Tier,
  directory: string,
  port: number,
): Promise<ServerProcess> {
  const feeders = KEYS.map((key, at) => ({
    module: HEALTHY,
    name: `healthy-${at}`,
    config: { key, variable: key.includes('TICK') },
  }));
  let module = fault.module ?? CULPRIT;
  if (fault.text !== undefined) {
    module = join(directory, 'culprit.ts');
    writeFileSync(module, fault.text);
  }
  const isConfigured = fault.module === undefined && fault.text === undefined;
  const culprit = {
    module,
    name: 'culprit',
    isolation: tier,
    config: isConfigured ? { key: CULPRIT_KEY, fault: fault.name } : {},
    ...fault.entry,
    ...(fault.kind === 'trigger' ? { on: ['GO/*/*', 'FEED/*/*'] } : {}),
  };
  const path = join(directory, 'mkts.yml');
  writeFileSync(
    path,
    JSON.stringify({
      root_directory: join(directory, 'data'),
      listen_port: port,
      log_format: 'json',
      checkpoint_interval: '500ms',
      bgworkers: fault.kind === 'trigger' ? feeders : [...feeders, culprit],
      triggers: fault.kind === 'trigger' ? [culprit] : [],
    }),
  );
  const source = fault.tampered === true ? tamperedSource(join(directory, 'source')) : PROJECT;
  const command = [process.execPath, join(source, 'kernel/main.ts'), 'start', '--config', path];
  return ServerProcess.run(directory, command);
}

/** A copy of the product whose plugin host hands over whatever the plugin's global `scribble` says. */
function tamperedSource(directory: string): string {
  for (const part of ['kernel', 'workers', 'plugins', 'config', 'package.json'])
    cpSync(join(PROJECT, part), join(directory, part), { recursive: true });
  symlinkSync(join(PROJECT, 'node_modules'), join(directory, 'node_modules'));
  const ring = join(directory, 'workers/ring.ts');
  const text = readFileSync(ring, 'utf8');
  const head = '  commit(rowCount = 0): void {\n';
  assert(text.includes(head), 'the ring has a place for the scribble');
  writeFileSync(ring, text.replace(head, `${head}${SCRIBBLE}`));
  return directory;
}

const SCRIBBLE = `
    const { view, bytes, offset } = this.#target;
    switch (Reflect.get(globalThis, 'scribble')) {
      case 'length':
        view.setUint32(offset, 0x7fff_fff0, true);
        break;
      case 'series':
        view.setUint32(offset + 8, 9_999, true);
        break;
      case 'bytes':
        for (let at = 0; at < this.#reserved; at++) bytes[offset + at] = Math.random() * 256;
        break;
      case 'cursor':
        Atomics.store(this.#control, WRITTEN, (this.#written + 123_456_789) | 0);
        this.#onCommit();
        return;
    }
`;

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const address = server.address();
  await new Promise((done) => server.close(done));
  if (address === null || typeof address === 'string') throw new Error('a port is a number');
  return address.port;
}
