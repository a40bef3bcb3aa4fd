/**
 * What a plugin's module exports, checked: it was written by others, maybe without types. Pure; runs
 * in the worker.
 */

import { PluginError } from '../kernel/base/errors.ts';
import type { BgWorker, Trigger } from '../plugins/sdk.ts';
import type { ConfigProblem, PluginDescription } from './protocol.ts';

export type Definition = BgWorker | Trigger;

/** The default export of a bundle. Throws PluginError MKTS_PLUGIN_SHAPE. */
export function definitionOf(plugin: string, exports: unknown): Definition {
  const definition = field(exports, 'default') ?? exports;
  const wrong = (reason: string): PluginError =>
    new PluginError('MKTS_PLUGIN_SHAPE', { plugin, reason });
  const kind = field(definition, 'kind');
  if (kind !== 'bgworker' && kind !== 'trigger')
    throw wrong('its default export is not what defineBgWorker or defineTrigger returns');
  for (const name of ['name', 'version'])
    if (typeof field(definition, name) !== 'string') throw wrong(`${name} is not a text`);
  if (!Number.isSafeInteger(field(definition, 'api'))) throw wrong('api is not a whole number');
  if (typeof field(field(definition, 'config'), 'safeParseAsync') !== 'function')
    throw wrong('config is not a schema');
  const main = kind === 'bgworker' ? 'start' : 'fire';
  if (typeof field(definition, main) !== 'function') throw wrong(`${main} is not a function`);
  for (const name of ['network', 'networkFromConfig']) {
    const hosts = field(field(definition, 'capabilities'), name);
    if (hosts !== undefined && !isTextList(hosts))
      throw wrong(`capabilities.${name} is not a list of texts`);
  }
  return definition as Definition;
}

/** The definition as data, for the kernel. */
export function describe(definition: Definition): PluginDescription {
  const { kind, name, version, api, capabilities } = definition;
  return {
    kind,
    name,
    version,
    api,
    network: [...(capabilities?.network ?? [])],
    networkFromConfig: [...(capabilities?.networkFromConfig ?? [])],
  };
}

export type CheckedConfig =
  | { readonly ok: true; readonly config: unknown }
  | { readonly ok: false; readonly problems: readonly ConfigProblem[] };

/** `config` through the plugin's own schema; none given counts as an empty one. */
export async function checkConfig(definition: Definition, config: unknown): Promise<CheckedConfig> {
  const parsed = await definition.config.safeParseAsync(config ?? {});
  if (parsed.success) return { ok: true, config: parsed.data };
  return {
    ok: false,
    problems: parsed.error.issues.map(({ path, message }) => ({
      path: path.map((part) => (typeof part === 'number' ? part : String(part))),
      problem: message,
    })),
  };
}

function field(value: unknown, name: string): unknown {
  if ((typeof value !== 'object' && typeof value !== 'function') || value === null)
    return undefined;
  return Reflect.get(value, name);
}

function isTextList(value: unknown): boolean {
  return Array.isArray(value) && value.every((text) => typeof text === 'string');
}
