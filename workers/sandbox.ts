/**
 * What is taken away from a worker before any code of a plugin runs there. Runs once, in the worker,
 * called by host.ts, which has captured what it needs itself.
 *
 * Three layers hold a plugin: the permission flags the worker is started with (C++: files, child
 * processes, threads, addons), this file (the realm: no `process`, no modules, no code generation),
 * and the kernel's supervisor (time, memory, the ring). Together they contain faults and keep
 * capabilities honest. They are not a security boundary: code bent on harm belongs in a process.
 *
 * Invariant: after `sealRealm` the only ways out of the realm are `ctx` and the timers. Whatever is
 * not on the allow-list below is gone, so that what a later Node adds is gone too.
 */

import Module from 'node:module';
import vm from 'node:vm';
import { PluginError } from '../kernel/base/errors.ts';
import { sealProcess } from './sandbox-process.ts';

/** Globals of the language; SharedArrayBuffer, Atomics and WebAssembly are left out on purpose. */
const LANGUAGE =
  'globalThis Object Function Array Number parseFloat parseInt Infinity NaN undefined Boolean String ' +
  'Symbol Date Promise RegExp Error AggregateError EvalError RangeError ReferenceError SyntaxError ' +
  'TypeError URIError SuppressedError JSON Math Intl ArrayBuffer Uint8Array Int8Array Uint16Array ' +
  'Int16Array Uint32Array Int32Array BigUint64Array BigInt64Array Uint8ClampedArray Float32Array ' +
  'Float64Array Float16Array DataView Map BigInt Set Iterator WeakMap WeakSet WeakRef Proxy Reflect ' +
  'FinalizationRegistry DisposableStack AsyncDisposableStack decodeURI decodeURIComponent encodeURI ' +
  'encodeURIComponent escape unescape eval isFinite isNaN Temporal';

/** Globals of the platform that reach nothing outside the realm. Buffer: our own base files use it. */
const PLATFORM =
  'global console process crypto performance Buffer setTimeout clearTimeout setInterval clearInterval ' +
  'setImmediate clearImmediate queueMicrotask structuredClone URL URLSearchParams TextEncoder ' +
  'TextDecoder AbortController AbortSignal Event EventTarget CustomEvent DOMException atob btoa';

const ALLOWED: ReadonlySet<string> = new Set([...LANGUAGE.split(' '), ...PLATFORM.split(' ')]);

export type ConsoleSink = (
  level: 'debug' | 'info' | 'warn' | 'error',
  values: readonly unknown[],
) => void;

export interface SandboxOptions {
  readonly plugin: string;
  /** Where `console` of the plugin goes: rate-limited by the sink. */
  readonly onConsole: ConsoleSink;
  /** What `require` answers with, by name without `node:` (granted-builtins.ts). */
  readonly builtins: ReadonlyMap<string, unknown>;
  /** It reached for something that is not there. Code generation is not told: libraries probe for it. */
  readonly onDenied: (what: string) => void;
}

/** What a plugin's module left in `module.exports`. */
export type Evaluate = (
  code: string,
  filename: string,
  /** Texts `require` runs when it is asked for them, by name. */
  libraries?: Readonly<Record<string, string>>,
) => unknown;

/** Strips the realm, for good, and returns the one way to run a plugin's bundle in it. */
export function sealRealm(options: SandboxOptions): Evaluate {
  const denied = (what: string): PluginError =>
    new PluginError('MKTS_CAPABILITY_DENIED', { plugin: options.plugin, what });
  const refuse = (what: string): never => {
    options.onDenied(what);
    throw denied(what);
  };
  const deny =
    (what: string): ((...args: unknown[]) => never) =>
    () =>
      refuse(what);
  const { compileFunction } = vm;

  replaceGlobals(options.onConsole, deny);
  sealModules(deny);
  sealProcess(deny);
  removeGlobals();
  sealCodeGeneration(denied);

  const run = (code: string, filename: string, require: (name: unknown) => unknown): unknown => {
    const module = { exports: {} };
    // Without `importModuleDynamically` an import() in the bundle rejects.
    const compiled = compileFunction(code, ['require', 'module', 'exports'], { filename });
    Reflect.apply(compiled, undefined, [require, module, module.exports]);
    return module.exports;
  };
  const builtin = (name: unknown): unknown =>
    options.builtins.get(String(name).replace(/^node:/, '')) ??
    refuse(`require of ${String(name)}`);
  return (code, filename, libraries = {}) => {
    const loaded = new Map<string, unknown>();
    // The bundler has left nothing to load but builtins the entry grants, and libraries of ours.
    const require = (given: unknown): unknown => {
      const name = String(given);
      const library = Object.hasOwn(libraries, name) ? libraries[name] : undefined;
      if (library === undefined) return builtin(name);
      if (!loaded.has(name)) loaded.set(name, run(library, `${name}.cjs`, builtin));
      return loaded.get(name);
    };
    return run(code, filename, require);
  };
}

type Deny = (what: string) => (...args: unknown[]) => never;

function replaceGlobals(onConsole: ConsoleSink, deny: Deny): void {
  const { crypto, performance } = globalThis;
  // No `subtle`: it would occupy the process's thread pool.
  fix('crypto', {
    getRandomValues: crypto.getRandomValues.bind(crypto),
    randomUUID: crypto.randomUUID.bind(crypto),
  });
  fix('performance', {
    now: performance.now.bind(performance),
    timeOrigin: performance.timeOrigin,
  });
  const line =
    (level: Parameters<ConsoleSink>[0]) =>
    (...values: unknown[]): void =>
      onConsole(level, values);
  fix('console', {
    debug: line('debug'),
    log: line('info'),
    info: line('info'),
    warn: line('warn'),
    error: line('error'),
    trace: line('debug'),
  });
  const { exit } = process;
  fix('process', {
    env: Object.freeze(Object.create(null)),
    argv: Object.freeze([]),
    platform: process.platform,
    version: process.version,
    versions: Object.freeze({ node: process.versions.node }),
    nextTick: (task: (...args: unknown[]) => void, ...args: unknown[]) =>
      queueMicrotask(() => task(...args)),
    // Ends this worker only; the supervisor starts another.
    exit: (code?: number) => exit.call(process, code),
    kill: deny('process.kill'),
    cwd: deny('process.cwd'),
    chdir: deny('process.chdir'),
    binding: deny('process.binding'),
    dlopen: deny('process.dlopen'),
    getBuiltinModule: deny('process.getBuiltinModule'),
  });
}

/** A global that stays as it is: null prototype, frozen, not to be replaced. */
function fix(name: string, members: Readonly<Record<string, unknown>>): void {
  Object.defineProperty(globalThis, name, {
    value: Object.freeze(Object.assign(Object.create(null), members)),
    writable: false,
    configurable: false,
    enumerable: false,
  });
}

/** The loader, should something of it be reached in spite of all. */
function sealModules(deny: Deny): void {
  const loader = Module as unknown as Record<string, unknown>;
  for (const name of [
    '_load',
    '_resolveFilename',
    '_findPath',
    'createRequire',
    'register',
    'registerHooks',
    'runMain',
  ])
    if (name in loader) pin(loader, name, deny(`Module.${name}`));
  for (const name of ['require', 'load', '_compile']) {
    pin(Module.prototype as unknown as Record<string, unknown>, name, deny(`module.${name}`));
  }
  for (const table of ['_extensions', '_cache', '_pathCache']) {
    const entries = loader[table];
    if (typeof entries !== 'object' || entries === null) continue;
    for (const key of Object.keys(entries)) Reflect.deleteProperty(entries, key);
  }
}

function removeGlobals(): void {
  for (const key of Reflect.ownKeys(globalThis)) {
    if (typeof key === 'symbol' || ALLOWED.has(key)) continue;
    if (!Reflect.deleteProperty(globalThis, key))
      throw new Error(`global ${key} cannot be removed; the sandbox does not hold on this Node`);
  }
}

/**
 * An evaluated string could call `import()` with the default loader, so no text becomes code any
 * more. `instanceof Function` goes on working, and libraries that probe for code generation in a
 * try/catch (zod) see that there is none.
 */
function sealCodeGeneration(denied: (what: string) => PluginError): void {
  const families = [
    Function,
    (async () => {}).constructor,
    function* () {}.constructor,
    async function* () {}.constructor,
  ];
  for (const Family of families) {
    const Denied = (): never => {
      throw denied('code generation');
    };
    Denied.prototype = Family.prototype;
    pin(Family.prototype, 'constructor', Denied);
    if (Family === Function) pin(globalThis as Record<string, unknown>, 'Function', Denied);
  }
  pin(globalThis as Record<string, unknown>, 'eval', () => {
    throw denied('eval');
  });
  // A formatter of stack traces is handed call sites, which lead to functions of Node itself. A
  // library that sets one shall not fail either, hence a setter that does nothing.
  Object.defineProperty(Error, 'prepareStackTrace', {
    get: () => undefined,
    set: () => {},
    configurable: false,
  });
}

function pin(target: object, name: string, value: unknown): void {
  Object.defineProperty(target, name, {
    value,
    writable: false,
    configurable: false,
    enumerable: false,
  });
}
