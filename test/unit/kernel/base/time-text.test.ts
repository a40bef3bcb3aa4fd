import { expect, test } from 'vitest';
import { parseTimeText } from '../../../../kernel/base/time-text.ts';

const JAN_4 = Date.UTC(2021, 0, 4) / 1000;

test.each([
  ['2021-01-04', JAN_4, 0],
  ['2021-01-04T15:30', JAN_4 + 55_800, 0],
  ['2021-01-04 15:30:01', JAN_4 + 55_801, 0],
  ['2021-01-04T15:30:00.5Z', JAN_4 + 55_800, 500_000_000],
  ['2021-01-04t15:30:00.000000001z', JAN_4 + 55_800, 1],
  ['2021-01-04T10:30:00-05:00', JAN_4 + 55_800, 0],
  ['2021-01-04T10:30:00-0500', JAN_4 + 55_800, 0],
  ['1609772400', 1_609_772_400, 0],
  ['1609772400.25', 1_609_772_400, 250_000_000],
  ['-60', -60, 0],
  ['0001-01-01', -62_135_596_800, 0],
])('%s is a time', (text, seconds, nanos) => {
  expect(parseTimeText(text)).toEqual({ seconds, nanos });
});

test.each(['', 'today', '2021-13-01', '2021-02-30', '2021-01-04T25:00', '21-01-04', '-1.5', '1e9'])(
  '"%s" is none',
  (text) => {
    expect(parseTimeText(text)).toBeUndefined();
  },
);
