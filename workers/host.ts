/**
 * Entry of a plugin's worker. The kernel bundles this file once, with all it imports, into one
 * CommonJS text (kernel/supervisor/host-bundle.ts) and starts every worker with it, so that no
 * worker needs to read a file.
 *
 * Order: take what is needed of Node, seal the realm, and only then run the plugin's bundle.
 * The ports, the ring and comlink stay in closures of this file: a plugin holds `ctx` only.
 */

import { setPriority } from 'node:os';
import { MessageChannel as Channel, type MessagePort, workerData } from 'node:worker_threads';
import { expose, wrap } from 'comlink';

import {
  CPU_LOOK_MS,
  HEARTBEAT_MS,
  WORKER_NICENESS,
  WORKER_SAMPLE_MS,
} from '../kernel/base/limits.ts';
import type { Context } from '../plugins/sdk.ts';
import { brokerClient } from './broker-client.ts';
import { type ContextParts, createContext } from './context.ts';
import { CpuBudget } from './cpu-budget.ts';
import { Doorbell } from './doorbell.ts';
import { grantedBuiltins } from './granted-builtins.ts';
import { HostedPlugin } from './hosted-plugin.ts';
import { KeptState } from './kept-state.ts';
import { revive } from './outcome.ts';
import { PluginDenials } from './plugin-denials.ts';
import { PluginLetters } from './plugin-letters.ts';
import { PluginLog } from './plugin-log.ts';
import { PluginMetrics } from './plugin-metrics.ts';
import { PluginSecrets } from './plugin-secrets.ts';
import { portEndpoint } from './port-endpoint.ts';
import type { KernelShape, PluginShape, WorkerStart } from './protocol.ts';
import { RefusedKeys } from './refused-keys.ts';
import { rehearse } from './rehearsal.ts';
import { RingWriter } from './ring.ts';
import { sealRealm } from './sandbox.ts';
import { SeriesWriter } from './series-writer.ts';

/** How often metrics that changed are sent. */
const METRICS_MS = 1_000;

const start = workerData as WorkerStart;
const { plugin, ports, allowance } = start;
const memoryUsage = process.memoryUsage.bind(process);
const nowMs = performance.now.bind(performance);
const cpuUsedMs = threadCpuClock();

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
  denied: (denials) => remote.denied(denials),
  deadLetters: (letters, dropped) => remote.deadLetters(letters, dropped),
};
const log = new PluginLog(kernel.log, allowance.logLinesPerSecond, nowMs);
const denials = new PluginDenials(kernel.denied);
const refusedKeys = new RefusedKeys((key) => denials.note('write', key));
const metrics = new PluginMetrics(kernel.metrics);
const letters = new PluginLetters({
  send: kernel.deadLetters,
  noteRefused: (rowCount) => ring.noteRefused(rowCount),
  now: Date.now.bind(Date),
});
const keptState = new KeptState(plugin);
const writer = new SeriesWriter(
  ring,
  (text, schema) =>
    refusedKeys.open(String(text), async (key) => revive(await kernel.openSeries(key, schema))),
  keptState,
  (writes, error, acceptedRows) => letters.refused(writes, error, acceptedRows),
  nowMs,
);

const evaluate = sealRealm({
  plugin,
  onConsole: (level, values) => log.console(level, values),
  builtins: grantedBuiltins(plugin, allowance.grants),
  onDenied: (what) => denials.note('sandbox', what),
});
const secrets = new PluginSecrets({
  plugin,
  onDenied: (name) => denials.note('secret', name),
});
const cpu = new CpuBudget({
  percent: allowance.cpuPercent,
  usedMs: cpuUsedMs,
  nowMs,
  sleep: (ms) => ring.sleep(ms),
  report: (usedMs, throttledMs) => ring.reportCpu(usedMs, throttledMs),
});

setInterval(() => ring.beat(), HEARTBEAT_MS);
setInterval(() => {
  const { heapUsed, external, arrayBuffers } = memoryUsage();
  ring.reportMemory(heapUsed, Math.max(external, arrayBuffers));
}, WORKER_SAMPLE_MS);
setInterval(() => cpu.look(), CPU_LOOK_MS);
setInterval(() => {
  metrics.send();
  log.send();
  denials.send();
  letters.tick();
}, METRICS_MS);

type OwnParts = Pick<ContextParts, 'config' | 'signal' | 'writer' | 'state'> & {
  readonly line: MessagePort;
};
const contextOf = ({ line, ...own }: OwnParts): Context<unknown> =>
  createContext({
    ...own,
    plugin,
    timezone: start.timezone,
    kernel,
    letters,
    network: brokerClient(line, plugin),
    log,
    metrics,
    secrets,
  });

const hosted = new HostedPlugin({
  plugin,
  config: start.config,
  evaluate: () => evaluate(start.code, start.filename, start.libraries),
  createContext: (config, line, state, signal) => {
    keptState.reset(state);
    return contextOf({ config, signal, writer, state: keptState, line });
  },
  flush: () => writer.flush(),
  settle: async () => {
    await writer.flush();
    metrics.send();
    log.send();
    await letters.settled();
  },
  close: async () => {
    await writer.close();
    metrics.send();
    log.send();
    await letters.settled();
  },
  open: () => writer.open(),
});

const shape: PluginShape = {
  load: async () => {
    const outcome = await hosted.load();
    if (outcome.ok) secrets.declare(outcome.value.secrets);
    return outcome;
  },
  configure: async () => {
    const { port1: line, port2 } = new Channel();
    await rehearse(plugin, (writer, state, signal) =>
      contextOf({ config: undefined, signal, writer, state, line }),
    );
    port2.close();
    return hosted.configure();
  },
  start: (line, state, values, series) => {
    cpu.hold();
    secrets.give(values);
    writer.foresee(series);
    return hosted.start(line, state);
  },
  fire: (batch) => hosted.fire(batch),
  park: () => hosted.park(),
  stop: () => {
    cpu.release();
    return hosted.stop();
  },
};
expose(Object.freeze(Object.assign(Object.create(null), shape)), portEndpoint(ports.plugin));

/** CPU time of this thread in ms. An older Node says only how long its event loop was busy. */
function threadCpuClock(): () => number {
  const { threadCpuUsage } = process;
  if (typeof threadCpuUsage === 'function')
    return () => {
      const { user, system } = threadCpuUsage.call(process);
      return (user + system) / 1000;
    };
  const busy = performance.eventLoopUtilization.bind(performance);
  return () => busy().active;
}
