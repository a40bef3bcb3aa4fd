/**
 * Entry of a plugin's worker. The kernel bundles this file once, with all it imports, into one
 * CommonJS text (kernel/supervisor/host-bundle.ts) and starts every worker with it, so that no
 * worker needs to read a file.
 *
 * Order: take what is needed of Node, seal the realm, and only then run the plugin's bundle.
 * The ports, the ring and comlink stay in closures of this file: a plugin holds `ctx` only.
 */

import { setPriority } from 'node:os';
import { workerData } from 'node:worker_threads';
import { expose, wrap } from 'comlink';

import { HEARTBEAT_MS, WORKER_NICENESS, WORKER_SAMPLE_MS } from '../kernel/base/limits.ts';
import { brokerClient } from './broker-client.ts';
import { createContext } from './context.ts';
import { Doorbell } from './doorbell.ts';
import { HostedPlugin } from './hosted-plugin.ts';
import { revive } from './outcome.ts';
import { PluginLog } from './plugin-log.ts';
import { PluginMetrics } from './plugin-metrics.ts';
import { portEndpoint } from './port-endpoint.ts';
import type { KernelShape, PluginShape, WorkerStart } from './protocol.ts';
import { RingWriter } from './ring.ts';
import { sealRealm } from './sandbox.ts';
import { SeriesWriter } from './series-writer.ts';

/** How often metrics that changed are sent. */
const METRICS_MS = 1_000;

const start = workerData as WorkerStart;
const { plugin, ports } = start;
const memoryUsage = process.memoryUsage.bind(process);

// On Linux, and only there, this is the priority of the calling thread: where plugins and the kernel
// want the same core, the kernel goes first.
if (process.platform === 'linux') setPriority(WORKER_NICENESS);

const doorbell = new Doorbell(start.doorbell);
const ring = new RingWriter(start.ring, () => doorbell.ring());
const remote = wrap<KernelShape>(portEndpoint(ports.kernel));
const kernel: KernelShape = {
  openSeries: (key, schema) => remote.openSeries(key, schema),
  query: (query) => remote.query(query),
  lastRow: (key) => remote.lastRow(key),
  log: (lines, droppedLines) => remote.log(lines, droppedLines),
  metrics: (metrics) => remote.metrics(metrics),
};
const log = new PluginLog(kernel.log, performance.now.bind(performance));
const metrics = new PluginMetrics(kernel.metrics);
const writer = new SeriesWriter(ring, async (key, schema) =>
  revive(await kernel.openSeries(String(key), schema)),
);

const evaluate = sealRealm({
  plugin,
  onConsole: (level, values) => log.console(level, values),
});

setInterval(() => ring.beat(), HEARTBEAT_MS);
setInterval(() => {
  const { heapUsed, external, arrayBuffers } = memoryUsage();
  ring.reportMemory(heapUsed, Math.max(external, arrayBuffers));
}, WORKER_SAMPLE_MS);
setInterval(() => {
  metrics.send();
  log.send();
}, METRICS_MS);

const hosted = new HostedPlugin({
  plugin,
  config: start.config,
  evaluate: () => evaluate(start.code, start.filename),
  createContext: (config, line, signal) =>
    createContext({
      plugin,
      config,
      timezone: start.timezone,
      signal,
      kernel,
      writer,
      network: brokerClient(line, plugin),
      log,
      metrics,
    }),
  flush: () => writer.flush(),
  settle: async () => {
    await writer.flush();
    metrics.send();
    log.send();
  },
});

const shape: PluginShape = {
  load: () => hosted.load(),
  configure: () => hosted.configure(),
  start: (line) => hosted.start(line),
  fire: (batch) => hosted.fire(batch),
  stop: () => hosted.stop(),
};
expose(Object.freeze(Object.assign(Object.create(null), shape)), portEndpoint(ports.plugin));
