import { expect, test } from 'vitest';
import {
  isStorable,
  parseBucketTimeframe,
  parseQueryTimeframe,
} from '../../../../kernel/base/timeframe.ts';

test.each([
  ['1Sec', 1],
  ['1S', 1],
  ['1Sunday', 1],
  ['1Min', 60],
  ['1T', 60],
  ['60Sec', 60],
  ['1Hour', 3600],
  ['15MinX', 900],
  ['24H', 86_400],
  ['1440Min', 86_400],
  ['1Week', 604_800],
  ['1Y', 31_536_000],
])('a bucket of %s has intervals of %d seconds', (text, seconds) => {
  expect(parseBucketTimeframe(text)).toBe(seconds);
});

test.each(['1M', '0Min', 'xyz', '1DT', 'x1Min', '', 'Min'])('%s is no timeframe', (text) => {
  expect(parseBucketTimeframe(text)).toBeUndefined();
});

test('what divides a day can be stored', () => {
  expect([1, 60, 7200, 14_400, 86_400].every(isStorable)).toBe(true);
  expect([420, 604_800, 172_800].some(isStorable)).toBe(false);
});

test.each([
  ['4H', '4H', 1],
  ['8H', '4H', 2],
  ['6H', '2H', 3],
  ['45Min', '15Min', 3],
  ['1W', '1D', 7],
  ['1M', '1D', 31],
  ['90Sec', '30Sec', 3],
])('a query for %s reads %s with the limit times %d', (asked, read, limitFactor) => {
  const candidates = parseQueryTimeframe(asked)?.candidates ?? [];
  expect(candidates).toContainEqual({ timeframe: read, limitFactor });
  const best = candidates.find(({ timeframe }) => timeframe !== asked) ?? candidates[0];
  if (asked !== read) expect(best).toEqual({ timeframe: read, limitFactor });
});
