/**
 * The real `process` object of a worker, disarmed. A plugin sees a small stand-in of it instead
 * (sandbox.ts), so this matters only if a way to the real one is found; then it leads nowhere.
 *
 * `exit` and `reallyExit` stay: Node's own path for a fatal error calls them, and a worker whose
 * exit throws hangs for ever.
 */

// Not the global of that name: sandbox.ts puts a stand-in there.
import process from 'node:process';

/** They reach another process, a file, the whole process, the loader, or Node's inside. */
const DENIED = [
  'binding',
  '_linkedBinding',
  'dlopen',
  'kill',
  '_kill',
  'abort',
  'chdir',
  'umask',
  '_debugProcess',
  '_debugEnd',
  '_startProfilerIdleNotifier',
  '_stopProfilerIdleNotifier',
  'setuid',
  'setgid',
  'seteuid',
  'setegid',
  'setgroups',
  'initgroups',
  '_getActiveHandles',
  '_getActiveRequests',
  'getActiveResourcesInfo',
  'getBuiltinModule',
  '_rawDebug',
  'openStdin',
  'loadEnvFile',
  'execve',
  'setUncaughtExceptionCaptureCallback',
  'setSourceMapsEnabled',
] as const;

const EMPTIED = ['report', 'mainModule', 'moduleLoadList', '_eval', 'permission'] as const;

/** Replaces what is denied on the real object. What this Node does not have is left out. */
export function sealProcess(deny: (what: string) => (...args: unknown[]) => never): void {
  for (const name of DENIED) if (name in process) fix(name, deny(`process.${name}`));
  for (const name of EMPTIED) if (name in process) fix(name, undefined);
  fix('env', Object.freeze(Object.create(null)));
  fix('argv', Object.freeze([]));
  fix('execArgv', Object.freeze([]));
}

function fix(name: string, value: unknown): void {
  const property = Reflect.getOwnPropertyDescriptor(process, name);
  if (property !== undefined && property.configurable !== true) {
    if (property.writable === true) Reflect.set(process, name, value);
    return;
  }
  Object.defineProperty(process, name, {
    value,
    writable: false,
    configurable: false,
    enumerable: false,
  });
}
