/**
 * What the machine itself can do, measured in the same run as the server: a number of a benchmark
 * means something only beside these.
 */

import { once } from 'node:events';
import { closeSync, fdatasyncSync, openSync, readSync, writeSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { type Latencies, summarize } from './query-load.ts';

const KiB = 1024;

export interface Probes {
  /** write + fdatasync in place, into a file that has its blocks. */
  readonly fdatasync4K: Latencies;
  readonly fdatasync1M: Latencies;
  /** pread of 32 KiB from the page cache. */
  readonly pread32K: Latencies;
  /** 8 connections, 100 bytes there, 600 back, the server in a thread of its own. */
  readonly loopbackEcho: Latencies;
}

/** Takes about three seconds. */
export async function probeMachine(directory: string): Promise<Probes> {
  return {
    fdatasync4K: probeDatasync(directory, 4 * KiB, 200),
    fdatasync1M: probeDatasync(directory, KiB * KiB, 50),
    pread32K: probeRead(directory),
    loopbackEcho: await probeLoopback(),
  };
}

function probeDatasync(directory: string, bytes: number, rounds: number): Latencies {
  const descriptor = openSync(join(directory, 'probe'), 'w+');
  const block = Buffer.alloc(bytes, 1);
  const span = 16 * KiB * KiB;
  for (let at = 0; at < span; at += bytes) writeSync(descriptor, block, 0, bytes, at);
  fdatasyncSync(descriptor);
  const samples: number[] = [];
  const startedMs = performance.now();
  for (let round = 0; round < rounds; round++) {
    const beganMs = performance.now();
    writeSync(descriptor, block, 0, bytes, (round * bytes) % span);
    fdatasyncSync(descriptor);
    samples.push(performance.now() - beganMs);
  }
  closeSync(descriptor);
  return summarize(samples, performance.now() - startedMs);
}

function probeRead(directory: string): Latencies {
  const descriptor = openSync(join(directory, 'probe'), 'r');
  const block = Buffer.alloc(32 * KiB);
  const samples: number[] = [];
  const startedMs = performance.now();
  for (let round = 0; round < 2000; round++) {
    const beganMs = performance.now();
    readSync(descriptor, block, 0, block.length, (round * 7 * block.length) % (8 * KiB * KiB));
    samples.push(performance.now() - beganMs);
  }
  closeSync(descriptor);
  return summarize(samples, performance.now() - startedMs);
}

const ECHO = `
const { createServer } = require('node:net');
const { parentPort } = require('node:worker_threads');
const reply = Buffer.alloc(600, 1);
createServer((socket) => {
  socket.setNoDelay(true);
  socket.on('data', () => socket.write(reply));
  socket.on('error', () => socket.destroy());
}).listen(0, '127.0.0.1', function () { parentPort.postMessage(this.address().port); });
`;

async function probeLoopback(): Promise<Latencies> {
  const worker = new Worker(ECHO, { eval: true });
  const [port] = (await once(worker, 'message')) as [number];
  const samples: number[] = [];
  const startedMs = performance.now();
  const untilMs = startedMs + 2000;
  await Promise.all(
    Array.from({ length: 8 }, async () => {
      const socket = connect(port, '127.0.0.1');
      socket.setNoDelay(true);
      await once(socket, 'connect');
      const request = Buffer.alloc(100, 2);
      while (performance.now() < untilMs) {
        const sentMs = performance.now();
        socket.write(request);
        for (let bytes = 0; bytes < 600; ) {
          const [data] = (await once(socket, 'data')) as [Buffer];
          bytes += data.length;
        }
        samples.push(performance.now() - sentMs);
      }
      socket.destroy();
    }),
  );
  const durationMs = performance.now() - startedMs;
  await worker.terminate();
  return summarize(samples, durationMs);
}
