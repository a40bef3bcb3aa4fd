/**
 * What a plugin may do wrong, and what must come of it. The one list: the tests run it, and
 * matrix.ts makes README's table of it.
 */

import { join } from 'node:path';

export type Tier = 'worker' | 'process';
export const TIERS: readonly Tier[] = ['worker', 'process'];

/**
 * - `restarted`: the worker ends, with one line that says why, and a second one behaves
 * - `refused`: the plugin is told no, in itself, and goes on
 * - `not started`: it never runs
 * - `bounded`: it may go on, at the pace and size it is given
 */
export type Outcome = 'restarted' | 'refused' | 'not started' | 'bounded';

export interface Fault {
  readonly name: string;
  readonly group: string;
  readonly outcome: Outcome;
  /** Code and cause of the line about it; any of them. */
  readonly code: RegExp;
  readonly reason?: RegExp;
  /** In a thread V8 may end the whole process: then the watchdog brings the kernel back. */
  readonly mayEndKernel?: boolean;
  /** Instead of culprit.ts: a file, or a text to be made into one. */
  readonly module?: string;
  readonly text?: string;
  readonly kind?: 'bgworker' | 'trigger';
  /** Of its entry in mkts.yml. */
  readonly entry?: Readonly<Record<string, unknown>>;
  /** Runs with a host whose ring can be scribbled over. */
  readonly tampered?: boolean;
  /** Part of every test run; the others with MKTS_FAULTS=all. */
  readonly always?: boolean;
}

const importing = (builtin: string): string =>
  `import * as builtin from 'node:${builtin}';
import { defineBgWorker, z } from 'mkts/sdk';
export default defineBgWorker({
  name: 'importing', version: '1.0.0', api: 1, config: z.object({}),
  async start(ctx) { ctx.log.info('has', { names: Object.keys(builtin).length }); },
});
`;

const FAILED = /MKTS_PLUGIN_FAILED/;
const STUCK = /MKTS_PLUGIN_STUCK/;
const DENIED = /MKTS_CAPABILITY_DENIED|absent/;
const NOTHING = /^$/;

function group(
  name: string,
  faults: readonly (Omit<Fault, 'group' | 'outcome' | 'code'> & Partial<Fault>)[],
  common: Pick<Fault, 'outcome' | 'code'> & Partial<Fault>,
): readonly Fault[] {
  return faults.map((fault) => ({ group: name, ...common, ...fault }));
}

export const FAULTS: readonly Fault[] = [
  ...group(
    'errors',
    [
      {
        name: 'throws at import',
        text: "throw new Error('boom at import');\n",
        reason: /boom at import/,
        always: true,
      },
      { name: 'throws in start', reason: /^boom$/ },
      {
        name: 'throws in fire',
        module: join(import.meta.dirname, 'culprit-trigger.ts'),
        kind: 'trigger',
        outcome: 'bounded',
        code: NOTHING,
        always: true,
      },
      { name: 'throws in a timer', reason: /boom/, always: true },
      { name: 'rejects unheard', reason: /boom/, always: true },
      { name: 'overflows the stack', reason: /call stack/ },
      { name: 'process.exit', code: /MKTS_PLUGIN_EXIT/, reason: /exit code 3/ },
    ],
    { outcome: 'restarted', code: FAILED },
  ),
  ...group(
    'time',
    [
      { name: 'loops for ever', always: true },
      { name: 'storms with microtasks' },
      { name: 'matches a regex bomb' },
      { name: 'computes for 10 s' },
      { name: 'sorts in native code for ever', code: /MKTS_PLUGIN_(STUCK|MEMORY)/ },
      { name: 'Atomics.wait', outcome: 'refused', code: DENIED },
    ],
    { outcome: 'restarted', code: STUCK },
  ),
  ...group(
    'memory',
    [
      { name: 'leaks small objects slowly' },
      { name: 'leaks small objects in a loop', always: true },
      { name: 'grows a Map', mayEndKernel: true, always: true },
      { name: 'grows a Set', mayEndKernel: true },
      { name: 'grows an object', mayEndKernel: true },
      { name: 'fills arrays', mayEndKernel: true },
      { name: 'joins a long text', mayEndKernel: true },
      { name: 'flattens a doubling text', mayEndKernel: true },
      { name: 'leaks buffers slowly' },
      { name: 'leaks buffers in a loop', always: true },
      { name: 'leaks shared buffers', outcome: 'refused', code: DENIED },
      { name: 'leaks WebAssembly memory', outcome: 'refused', code: DENIED },
    ],
    { outcome: 'restarted', code: /MKTS_PLUGIN_(MEMORY|EXIT|FAILED|STUCK)/ },
  ),
  ...group(
    'capabilities',
    [
      { name: 'process.abort' },
      { name: 'process.kill', always: true },
      { name: 'handles signals' },
      { name: 'process.binding' },
      { name: 'loads an addon' },
      { name: 'require fs' },
      { name: 'imports fs at run time', always: true },
      { name: 'makes code of text' },
      { name: 'fetch past the broker' },
      { name: 'opens a channel' },
      { name: 'fetches a host it was not granted', code: /MKTS_NET_DENIED/ },
      { name: 'opens a socket it was not granted', code: /MKTS_NET_DENIED/ },
      { name: 'reads the environment' },
    ],
    { outcome: 'refused', code: DENIED },
  ),
  ...group(
    'imports',
    ['fs', 'child_process', 'net', 'dns', 'inspector', 'worker_threads', 'process', 'v8'].map(
      (builtin) => ({
        name: `imports ${builtin}`,
        text: importing(builtin),
        always: builtin === 'fs',
      }),
    ),
    { outcome: 'not started', code: /MKTS_PLUGIN_IMPORT/ },
  ),
  ...group(
    'floods',
    [
      { name: 'floods the log', always: true },
      { name: 'floods stdout' },
      { name: 'floods with rows' },
      { name: 'floods with rows and does not wait' },
      { name: 'floods with questions', always: true },
      { name: 'sends rows that do not fit' },
      {
        name: 'writes for ever',
        entry: { resources: { records_per_second: 100 } },
      },
      { name: 'never writes', entry: { freshness: { max_age: '1s' } } },
      { name: 'changes prototypes' },
      { name: 'says its secrets' },
    ],
    { outcome: 'bounded', code: NOTHING },
  ),
  ...group(
    'the ring',
    [
      { name: 'hands over a wild length', always: true },
      { name: 'hands over a wild cursor' },
      { name: 'hands over random bytes' },
      { name: 'names a series it never opened' },
    ],
    { outcome: 'restarted', code: /MKTS_(RING|FRAME)_INVALID|MKTS_PLUGIN/, tampered: true },
  ),
];
