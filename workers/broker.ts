/**
 * Entry of the broker thread: all network traffic of all plugins, one thread a process. A plugin's
 * realm holds no handle of the network, only a MessagePort to here; what it may reach was decided
 * by the kernel, which alone speaks to this thread's parent port.
 */

import { type MessagePort, parentPort } from 'node:worker_threads';
import { BrokerLine } from './broker-line.ts';
import type { BrokerCommand } from './broker-protocol.ts';
import { watchHandshakes } from './broker-socket.ts';
import { NetworkDenials } from './network-denials.ts';
import { NetworkGrants } from './network-grants.ts';

function run(commands: MessagePort): void {
  const lines = new Map<string, BrokerLine>();
  const denials = new NetworkDenials((event) => commands.postMessage(event));
  watchHandshakes();
  commands.on('message', (command: BrokerCommand) => {
    switch (command.kind) {
      case 'register': {
        const { line, plugin, grants, fetchesMax, port } = command;
        const granted = new NetworkGrants(plugin, grants, (host) => denials.note(plugin, host));
        lines.get(line)?.close();
        lines.set(line, new BrokerLine(port, granted, fetchesMax));
        break;
      }
      case 'unregister':
        lines.get(command.line)?.close();
        lines.delete(command.line);
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
