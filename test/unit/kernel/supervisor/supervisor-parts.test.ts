/** The small parts of the supervisor: restart policy, secrets, what a worker may send. */

import { describe, expect, test } from 'vitest';
import { FLOAT64 } from '../../../../kernel/base/element-type.ts';
import { RequestError } from '../../../../kernel/base/errors.ts';
import { RESTART_DELAY_MAX_MS, RESTARTS_WINDOW_MS } from '../../../../kernel/base/limits.ts';
import { EPOCH_SHAPE } from '../../../../kernel/base/schema.ts';
import { hideSecrets, secretValues } from '../../../../kernel/base/secrets.ts';
import { createKernelApi, type KernelFunctions } from '../../../../kernel/supervisor/kernel-api.ts';
import { readableByWorkers } from '../../../../kernel/supervisor/permission-probe.ts';
import { RestartPolicy } from '../../../../kernel/supervisor/restart-policy.ts';

test('delays double up to a minute, are shortened by chance, and end after too many', () => {
  const policy = new RestartPolicy({ restartDelayMs: 1000, restartsMax: 8, random: () => 0 });
  const delays = Array.from({ length: 9 }, () => policy.next(0));
  expect(delays).toEqual([
    1000,
    2000,
    4000,
    8000,
    16000,
    32000,
    RESTART_DELAY_MAX_MS,
    RESTART_DELAY_MAX_MS,
    undefined,
  ]);
  expect(policy.next(RESTARTS_WINDOW_MS)).toBe(1000);
  const lucky = new RestartPolicy({ restartDelayMs: 1000, restartsMax: 8, random: () => 0.999 });
  expect(lucky.next(0)).toBeCloseTo(500, -1);
});

test('values under keys that sound secret are masked wherever they turn up', () => {
  const mask = hideSecrets(
    secretValues({
      api_key: 'abcd1234',
      nested: [{ Password: 'hunter2!' }],
      auth: { user: 'bobbytables' },
      url: 'plain',
      key: 'AAPL/1Min/OHLCV',
    }),
  );
  expect(mask('abcd1234 hunter2! bobbytables plain AAPL/1Min/OHLCV')).toBe(
    '*** *** *** plain AAPL/1Min/OHLCV',
  );
});

describe('the kernel API checks what a worker sends', () => {
  const lines: string[] = [];
  const metrics: string[] = [];
  const write =
    () =>
    (_fields: unknown, message: string): void => {
      lines.push(message);
    };
  const kernel: KernelFunctions = {
    openBucket: (_key, schema) => ({ schema }),
    schemaOf: () => undefined,
    query: async () => ({
      rowCount: 1,
      columns: [{ ...EPOCH_SHAPE, data: BigInt64Array.of(60n) }],
    }),
    lastRow: () => {
      throw new RequestError('MKTS_BUCKET_UNKNOWN', { key: 'x' });
    },
    metric: (_plugin, { name }) => metrics.push(name),
  };
  const api = createKernelApi({
    plugin: 'p',
    kernel,
    log: { debug: write(), info: write(), warn: write(), error: write() },
    redact: (text) => text.replace('secret', '***'),
  });
  const { facade } = api;
  const schema = { recordType: 'fixed', columns: [{ name: 'a', type: FLOAT64.code }] } as const;

  test('a series keeps its number, and its target', async () => {
    const first = await facade.openSeries('A/1Min/X', schema);
    expect(first).toMatchObject({ ok: true, value: { seriesId: 0, schema } });
    expect(await facade.openSeries('A/1Min/X', schema)).toEqual(first);
    expect(api.series(0)).toMatchObject({ key: { path: 'A/1Min/X' } });
    expect(api.series(1)).toBeUndefined();
  });

  test.each([
    [{ recordType: 'fixed', columns: [{ name: 'a', type: 99 }] }, 'MKTS_COLUMN_TYPE_UNKNOWN'],
    [{ recordType: 'fixed', columns: [{ name: '', type: 2 }] }, 'MKTS_COLUMN_NAME'],
    [{ recordType: 'other', columns: [] }, 'MKTS_DATASET_INVALID'],
    [null, 'MKTS_DATASET_INVALID'],
  ])('schema %j is refused', async (hostile, code) => {
    const outcome = await facade.openSeries('A/1Min/X', hostile as never);
    expect(outcome).toMatchObject({ ok: false, error: { code } });
  });

  test('queries are checked, answers are bytes, errors keep their code', async () => {
    expect(await facade.query({ key: 'A/1Min/X', limit: 1 })).toMatchObject({
      ok: true,
      value: { rowCount: 1, columns: [{ name: 'Epoch', type: 3 }] },
    });
    for (const bad of [
      { key: 1 },
      { key: 'A/1Min/X', limit: -1 },
      { key: 'A/1Min/X', from: 'x' },
      5,
    ])
      expect(await facade.query(bad as never)).toMatchObject({
        ok: false,
        error: { code: 'MKTS_RPC_PARAMS' },
      });
    expect(await facade.lastRow('A/1Min/X')).toMatchObject({
      ok: false,
      error: { code: 'MKTS_BUCKET_UNKNOWN' },
    });
  });

  test('log lines are redacted, malformed ones and metrics are left out', async () => {
    await facade.log([{ level: 'info', message: 'a secret', fields: {} }], 3);
    expect(lines).toEqual(['a ***', 'log lines of a plugin were dropped']);
    await expect(facade.log([{ level: 'constructor' }] as never, 0)).rejects.toThrow('malformed');
    const metric = { kind: 'counter', labels: {}, value: 1 } as const;
    await facade.metrics([
      { ...metric, name: 'ok' },
      { ...metric, name: 'not ok' },
    ]);
    expect(metrics).toEqual(['ok']);
  });
});

test('a worker cannot read outside the current directory', async () => {
  expect(await readableByWorkers(['/etc/passwd', '/proc/self/environ'])).toEqual([]);
});
