/**
 * Clients that ask for the last ten bars of a random symbol over kept-alive connections, each the
 * next one when the last is answered. Raw sockets, so that the client costs little of the machine.
 */

import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { Packr } from 'msgpackr';

const packr = new Packr({ useRecords: false, variableMapSize: true });

export interface Latencies {
  readonly count: number;
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
}

/** The bytes of a query for the last `limit` bars of a key. */
export function queryBytes(host: string, key: string, limit: number): Buffer {
  const body = packr.pack({
    jsonrpc: '2.0',
    method: 'DataService.Query',
    id: '1',
    params: { requests: [{ destination: key, limit_record_count: limit }] },
  });
  const head = `POST /rpc HTTP/1.1\r\nHost: ${host}\r\nContent-Type: application/x-msgpack\r\nContent-Length: ${body.length}\r\n\r\n`;
  return Buffer.concat([Buffer.from(head), body]);
}

/** Runs `connections` clients until `untilMs` (performance.now). */
export async function runQueries(options: {
  readonly port: number;
  readonly connections: number;
  readonly requests: readonly Buffer[];
  readonly untilMs: number;
}): Promise<Latencies> {
  const samples: number[] = [];
  const startedMs = performance.now();
  await Promise.all(
    Array.from({ length: options.connections }, (_, client) => runClient(options, client, samples)),
  );
  return summarize(samples, performance.now() - startedMs);
}

async function runClient(
  { port, requests, untilMs }: { port: number; requests: readonly Buffer[]; untilMs: number },
  client: number,
  samples: number[],
): Promise<void> {
  const socket = connect(port, '127.0.0.1');
  socket.setNoDelay(true);
  await once(socket, 'connect');
  let next = client * 7919;
  while (performance.now() < untilMs) {
    next = (next * 31 + 17) % 1_000_003;
    const request = requests[next % requests.length];
    const sentMs = performance.now();
    if (request !== undefined) await exchange(socket, request);
    samples.push(performance.now() - sentMs);
  }
  socket.destroy();
}

function exchange(socket: Socket, request: Buffer): Promise<void> {
  return new Promise((resolve, reject) => {
    let received: Buffer = Buffer.alloc(0);
    const onData = (data: Buffer): void => {
      received = received.length === 0 ? data : Buffer.concat([received, data]);
      const headEnd = received.indexOf('\r\n\r\n');
      if (headEnd < 0) return;
      const head = received.toString('latin1', 0, headEnd);
      const length = Number(/content-length: (\d+)/i.exec(head)?.[1] ?? Number.NaN);
      if (!head.startsWith('HTTP/1.1 200') || Number.isNaN(length)) {
        reject(new Error(`unexpected answer: ${head}`));
        return;
      }
      if (received.length < headEnd + 4 + length) return;
      socket.off('data', onData);
      resolve();
    };
    socket.on('data', onData);
    socket.write(request);
  });
}

/** Percentiles of samples in milliseconds. */
export function summarize(samples: number[], durationMs: number): Latencies {
  const sorted = Float64Array.from(samples).sort();
  const at = (share: number): number =>
    sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
  return {
    count: sorted.length,
    perSecond: Math.round((sorted.length / durationMs) * 1000),
    p50Ms: at(0.5),
    p99Ms: at(0.99),
    maxMs: sorted.at(-1) ?? Number.NaN,
  };
}
