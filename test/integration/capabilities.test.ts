/** What a plugin may have, on real workers: keys, secrets, builtins, consent to more. */

import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterEach, expect, test } from 'vitest';
import { realFilesystem } from '../../kernel/storage/filesystem.ts';
import { bundlePlugin } from '../../kernel/supervisor/bundle-plugin.ts';
import { Consents } from '../../kernel/supervisor/consents.ts';
import type { SupervisorOptions } from '../../kernel/supervisor/supervisor.ts';
import { bgworker, type HarnessPlugin, PluginHarness } from '../support/plugin-harness.ts';
import { temporaryDirectory } from '../support/temporary-directory.ts';

const hosts: PluginHarness[] = [];

async function hosted(
  plugin: Omit<HarnessPlugin, 'name'>,
  options: Partial<SupervisorOptions> = {},
): Promise<PluginHarness> {
  const host = new PluginHarness([{ name: 'probe', ...plugin }], options);
  hosts.push(host);
  await host.start();
  return host;
}

afterEach(async () => {
  await Promise.all(hosts.splice(0).map((host) => host.stop()));
});

/** Tries a statement and says its error's code, or `done`. */
function attempt(statement: string): string {
  return `try { ${statement}; ctx.log.info('done'); }
    catch (error) { ctx.log.info(error.code + ': ' + error.message); }`;
}
const BAR = '{ Epoch: [1700000000], Close: [1] }';
const IDLE = 'await new Promise((resolve) => ctx.signal.addEventListener("abort", resolve));';

test('a key outside the declared patterns is refused inside and counted outside', async () => {
  const host = await hosted({
    code: bgworker(
      attempt(`await ctx.write('BTC/1Min/OHLCV', ${BAR})`) +
        attempt(`await ctx.write('ETH/1Min/OHLCV', ${BAR})`) +
        attempt(`await ctx.writeAll([{ key: 'ETH/1D/OHLCV', rows: ${BAR} }])`) +
        `for (let at = 0; at < 1000; at++)
           await ctx.write('ETH/1Min/OHLCV', ${BAR}).catch(() => {});` +
        `await ctx.flush(); ${IDLE}`,
      "capabilities: { writes: ['BTC/*/OHLCV'] },",
    ),
  });
  await host.until(() => host.saidBy('probe').length === 3);
  const [first, second, third] = host.saidBy('probe');
  expect(first).toBe('done');
  expect(second).toBe(
    'MKTS_CAPABILITY_DENIED: plugin probe: writing ETH/1Min/OHLCV is not available in a plugin (allowed=BTC/*/OHLCV)',
  );
  expect(third).toContain('MKTS_CAPABILITY_DENIED: plugin probe: writing ETH/1D/OHLCV');
  // All are counted, but not one by one: the kernel is asked about a key once.
  const counted = (): number => host.denials.reduce((sum, { count }) => sum + count, 0);
  await host.until(() => counted() === 1002);
  expect(host.denials.length).toBeLessThan(10);
  expect(host.denials.slice(0, 2)).toEqual([
    { plugin: 'probe', what: 'write', detail: 'ETH/1Min/OHLCV', count: 1 },
    { plugin: 'probe', what: 'write', detail: 'ETH/1D/OHLCV', count: 1 },
  ]);
  expect(host.rowsOf('probe', 'BTC/1Min/OHLCV')).toHaveLength(1);
});

test('`writes` of the entry takes the place of what the plugin declares; an empty list is no key', async () => {
  const body = attempt(`await ctx.write('ETH/1Min/OHLCV', ${BAR})`) + IDLE;
  const declared = "capabilities: { writes: ['BTC/*/OHLCV'] },";
  const wider = await hosted({
    code: bgworker(body, declared),
    entry: { writes: ['{BTC,ETH}/1Min/*'] },
  });
  const none = await hosted({ code: bgworker(body, declared), entry: { writes: [] } });
  await wider.until(() => wider.saidBy('probe').length === 1);
  await none.until(() => none.saidBy('probe').length === 1);
  expect(wider.saidBy('probe')).toEqual(['done']);
  expect(none.saidBy('probe')[0]).toContain('allowed=no key');
});

test('a pattern a plugin declares that is none fails its start', async () => {
  const host = await hosted({ code: bgworker(IDLE, "capabilities: { writes: ['BTC/(x)/y'] },") });
  await host.entered('probe', 'failed');
  expect(host.causesOf('probe')).toEqual(['MKTS_TRIGGER_PATTERN']);
});

test('secrets are read by declared name only, and appear in no line', async () => {
  const host = await hosted({
    code: bgworker(
      `const { secrets } = ctx;
       ctx.log.info('key ' + (secrets.get('api_key') === 'sesame-42') + ' ' + secrets.get('absent'));
       ctx.log.info('leak ' + secrets.get('api_key'));
       ${attempt("secrets.get('other')")} ${attempt("secrets.get('other')")}
       ctx.log.info([typeof secrets.constructor, Object.isFrozen(secrets)].join()); ${IDLE}`,
      "capabilities: { secrets: ['api_key', 'absent'] },",
    ),
    entry: { secrets: { api_key: 'sesame-42', other: 'tabu-secret' } },
  });
  await host.until(() => host.saidBy('probe').length === 5 && host.denials.length > 0);
  expect(host.saidBy('probe')).toEqual([
    'key true undefined',
    'leak ***',
    'MKTS_CAPABILITY_DENIED: plugin probe: secret other is not available in a plugin',
    'MKTS_CAPABILITY_DENIED: plugin probe: secret other is not available in a plugin',
    'undefined,true',
  ]);
  expect(host.denials).toEqual([{ plugin: 'probe', what: 'secret', detail: 'other', count: 2 }]);
  expect(JSON.stringify(host.lines)).not.toContain('sesame-42');
});

test('a reach for what the sandbox has taken away is counted; a probe for code generation is not', async () => {
  const host = await hosted({
    code: bgworker(`try { new Function('') } catch {}
      for (let at = 0; at < 50; at++) try { process.kill(1) } catch {}
      try { require('node:fs') } catch (error) { ctx.log.info(error.code) } ${IDLE}`),
  });
  await host.until(() => host.denials.length === 2 && host.saidBy('probe').length === 1);
  expect(host.saidBy('probe')).toEqual(['MKTS_CAPABILITY_DENIED']);
  expect(host.denials).toEqual([
    { plugin: 'probe', what: 'sandbox', detail: 'process.kill', count: 50 },
    { plugin: 'probe', what: 'sandbox', detail: 'require of node:fs', count: 1 },
  ]);
});

/** A plugin's module, bundled as the server does. */
async function bundled(
  source: string,
  grants: readonly string[],
): Promise<Awaited<ReturnType<typeof bundlePlugin>>> {
  const file = join(temporaryDirectory(), 'plugin.ts');
  writeFileSync(file, source);
  return bundlePlugin({ name: 'probe', file, grants });
}

const HASHING = `
  import { createHash, createHmac, randomBytes } from 'node:crypto';
  import zlib, { gunzipSync } from 'zlib';
  import * as crypto from 'crypto';
  export default { kind: 'bgworker', name: 'probe', version: '1', api: 1,
    config: { safeParseAsync: async (data) => ({ success: true, data }) },
    async start(ctx) {
      const hash = createHash('sha256').update('a').update('b');
      ctx.log.info(hash.copy().digest('hex') + ' ' + hash.digest('base64').length);
      ctx.log.info(createHmac('sha256', 'key').update('data').digest('hex'));
      ctx.log.info(gunzipSync(Buffer.from(ctx.config.packed, 'base64')).toString());
      ctx.log.info(String(zlib.gunzipSync(zlib.gzipSync('again'))));
      const pair = 'generateKeyPair' in crypto || 'subtle' in crypto || 'webcrypto' in crypto;
      ctx.log.info([pair, 'createGzip' in zlib, 'pipe' in createHash('md5')].join());
      try { randomBytes(4, () => {}); } catch (error) { ctx.log.info(error.code); }
      try { zlib.gunzipSync(Buffer.from(ctx.config.bomb, 'base64')); }
      catch (error) { ctx.log.info(error.code); }
      await new Promise((resolve) => ctx.signal.addEventListener('abort', resolve));
    } };`;

test('granted crypto and zlib compute; nothing of them that would use the thread pool is there', async () => {
  const build = await bundled(HASHING, ['crypto', 'zlib']);
  expect(build.builtins).toEqual(['crypto', 'zlib']);
  const bomb = gzipSync(Buffer.alloc(80 * 1024 * 1024)).toString('base64');
  const host = await hosted({
    code: build.code,
    config: { packed: gzipSync('packed text').toString('base64'), bomb },
    entry: { grants: ['crypto', 'zlib'] },
  });
  await host.until(() => host.saidBy('probe').length === 7);
  expect(host.saidBy('probe')).toEqual([
    `${createHash('sha256').update('ab').digest('hex')} 44`,
    '5031fe3d989c6d1537a013fa6e739da23463fdaec3b70137d828e36ace221bd0',
    'packed text',
    'again',
    'false,false,false',
    'MKTS_CAPABILITY_DENIED',
    'ERR_BUFFER_TOO_LARGE',
  ]);
});

test('a builtin that is not granted is refused before anything runs, and the error names the grant', async () => {
  await expect(bundled(HASHING, ['zlib'])).rejects.toThrow(
    /may not import node:crypto .*`grants: \[crypto\]` in its entry of mkts.yml allows it/,
  );
  await expect(
    bundled("import fs from 'node:fs'; export default fs;", ['crypto', 'zlib']),
  ).rejects.toThrow(/may not import node:fs/);
});

test('a version that asks for more waits for consent, the one before goes on, and approval lets it run', async () => {
  const root = temporaryDirectory();
  const lines: string[] = [];
  const note = (_fields: unknown, message: string): void => {
    lines.push(message);
  };
  const log = { debug: note, info: note, warn: note, error: note };
  const consents = (): Consents =>
    new Consents({ root, filesystem: realFilesystem, log, isOwn: () => false });
  const version = (number: number, writes: string): string =>
    bgworker(
      `ctx.log.info('version ${number}'); ${IDLE}`,
      `capabilities: { writes: [${writes}] },`,
    );
  const host = await hosted({ code: version(1, "'BTC/1Min/OHLCV'") }, { consents: consents() });
  await host.until(() => host.saidBy('probe').includes('version 1'));

  host.code.set('probe', version(2, "'BTC/1Min/OHLCV', 'ETH/1Min/OHLCV'"));
  expect(await host.supervisor.reload('probe')).toMatchObject({ outcome: 'waiting' });
  expect(host.supervisor.plugins()).toMatchObject([
    {
      state: 'running',
      generation: 1,
      candidate: {
        state: 'waiting',
        reason: expect.stringContaining('asks for more than was agreed to: write ETH/1Min/OHLCV'),
      },
    },
  ]);
  expect(host.saidBy('probe')).not.toContain('version 2');

  expect(await host.supervisor.approve('probe')).toMatchObject({ outcome: 'swapped' });
  await host.until(() => host.saidBy('probe').includes('version 2'));
  expect(await host.supervisor.approve('probe')).toBeUndefined();

  // The file is what the next start knows it from.
  const written = JSON.parse(readFileSync(join(root, 'mkts-consent.json'), 'utf8'));
  expect(written.plugins.probe.asks).toEqual(['write BTC/1Min/OHLCV', 'write ETH/1Min/OHLCV']);
  expect(consents().agreedTo('probe')).toEqual(written.plugins.probe.asks);
});
