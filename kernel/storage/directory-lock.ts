/**
 * One server per data directory: `mkts.lock`, which says who holds it.
 *
 * A process id alone does not say that its process still runs: it may be another one's by now, or
 * of before a reboot. So the lock holds the id of the boot and the start time of the process too.
 * Taking it is atomic: the content is complete before the name exists (link), and of two servers
 * that find a stale lock only one gets to remove it (rename).
 */

import * as fs from 'node:fs';
import { join } from 'node:path';
import { ConfigError, reasonOf } from '../base/errors.ts';
import { LOCK_FILE, RESTORE_MARKER } from './file-names.ts';

export interface DirectoryLock {
  /** Gives the directory free; may be repeated. */
  release(): void;
}

interface Holder {
  readonly pid: number;
  readonly bootId: string;
  /** Of the process, in the unit of the system; empty where it cannot be known. */
  readonly startTime: string;
  readonly since: string;
}

const ATTEMPTS_MAX = 10;

/**
 * Throws ConfigError MKTS_ROOT_LOCKED, or MKTS_ROOT_DIRECTORY if the directory cannot be used: also
 * if it is one half restored.
 */
export function lockDirectory(root: string): DirectoryLock {
  if (fs.existsSync(join(root, RESTORE_MARKER)))
    throw new ConfigError('MKTS_ROOT_DIRECTORY', {
      path: root,
      reason: 'a restore into it was cut short: remove the directory and restore again',
    });
  const path = join(root, LOCK_FILE);
  const mine: Holder = {
    pid: process.pid,
    bootId: bootId(),
    startTime: startTimeOf(process.pid) ?? '',
    since: new Date().toISOString(),
  };
  const text = JSON.stringify(mine);
  try {
    for (let attempt = 1; attempt <= ATTEMPTS_MAX; attempt++) {
      if (take(path, text)) return { release: () => release(path, text) };
      const found = read(path);
      if (found === undefined) continue;
      const holder = parse(found);
      if (holder !== undefined && isAlive(holder))
        throw new ConfigError('MKTS_ROOT_LOCKED', {
          path: root,
          pid: holder.pid,
          since: holder.since,
        });
      removeStale(path, found);
    }
  } catch (cause) {
    if (cause instanceof ConfigError) throw cause;
    const reason = reasonOf(cause);
    throw new ConfigError('MKTS_ROOT_DIRECTORY', { path: root, reason }, { cause });
  }
  throw new ConfigError('MKTS_ROOT_DIRECTORY', {
    path: root,
    reason: `${LOCK_FILE} keeps changing hands`,
  });
}

/** True if a server holds the directory. Throws if its lock cannot be read. */
export function isDirectoryHeld(root: string): boolean {
  const found = read(join(root, LOCK_FILE));
  const holder = found === undefined ? undefined : parse(found);
  return holder !== undefined && isAlive(holder);
}

/** True if the lock was free. The name appears with its content, in one step. */
function take(path: string, text: string): boolean {
  const draft = `${path}.${process.pid}`;
  fs.writeFileSync(draft, text, { mode: 0o600 });
  try {
    fs.linkSync(draft, path);
    return true;
  } catch (error) {
    if (hasCode(error, 'EEXIST')) return false;
    throw error;
  } finally {
    fs.rmSync(draft, { force: true });
  }
}

/** Removes a stale lock, unless another server has done so and taken it since. */
function removeStale(path: string, found: string): void {
  const aside = `${path}.stale-${process.pid}`;
  try {
    fs.renameSync(path, aside);
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return;
    throw error;
  }
  try {
    // What was renamed may be a lock taken between our reading and renaming: it is given back.
    if (fs.readFileSync(aside, 'utf8') !== found) fs.linkSync(aside, path);
  } finally {
    fs.rmSync(aside, { force: true });
  }
}

function release(path: string, text: string): void {
  if (read(path) === text) fs.rmSync(path, { force: true });
}

function read(path: string): string | undefined {
  try {
    return fs.readFileSync(path, 'utf8');
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return undefined;
    throw error;
  }
}

/** Undefined for what is no lock of ours, such as a file cut short by a power loss. */
function parse(text: string): Holder | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof value !== 'object' || value === null) return undefined;
  const { pid, bootId, startTime, since } = value as Record<string, unknown>;
  if (typeof pid !== 'number' || typeof bootId !== 'string') return undefined;
  return { pid, bootId, startTime: String(startTime ?? ''), since: String(since ?? '') };
}

function isAlive(holder: Holder): boolean {
  if (holder.bootId !== '' && bootId() !== '' && holder.bootId !== bootId()) return false;
  try {
    process.kill(holder.pid, 0);
  } catch (error) {
    // Another user's process: it runs, though we may not signal it.
    if (!hasCode(error, 'EPERM')) return false;
  }
  const startTime = startTimeOf(holder.pid);
  return startTime === undefined || holder.startTime === '' || startTime === holder.startTime;
}

/** Changes with every boot; empty where the system does not tell. */
function bootId(): string {
  try {
    return fs.readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  } catch {
    return '';
  }
}

/** Start of a process in clock ticks since the boot; undefined where the system does not tell. */
function startTimeOf(pid: number): string | undefined {
  try {
    const stat = fs.readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The second field is the program's name in parentheses and may hold spaces; this is field 22.
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
  } catch {
    return undefined;
  }
}

function hasCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code;
}
