import { expect, test } from 'vitest';
import { hideSecrets, maskSecrets, secretValues } from '../../../../kernel/base/secrets.ts';

const config = {
  api_key: 'abcdef123',
  Password: 42,
  symbols: ['BTC'],
  nested: { authHeaders: { first: 'one-secret', enabled: true } },
  tokens: ['token-a', 'token-b'],
};

test('texts and numbers under the name of a secret are masked, at any depth, and others are not', () => {
  expect(maskSecrets(config)).toEqual({
    api_key: '***',
    Password: '***',
    symbols: ['BTC'],
    nested: { authHeaders: { first: '***', enabled: true } },
    tokens: ['***', '***'],
  });
  expect(config.api_key).toBe('abcdef123');
});

test('the values of secrets are found', () => {
  const values = ['abcdef123', '42', 'one-secret', 'token-a', 'token-b'];
  expect([...secretValues(config)].sort()).toEqual(values.sort());
});

test('a secret is hidden in text as it is, in JSON and in a URL; the longest first', () => {
  const hide = hideSecrets(['abc"def', 'abc"defghi', 'short']);
  expect(hide('say abc"def!')).toBe('say ***!');
  expect(hide(JSON.stringify({ say: 'abc"defghi' }))).toBe('{"say":"***"}');
  expect(hide('http://x/?k=abc%22def')).toBe('http://x/?k=***');
  expect(hide('a short word')).toBe('a short word');
});
