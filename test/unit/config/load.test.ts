import { readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { expect, test } from 'vitest';
import { loadConfig, type MktsConfig, printableConfig } from '../../../config/load.ts';
import { ConfigError } from '../../../kernel/base/errors.ts';
import { temporaryFile } from '../../support/temporary-directory.ts';

const BASE = 'root_directory: data\nlisten_port: 5993\nlisten_host: 127.0.0.1\n';

function load(text: string, environment: Record<string, string> = {}): MktsConfig {
  return loadConfig(temporaryFile('mkts.yml', text), environment);
}

/** The lines of the error, without the directory. */
function problems(text: string, environment: Record<string, string> = {}): readonly string[] {
  const path = temporaryFile('mkts.yml', text);
  try {
    loadConfig(path, environment);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return error.message.replaceAll(`${dirname(path)}/`, '').split('\n');
  }
  throw new Error('it was accepted');
}

function warnings(text: string): readonly string[] {
  return load(text).warnings.map(({ path, problem }) => `${path}: ${problem}`);
}

test('the least file gets the defaults', () => {
  const config = load('root_directory: data\nlisten_port: 5993\n');
  expect(config).toMatchObject({
    rootDirectory: resolve('data'),
    rootDirectoryWritten: 'data',
    listenHost: '127.0.0.1',
    listenPort: 5993,
    logLevel: 'info',
    logFormat: 'auto',
    stopGracePeriodMs: 0,
    durability: 'fsync',
    compressTicks: true,
    tickReadMode: 'exact',
    checksums: false,
    pluginDirectory: undefined,
    plugins: [],
  });
  expect(config.zone.name).toBe('UTC');
});

test('the sample that init writes loads without a warning', () => {
  expect(loadConfig(join(import.meta.dirname, '../../../config/mkts.yml')).warnings).toEqual([]);
});

test('the sample loads with its examples switched on', () => {
  const sample = readFileSync(join(import.meta.dirname, '../../../config/mkts.yml'), 'utf8');
  const switchedOn = sample.replace(/^# (?=[a-z_]+:( |$)| {2})/gm, '');
  const config = load(switchedOn, {
    MY_FEEDER_KEY: 'abcdefgh',
    MKTS_ADMIN_TOKEN: 'a-token-of-some-length',
  });
  expect(config.warnings).toEqual([]);
  expect(config.plugins.map(({ name }) => name)).toEqual([
    'ondiskagg',
    'binance',
    'coinbase',
    'my-feeder',
  ]);
  expect(config.plugins[3]).toMatchObject({
    budget: { memoryMb: 128 },
    network: ['api.example.com'],
  });
});

test('nothing of it can be changed', () => {
  const config = load(`${BASE}bgworkers: [{ module: x, config: { symbols: [BTC] } }]\n`);
  const symbols = config.plugins[0]?.config.symbols as string[];
  expect(() => Object.assign(config, { listenPort: 1 })).toThrow(TypeError);
  expect(() => symbols.push('ETH')).toThrow(TypeError);
});

test.each([
  ['listen_port: "5993"', { listenPort: 5993 }],
  ['listen_port: 0', { listenPort: 0 }],
  ['log_level: WARNING', { logLevel: 'warn' }],
  ['log_level: warn', { logLevel: 'warn' }],
  ['log_level: Fatal', { logLevel: 'fatal' }],
  ['stop_grace_period: 2.9', { stopGracePeriodMs: 2000 }],
  ['stop_grace_period: -1', { stopGracePeriodMs: 0 }],
  ['disable_variable_compression: "T"', { compressTicks: false }],
  ['disable_variable_compression: 1', { compressTicks: false }],
  ['disable_variable_compression: f', { compressTicks: true }],
  ['tick_read_mode: reference', { tickReadMode: 'reference' }],
  ['checksums: true', { checksums: true }],
  ['durability: wal', { durability: 'wal' }],
  ['checkpoint_interval: 1m30s', { checkpointIntervalMs: 90_000 }],
  ['checkpoint_interval: 5', { checkpointIntervalMs: 5000 }],
  ['listen_host: ""', { listenHost: '' }],
  ['log_level:', { logLevel: 'info' }],
])('%s', (line, expected) => {
  const key = line.slice(0, line.indexOf(':'));
  const others = BASE.split('\n').filter((other) => !other.startsWith(`${key}:`));
  expect(load(`${others.join('\n')}\n${line}\n`)).toMatchObject(expected);
});

test.each([
  ['listen_port: 70000', 'a port, 0 to 65535; got 70000'],
  ['listen_port: http', "a port, 0 to 65535; got 'http'"],
  ['log_level: wran', "got 'wran', did you mean 'warn'?"],
  ['timezone: Foo/Bar', 'invalid timezone:Foo/Bar'],
  ['timezone: America/New_Yrok', "did you mean 'America/New_York'?"],
  ['disable_variable_compression: maybe', 'expected true or false (also 1 t T TRUE, 0 f F FALSE)'],
  ['disable_variable_compression: yes', "got 'yes'"],
  ['stop_grace_period: soon', "expected a number of seconds; got 'soon'"],
  ['utilities_url: nowhere', "expected 'host:port'; got 'nowhere'"],
  ['replication: { retry_interval: often }', "expected a duration such as '10s'"],
  ['checkpoint_interval: 1ms', "expected at least 10ms; got '1ms'"],
  ['checkpoint_interval: -1', 'expected a duration'],
  ['triggers: { module: x }', 'expected a list; got a map with 1 keys'],
  ['triggers: [{ on: x }]', 'triggers[0].module: expected a text'],
  [
    'bgworkers: [{ module: x, config: [1] }]',
    'bgworkers[0].config: expected a map; got a list of 1',
  ],
  ['bgworkers: [{ module: x, name: ../x }]', "got '../x'"],
  ['bgworkers: [{ module: x, network: ["https://x.com/"] }]', 'not a URL'],
  ['bgworkers: [{ module: x, resources: { memory_mb: 1 } }]', 'at least 16; got 1'],
  ['durability: memory', "expected one of fsync, wal; got 'memory'"],
])('refused: %s', (line, expected) => {
  const key = line.slice(0, line.indexOf(':'));
  const others = BASE.split('\n').filter((other) => !other.startsWith(`${key}:`));
  const [first = ''] = problems(`${others.filter(Boolean).join('\n')}\n${line}\n`);
  expect(first).toMatch(new RegExp(`^mkts\\.yml:${others.filter(Boolean).length + 1}:\\d+ ${key}`));
  expect(first).toContain(expected);
});

test('all problems are told at once, in the order of the file, with what is odd beside them', () => {
  const text = 'listen_prot: 1\nlog_level: loud\ntriggers:\n  - on: x\nroot_directory: ""\n';
  expect(problems(text)).toEqual([
    "mkts.yml:1:1 listen_port: invalid listen port. Listen port can't be empty",
    expect.stringContaining('mkts.yml:2:12 log_level: expected one of'),
    'mkts.yml:4:5 triggers[0].module: expected a text; this key is required',
    'mkts.yml:5:17 root_directory: invalid root directory. rootDir=',
    "mkts.yml:1:1 listen_prot: unknown key, did you mean 'listen_port'? (warning)",
  ]);
});

test('an empty file lacks two keys', () => {
  expect(problems('')).toHaveLength(2);
});

test('a file that is not there, or not text, is said to be so', () => {
  expect(() => loadConfig('no-such-file.yml')).toThrow(/there is no such file, seen from \//);
  const path = temporaryFile('mkts.yml', '');
  writeFileSync(path, Buffer.from([0xff, 0xfe, 0x00]));
  expect(() => loadConfig(path)).toThrow(
    expect.objectContaining({ code: 'MKTS_CONFIG_UNREADABLE' }),
  );
});

test('unknown keys are warned of, at every level, with the nearest known one', () => {
  const text = `${BASE}rot_directory: x\nfoobar: 1\nbgworkers: [{ module: x, confg: {}, resources: { memory: 1 } }]\n`;
  expect(warnings(text)).toEqual([
    "rot_directory: unknown key, did you mean 'root_directory'?",
    'foobar: unknown key',
    "bgworkers[0].confg: unknown key, did you mean 'config'?",
    'bgworkers[0].resources.memory: unknown key',
  ]);
});

test('a key whose function is not there is accepted, and never in silence', () => {
  const text = `${BASE}grpc_listen_port: 5995
utilities_url: "localhost:5994"
wal_bypass: true
replication: { enabled: yes, master_host: "10.0.0.1:5996", retry_interval: 10s }
wal_rotate_interval: 10
init_catalog: false
stale_threshold: 5
`;
  const told = warnings(text);
  expect(told.map((line) => line.slice(0, line.indexOf(':')))).toEqual([
    'grpc_listen_port',
    'utilities_url',
    'wal_bypass',
    'replication.enabled',
    'replication.master_host',
    'wal_rotate_interval',
    'init_catalog',
    'stale_threshold',
  ]);
  expect(told[0]).toContain('not available in this version');
});

test('a key that asks for what is so anyway gets no notice', () => {
  const text = `${BASE}wal_rotate_interval: 5\nwal_bypass: false\nreplication: { enabled: false }\ninit_catalog: true\n`;
  expect(warnings(text)).toEqual([]);
});

test('listening beyond this machine is warned of, and not given is told', () => {
  expect(warnings(BASE.replace('127.0.0.1', '0.0.0.0'))[0]).toContain('other machines can connect');
  expect(warnings('root_directory: data\nlisten_port: 1\n')[0]).toContain('only this machine');
});

test('the plugin directory is relative to mkts.yml, the data to the working directory', () => {
  const path = temporaryFile('mkts.yml', `${BASE}plugin_dir: mine\n`);
  expect(loadConfig(path).pluginDirectory).toBe(join(dirname(path), 'mine'));
  expect(loadConfig(path).rootDirectory).toBe(join(process.cwd(), 'data'));
});

test('the token of the admin API may be a reference, is a secret, and cannot be short', () => {
  const token = 'a-token-of-some-length';
  const config = load(`${BASE}admin_token: \${TOKEN}\n`, { TOKEN: token });
  expect(config.adminToken).toBe(token);
  expect(config.secrets).toEqual([token]);
  expect(JSON.stringify(printableConfig(config))).not.toContain(token);
  expect(load(BASE).adminToken).toBeUndefined();
  expect(problems(`${BASE}admin_token: short\n`)[0]).toContain('at least 16 characters');
  expect(problems(`${BASE}admin_token: \${TOKEN}\n`)[0]).toContain('TOKEN is not set');
});

test('what is printed of it has no secrets', () => {
  const config = load(
    `${BASE}bgworkers: [{ module: x, config: { api_key: hunter2, symbols: [A] } }]\n`,
  );
  expect(config.secrets).toEqual(['hunter2']);
  const printed = JSON.stringify(printableConfig(config));
  expect(printed).not.toContain('hunter2');
  expect(printed).toContain('"symbols":["A"]');
});
