import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  formatTapeEntry,
  formatTapeHeader,
  parseTape,
  type TapeEntry,
} from '../../../../kernel/base/tape.ts';

const HEADER = formatTapeHeader({ plugin: 'venue', startedMs: Date.UTC(2026, 0, 5, 15) });

test('a tape is text a person can read and edit', () => {
  const entry: TapeEntry = {
    kind: 'fetch',
    atMs: 12,
    method: 'GET',
    url: 'https://venue.example/bars?from=1',
    sent: undefined,
    answer: { status: 200, headers: { date: 'now' }, body: '[[1,2.5]]' },
  };
  expect(HEADER).toBe('{"tape":1,"plugin":"venue","started":"2026-01-05T15:00:00.000Z"}');
  expect(formatTapeEntry(entry)).toBe(
    '{"at":12,"fetch":"GET https://venue.example/bars?from=1","status":200,' +
      '"headers":{"date":"now"},"body":[[1,2.5]]}',
  );
});

const text = fc.oneof(
  fc.string(),
  fc.json(),
  fc.constantFrom('{"a": 1}', '[1.0]', '{"a":1e3}', '"text"', '{', '{"a":1,"a":2}'),
);
const place = { atMs: fc.nat(), socket: fc.nat() };
const anyEntry: fc.Arbitrary<TapeEntry> = fc.oneof(
  fc.record({
    kind: fc.constant('fetch' as const),
    atMs: fc.nat(),
    method: fc.constantFrom('GET', 'POST'),
    url: fc.webUrl(),
    sent: fc.option(text, { nil: undefined }),
    answer: fc.oneof(
      fc.record({
        status: fc.integer({ min: 100, max: 599 }),
        headers: fc.dictionary(fc.stringMatching(/^[a-z-]{1,9}$/), fc.string()),
        body: text,
      }),
      fc.record({ failed: fc.string() }),
    ),
  }),
  fc.record({ kind: fc.constant('open' as const), ...place, url: fc.webUrl() }),
  fc.record({ kind: fc.constant('sent' as const), ...place, text }),
  fc.record({ kind: fc.constant('received' as const), ...place, text }),
  fc.record({
    kind: fc.constant('closed' as const),
    ...place,
    code: fc.nat(),
    reason: fc.string(),
  }),
  fc.record({ kind: fc.constant('failed' as const), ...place, reason: fc.string() }),
);

test('what is written is read again, byte for byte', () => {
  fc.assert(
    fc.property(fc.array(anyEntry), (entries) => {
      const lines = [HEADER, ...entries.map(formatTapeEntry)];
      expect(parseTape(`${lines.join('\n')}\n`, 'tape').entries).toEqual(entries);
    }),
  );
});

test('a tape that is none is refused with the line and what is wrong with it', () => {
  const refused = (...lines: string[]): unknown => {
    try {
      return parseTape(lines.join('\n'), 'bars.jsonl');
    } catch (error) {
      return (error as Error).message;
    }
  };
  expect(refused('')).toBe('tape bars.jsonl:1: it is empty');
  expect(refused('{"tape":2}')).toBe('tape bars.jsonl:1: it is not a tape of version 1');
  expect(refused('[]')).toBe('tape bars.jsonl:1: it is not an object');
  expect(refused(HEADER, '', '{"at":1')).toMatch(/^tape bars\.jsonl:3: /);
  expect(refused(HEADER, '{"at":1,"fetch":"bars"}')).toMatch(/:2: fetch is not "<METHOD> <url>"/);
  expect(refused(HEADER, '{"at":1,"fetch":"GET http:\\u002f/a"}')).toMatch(/:2: status is not/);
  expect(refused(HEADER, '{"at":1,"socket":1}')).toMatch(/:2: closed is not a number/);
});
