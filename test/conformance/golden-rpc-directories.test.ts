/**
 * A whole server over data directories recorded from the reference server, with their settings: it
 * must answer every recorded request, and leave the directories as they were.
 */

import { execFileSync } from 'node:child_process';
import { Agent } from 'node:http';
import { afterAll, describe, expect, test } from 'vitest';
import { VERSION } from '../../kernel/package-root.ts';
import {
  ARCHIVE_NAMES,
  type Deviation,
  expectedAnswer,
  longKeyOf,
  type Recording,
  readRecording,
  unpack,
} from '../support/golden.ts';
import { temporaryRoot } from '../support/store.ts';
import { logsIn, startTestServer, type TestServer } from '../support/test-server.ts';
import { callMsgpack, decode, responsesOf } from '../support/wire-client.ts';

/** How often ours answers otherwise, by archive: a deviation that is gone, or new, shows. */
const DEVIATIONS: Readonly<Record<string, Readonly<Partial<Record<Deviation, number>>>>> = {
  fixed: { 'Jan 1': 4 },
  types: { i1: 10 },
  'ticks-raw': { 'Jan 1': 2, W22: 1, 'end leak': 1 },
  'ticks-snappy': { 'Jan 1': 2, W22: 1, 'end leak': 1 },
  'tz-newyork': { 'Jan 1': 3 },
};

const scratch = temporaryRoot();
const agent = new Agent({ keepAlive: true, maxSockets: 1 });
afterAll(() => {
  agent.destroy();
  scratch.remove();
});

describe.skipIf(ARCHIVE_NAMES.length === 0)(
  'servers over recorded data directories (skipped where ../shared/golden is not there)',
  () => {
    test.each(ARCHIVE_NAMES)(
      '%s is served as recorded, and left as it was',
      async (name) => {
        const recording = readRecording(name);
        const root = unpack(name, scratch.root);
        const before = everythingIn(root);
        expect(logsIn(root), 'the log of the Go server').toHaveLength(1);
        const server = await startTestServer({
          ...recording.config,
          root_directory: root,
          tick_read_mode: 'reference',
        });
        try {
          await checkInfo(server, recording);
          const deviations: Partial<Record<Deviation, number>> = {};
          for (const query of recording.queries)
            for (const deviation of await checkQuery(server, recording, query))
              deviations[deviation] = (deviations[deviation] ?? 0) + 1;
          expect(deviations).toEqual(DEVIATIONS[name] ?? {});
          await server.stop();
          expect(server.errors).toEqual([]);
          expect(logsIn(root)).toEqual([]);
          expect(everythingIn(root).equals(before), 'files, modes or directories changed').toBe(
            true,
          );
        } finally {
          await server.remove();
        }
        // Full answers read years of seconds, which are gigabytes of holes.
      },
      180_000,
    );
  },
);

async function checkInfo(server: TestServer, { info }: Recording): Promise<void> {
  const requests = info.map(({ key }) => ({ key }));
  const answer = await callMsgpack(server.port, 'GetInfo', { requests }, agent);
  expect(responsesOf(answer)).toEqual(
    info.map(({ key: _key, ...rest }) => ({
      ...rest,
      ServerResp: { error: '', version: VERSION },
    })),
  );
  const listed = await callMsgpack(server.port, 'ListSymbols', { format: 'tbk' }, agent);
  expect(decode(listed)).toMatchObject({ result: { Results: info.map(({ key }) => key).sort() } });
}

async function checkQuery(
  server: TestServer,
  recording: Recording,
  query: Recording['queries'][number],
): Promise<readonly Deviation[]> {
  const expected = expectedAnswer(recording, query);
  const { deviations, data, ...rest } = expected;
  const answer = await callMsgpack(server.port, 'Query', { requests: [query.request] }, agent);
  const key = longKeyOf(query.request.destination);
  expect(decode(answer), query.name).toEqual({
    jsonrpc: '2.0',
    id: 1,
    result: {
      responses: [
        {
          result: {
            ...rest,
            data: data.map((bytes) => bytes.toString('base64')),
            startindex: { [key]: 0 },
            lengths: { [key]: rest.length },
          },
        },
      ],
      version: VERSION,
      timezone: recording.zone.name,
    },
  });
  return deviations;
}

/** Names, modes, sizes, bytes and holes of all below a directory; logs are not looked at. */
function everythingIn(root: string): Buffer {
  // In the POSIX format names would hold the number of tar's process.
  const options = ['--format=gnu', '--sparse', '--sort=name', '--mtime=@0', '--exclude=*.walfile'];
  return execFileSync('tar', [...options, '-cf', '-', '-C', root, '.'], {
    maxBuffer: 256 * 1024 * 1024,
  });
}
