/**
 * Entry of the broker thread: all network traffic of all plugins, one thread a process. A plugin's
 * realm holds no handle of the network, only a MessagePort to here; what it may reach was decided
 * by the kernel, which alone speaks to this thread's parent port.
 */

import { type MessagePort, parentPort } from 'node:worker_threads';
import { BrokerLine } from './broker-line.ts';
import type { BrokerCommand } from './broker-protocol.ts';
import { watchHandshakes } from './broker-socket.ts';
import { NetworkGrants } from './network-grants.ts';

function run(commands: MessagePort): void {
  const lines = new Map<string, BrokerLine>();
  watchHandshakes();
  commands.on('message', (command: BrokerCommand) => {
    switch (command.kind) {
      case 'register': {
        const { plugin, grants, port } = command;
        // A plugin that is registered again gets a new line; the old one ends.
        lines.get(plugin)?.close();
        lines.set(plugin, new BrokerLine(port, new NetworkGrants(plugin, grants)));
        break;
      }
      case 'unregister':
        lines.get(command.plugin)?.close();
        lines.delete(command.plugin);
        break;
      case 'stop':
        // Order: close frames are written first; with the ports closed nothing keeps the thread
        // but closing handshakes, which the kernel does not wait for long.
        for (const line of lines.values()) line.close();
        commands.close();
        break;
    }
  });
}

if (parentPort !== null) run(parentPort);
