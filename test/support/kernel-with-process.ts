/** A kernel with one plugin process that spins: says its number, and waits to be killed. */

import { PluginProcess } from '../../kernel/supervisor/plugin-process.ts';
import { HostBench, pluginText } from './host-bench.ts';

const bench = await HostBench.start('process', pluginText(`ctx.log.info('spinning'); for (;;) {}`));
bench.run().catch(() => undefined);
if (bench.host instanceof PluginProcess) process.stdout.write(`${bench.host.pid}\n`);
