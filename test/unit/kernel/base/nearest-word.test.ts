import { expect, test } from 'vitest';
import { editDistance, nearestWord, suggestion } from '../../../../kernel/base/nearest-word.ts';

test('an edit is a letter more, a letter less, another letter, or two neighbours swapped', () => {
  expect(editDistance('filter', 'filter')).toBe(0);
  expect(editDistance('filter', 'filters')).toBe(1);
  expect(editDistance('filter', 'fiter')).toBe(1);
  expect(editDistance('filter', 'fillet')).toBe(2);
  expect(editDistance('port', 'prot')).toBe(1);
  expect(editDistance('', 'abc')).toBe(3);
});

test('the nearest word is found whatever its case, and a far one is not offered', () => {
  const known = ['root_directory', 'listen_port', 'listen_host'];
  expect(nearestWord('rot_directory', known)).toBe('root_directory');
  expect(nearestWord('Listen_Prot', known)).toBe('listen_port');
  expect(nearestWord('triggers', known)).toBeUndefined();
});

test('a short word is near only to what differs in one letter', () => {
  expect(nearestWord('om', ['on'])).toBe('on');
  expect(nearestWord('xy', ['on'])).toBeUndefined();
  expect(suggestion('om', ['on'])).toBe(", did you mean 'on'?");
  expect(suggestion('xy', ['on'])).toBe('');
});
