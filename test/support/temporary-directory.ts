/** A directory of a test's own, gone when the test ends. */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';

/** Call inside a test. Returns the absolute path. */
export function temporaryDirectory(): string {
  const path = mkdtempSync(join(tmpdir(), 'mkts-test-'));
  onTestFinished(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

/** Writes a file into a temporary directory of its own; returns its path. */
export function temporaryFile(name: string, text: string): string {
  const path = join(temporaryDirectory(), name);
  writeFileSync(path, text);
  return path;
}
