import { expect, test } from 'vitest';
import { TapeMask } from '../../../../kernel/supervisor/tape-mask.ts';

test('a secret of mkts.yml is nowhere, in whatever form it is sent or comes back', () => {
  const mask = new TapeMask(['s3cr3t/value']);
  const shown = [
    mask.url('wss://venue.example/s3cr3t%2Fvalue?x=s3cr3t%2Fvalue'),
    mask.sent('plain s3cr3t/value'),
    mask.sent('{"args":["s3cr3t/value"]}'),
    mask.received('welcome, s3cr3t/value'),
    mask.headers({ 'x-who': 's3cr3t/value' })['x-who'],
    mask.hide('failed with s3cr3t/value'),
  ].join('\n');
  expect(shown).not.toContain('s3cr3t');
  expect(shown.match(/\*\*\*/g)).toHaveLength(7);
});

test('what a venue hands out under a name of a secret is hidden from then on', () => {
  const mask = new TapeMask([]);
  expect(mask.received('{"listenKey":"abcdef123456","price":"100.25"}')).toBe(
    '{"listenKey":"***","price":"100.25"}',
  );
  expect(mask.url('wss://venue.example/ws/abcdef123456')).toBe('wss://venue.example/ws/***');
  // Numbers are market data: hiding one would reach into others.
  expect(mask.received('{"token":1234567,"price":12345678.5}')).toBe(
    '{"token":1234567,"price":12345678.5}',
  );
});

test('credentials a plugin sends are hidden by their name', () => {
  const mask = new TapeMask([]);
  expect(mask.sent('{"op":"auth","passphrase":"x","sign":"AbC","ts":5}')).toBe(
    '{"op":"auth","passphrase":"***","sign":"***","ts":5}',
  );
  expect(mask.url('https://u:p@venue.example/?signature=abc&from=1')).not.toMatch(/abc|u:p/);
  expect(Object.keys(mask.headers({ 'set-cookie': 'a', date: 'b', 'x-auth-id': 'c' }))).toEqual([
    'date',
  ]);
});
