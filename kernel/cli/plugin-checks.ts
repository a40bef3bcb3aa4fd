/**
 * What every plugin owes, as tests beside its own: it builds and loads as in a server, its sample.yml
 * is valid, and its README says what the schema says. A test file of `mkts plugin test`: runs in a
 * process of Node's runner, told by variables which folder it is about.
 */

import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { loadConfig } from '../../config/load.ts';
import { KERNEL_API } from '../../plugins/sdk.ts';
import {
  checkConfig,
  type Definition,
  definitionOf,
  describe,
} from '../../workers/plugin-definition.ts';
import { settingRows, settingTable } from '../base/setting-table.ts';
import { resolveModule } from '../supervisor/resolve-module.ts';
import { loadInWorker } from './load-in-worker.ts';
import { withSettings } from './plugin-readme.ts';
import { DIRECTORY_VARIABLE, pluginFile, UPDATE_VARIABLE } from './plugin-test.ts';

const folder = process.env[DIRECTORY_VARIABLE] ?? process.cwd();
const file = pluginFile(folder) ?? join(folder, 'plugin.ts');
const name = basename(folder);
const sample = join(folder, 'sample.yml');
const readme = join(folder, 'README.md');

test(`${name} builds and loads as in a server`, async () => {
  const { kind, capabilities } = await definition();
  // Grants are its operator's to give; here it has what it declares.
  const grants = capabilities?.builtins ?? [];
  const { api } = await loadInWorker({ name, kind, file, grants });
  assert.equal(api, KERNEL_API, 'api is the major version of the kernel API');
});

test(`${name}: sample.yml is a valid mkts.yml`, { skip: !existsSync(sample) }, async () => {
  const variables = [...readFileSync(sample, 'utf8').matchAll(/\$\{(\w+)\}/g)];
  const given = Object.fromEntries(variables.map(([, variable]) => [variable, 'given']));
  const { plugins, pluginDirectory } = loadConfig(sample, given);
  const places = { pluginDirectory, configDirectory: folder };
  const entries = plugins.filter(({ module }) => resolveModule(module, places).file === file);
  assert.ok(entries.length > 0, 'no entry of it names this plugin');
  const plugin = await definition();
  for (const { kind, config } of entries) {
    assert.equal(kind, plugin.kind, 'it stands in the wrong list');
    const checked = await checkConfig(plugin, config);
    assert.deepEqual(checked.ok ? [] : checked.problems, []);
  }
});

test(`${name}: README.md says what the settings are`, { skip: !existsSync(readme) }, async () => {
  const { configSchema } = describe(await definition());
  const text = readFileSync(readme, 'utf8');
  const right = withSettings(text, settingTable(settingRows(JSON.parse(configSchema ?? '{}'))));
  if (process.env[UPDATE_VARIABLE] === '1') writeFileSync(readme, right);
  else assert.equal(text, right, '`mkts plugin test --update` writes the table of settings');
});

/** Imported into this process, as its tests do; a server loads it in a worker. */
async function definition(): Promise<Definition> {
  return definitionOf(name, await import(pathToFileURL(file).href));
}
