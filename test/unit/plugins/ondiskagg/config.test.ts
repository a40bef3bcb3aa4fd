import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { parse } from 'yaml';
import { isStorable, parseBucketTimeframe } from '../../../../kernel/base/timeframe.ts';
import { configSchema } from '../../../../plugins/ondiskagg/config.ts';

/** Problems as `path: message`. */
function problemsOf(config: unknown): readonly string[] {
  const result = configSchema.safeParse(config);
  return result.success
    ? []
    : result.error.issues.map(({ path, message }) => `${path.join('.')}: ${message}`);
}

test('the sample loads', () => {
  const file = join(import.meta.dirname, '../../../../plugins/ondiskagg/sample.yml');
  const { triggers } = parse(readFileSync(file, 'utf8'));
  expect(triggers[0].module).toBe('ondiskagg');
  expect(problemsOf(triggers[0].config)).toEqual([]);
});

test('destinations that can be stored are taken, in any order', () => {
  expect(problemsOf({ destinations: ['1D', '5Min', '1H'] })).toEqual([]);
  expect(problemsOf({ destinations: ['5T'] })).toEqual([]);
  expect(problemsOf({ destinations: ['5Min'], filter: '' })).toEqual([]);
});

test.each(['1m', '1d', '1M', '7Min', '2D', '1W', '1Y', '0Min', 'Min', '5Minutes', '', '-5Min'])(
  "destination '%s' is refused",
  (text) => {
    expect(problemsOf({ destinations: ['1H', text] })).toEqual([
      'destinations.1: not a timeframe that divides a day, such as 5Min, 1H or 1D',
    ]);
  },
);

test('what is taken can be stored', () => {
  for (let count = 1; count <= 100; count++)
    for (const unit of ['S', 'Sec', 'T', 'Min', 'H', 'D', 'W', 'Y']) {
      const seconds = parseBucketTimeframe(`${count}${unit}`) ?? 0;
      const taken = problemsOf({ destinations: [`${count}${unit}`] }).length === 0;
      expect(taken, `${count}${unit}`).toBe(isStorable(seconds));
    }
});

test('none, twice the same, and unknown settings are refused', () => {
  expect(problemsOf({})).toHaveLength(1);
  expect(problemsOf({ destinations: [] })).toHaveLength(1);
  expect(problemsOf({ destinations: ['1H', '60Min'] })).toEqual([
    'destinations: the same timeframe is given twice',
  ]);
  expect(problemsOf({ destinations: ['1H'], catch_up: true })).toHaveLength(1);
});

test('a filter is refused, not ignored', () => {
  expect(problemsOf({ destinations: ['1D'], filter: 'nasdaq' })).toEqual([
    expect.stringMatching(/^filter: 'nasdaq' is not part of this version/),
  ]);
  expect(problemsOf({ destinations: ['1D'], filter: 'something' })).toEqual([
    'filter: unknown filter; leave it out',
  ]);
});
