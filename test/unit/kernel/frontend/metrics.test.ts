import { expect, test } from 'vitest';
import { formatGoDuration } from '../../../../kernel/frontend/go-duration.ts';
import { Metrics } from '../../../../kernel/frontend/metrics.ts';

test('families are read when they are printed', async () => {
  const metrics = new Metrics({ process: false });
  let depth = 1;
  metrics.addGauge({
    name: 'mkts_ring_depth_bytes',
    help: 'Bytes.',
    labels: ['plugin'],
    read: () => [
      { labels: { plugin: 'a' }, value: depth },
      { labels: { plugin: 'b' }, value: 2 },
    ],
  });
  metrics.addCounter({
    name: 'mkts_rows_total',
    help: 'Rows.',
    read: () => [{ value: 10 * depth }],
  });
  expect(await metrics.print()).toContain('mkts_ring_depth_bytes{plugin="a"} 1');
  depth = 5;
  const text = await metrics.print();
  expect(text).toContain('mkts_ring_depth_bytes{plugin="a"} 5');
  expect(text).toContain('mkts_ring_depth_bytes{plugin="b"} 2');
  expect(text).toContain('mkts_rows_total 50');
});

test('a label that is gone is not printed again', async () => {
  const metrics = new Metrics({ process: false });
  let plugins = ['a', 'b'];
  metrics.addGauge({
    name: 'mkts_plugin_state',
    help: 'State.',
    labels: ['plugin'],
    read: () => plugins.map((plugin) => ({ labels: { plugin }, value: 1 })),
  });
  expect(await metrics.print()).toContain('plugin="b"');
  plugins = ['a'];
  expect(await metrics.print()).not.toContain('plugin="b"');
});

test('histograms have the buckets asked for', async () => {
  const metrics = new Metrics({ process: false });
  const observe = metrics.addHistogram({
    name: 'mkts_fsync_seconds',
    help: 'Seconds.',
    bucketSeconds: [0.001, 0.01],
  });
  observe(0.005);
  const text = await metrics.print();
  expect(text).toContain('mkts_fsync_seconds_bucket{le="0.001"} 0');
  expect(text).toContain('mkts_fsync_seconds_bucket{le="0.01"} 1');
  metrics.setStartupSeconds(1.5);
  expect(await metrics.print()).toContain('alpaca_marketstore_startup_seconds 1.5');
});

test('the families of the process and of Node are there', async () => {
  const text = await new Metrics().print();
  expect(text).toContain('process_resident_memory_bytes');
  expect(text).toContain('nodejs_eventloop_lag_seconds');
});

test.each([
  [0, '0s'],
  [1, '1ns'],
  [1_500, '1.5µs'],
  [994_116_000, '994.116ms'],
  [1_994_116_538, '1.994116538s'],
  [60_000_000_000, '1m0s'],
  [3_723_500_000_000, '1h2m3.5s'],
  [90_000_000_000_000, '25h0m0s'],
])('%i ns is the duration %s', (nanos, text) => {
  expect(formatGoDuration(nanos)).toBe(text);
});
