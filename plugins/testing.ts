/**
 * For tests of plugins: `import { FakeKernel, assert, readTape, test } from 'mkts/testing'`.
 *
 * `mkts plugin test` runs them; any other runner does too. `test` and `assert` are Node's own, typed
 * here so that an editor needs no package but mkts.
 */

import nodeAssert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test as nodeTest } from 'node:test';
import { fileURLToPath } from 'node:url';
import { ConfigError, reasonOf } from '../kernel/base/errors.ts';
import { parseTape, type Tape } from '../kernel/base/tape.ts';

export type { Tape, TapeEntry } from '../kernel/base/tape.ts';
export { parseTape } from '../kernel/base/tape.ts';
export { FakeClock, settled } from './testing/fake-clock.ts';
export {
  type FakeAnswer,
  type FakeFetch,
  FakeKernel,
  type FakeKernelOptions,
  type LogLine,
  type Run,
  type RunOptions,
} from './testing/fake-kernel.ts';
export { FakeSocket } from './testing/fake-socket.ts';
export type { Row } from './testing/fake-store.ts';

/** Reads a tape: `readTape(new URL('./tape.jsonl', import.meta.url))`. Throws MKTS_TAPE_INVALID. */
export function readTape(file: { readonly href: string } | string): Tape {
  const path = typeof file === 'string' ? file : fileURLToPath(file.href);
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (cause) {
    throw new ConfigError(
      'MKTS_TAPE_INVALID',
      { path, line: 0, reason: reasonOf(cause) },
      { cause },
    );
  }
  return parseTape(text, path);
}

/** Registers a test with Node's runner. */
export type Test = (name: string, body: () => void | Promise<void>) => void;
export const test: Test = (name, body) => void nodeTest(name, body);

/** What tests need of `node:assert/strict`; equality is deep and of type and value. */
export interface Assert {
  (value: unknown, message?: string): asserts value;
  ok(value: unknown, message?: string): asserts value;
  equal(actual: unknown, expected: unknown, message?: string): void;
  deepEqual(actual: unknown, expected: unknown, message?: string): void;
  match(text: string, pattern: RegExp, message?: string): void;
  throws(body: () => unknown, expected?: RegExp | object, message?: string): void;
  rejects(
    body: Promise<unknown> | (() => Promise<unknown>),
    expected?: RegExp | object,
    message?: string,
  ): Promise<void>;
}
export const assert: Assert = nodeAssert;
