/**
 * What a plugin's module exports, checked: it was written by others, maybe without types. Pure; runs
 * in the worker.
 */

import { PluginError } from '../kernel/base/errors.ts';
import { CONFIG_SCHEMA_BYTES_MAX } from '../kernel/base/limits.ts';
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
  for (const name of ['network', 'networkFromConfig', 'writes', 'secrets', 'builtins']) {
    const list = field(field(definition, 'capabilities'), name);
    if (list !== undefined && !isTextList(list))
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
    writes: capabilities?.writes === undefined ? undefined : [...capabilities.writes],
    secrets: [...(capabilities?.secrets ?? [])],
    builtins: [...(capabilities?.builtins ?? [])],
    configSchema: schemaText(definition.config),
  };
}

/**
 * For documents and `inspect`, never for validation, which is the plugin's own. Asked of the schema
 * itself, since zod is in the plugin's bundle and not in ours.
 */
function schemaText(schema: unknown): string | undefined {
  try {
    const describeAsJson = field(schema, 'toJSONSchema');
    if (typeof describeAsJson !== 'function') return undefined;
    // What is written into mkts.yml, not what the plugin makes of it.
    const options = { io: 'input', unrepresentable: 'any' };
    const text = JSON.stringify(Reflect.apply(describeAsJson, schema, [options]));
    return text.length <= CONFIG_SCHEMA_BYTES_MAX ? text : undefined;
  } catch {
    // A schema that cannot be written down so: the plugin runs without a document.
    return undefined;
  }
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
