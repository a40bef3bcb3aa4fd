import { expect, test } from 'vitest';
import { adminRefusal } from '../../../../kernel/frontend/admin-guard.ts';

const HERE = '127.0.0.1';
const TOKEN = 'a-token-of-some-length';

test.each([
  ['a program on this machine', { host: '127.0.0.1:5993' }, HERE],
  ['by the name localhost', { host: 'localhost:5993' }, HERE],
  ['by IPv6', { host: '[::1]:5993' }, '::1'],
  ['by IPv4 in IPv6', { host: 'LOCALHOST' }, '::ffff:127.0.0.1'],
  [
    'a page of its own',
    { host: 'localhost:1', origin: 'http://localhost:1', 'sec-fetch-site': 'same-origin' },
    HERE,
  ],
  ['typed into the address bar', { host: 'localhost:1', 'sec-fetch-site': 'none' }, HERE],
])('without a token it lets in %s', (_who, headers, address) => {
  expect(adminRefusal({ headers, address }, undefined)).toBeUndefined();
});

test.each([
  ['another machine', { host: '10.0.0.5:5993' }, '10.0.0.9', 'another machine'],
  ['nobody knows who', { host: 'localhost' }, undefined, 'another machine'],
  [
    'a page of another site',
    { host: 'localhost:1', origin: 'http://evil.example' },
    HERE,
    'web page',
  ],
  [
    'a page of another port',
    { host: 'localhost:1', origin: 'http://localhost:2' },
    HERE,
    'web page',
  ],
  ['a page from a file', { host: 'localhost:1', origin: 'null' }, HERE, 'web page'],
  ['an image in a page', { host: 'localhost:1', 'sec-fetch-site': 'cross-site' }, HERE, 'web page'],
  ['a name that was made to point here', { host: 'evil.example:5993' }, HERE, 'not localhost'],
  ['a name that looks like an address', { host: '127.0.0.1.evil.example' }, HERE, 'not localhost'],
  ['no host', {}, HERE, 'not localhost'],
  ['a proxy', { host: 'localhost', 'x-forwarded-for': '10.0.0.9' }, HERE, 'proxy'],
  ['a proxy, the new way', { host: 'localhost', forwarded: 'for=10.0.0.9' }, HERE, 'proxy'],
])('without a token it refuses %s', (_who, headers, address, why) => {
  const refusal = adminRefusal({ headers, address }, undefined);
  expect(refusal?.status).toBe(403);
  expect(refusal?.reason).toContain(why);
});

test('with a token it lets in whoever shows it, from anywhere, and nobody else', () => {
  const ask = (authorization: string | undefined, address: string): number | undefined =>
    adminRefusal({ headers: { host: 'mkts.example', authorization }, address }, TOKEN)?.status;
  expect(ask(`Bearer ${TOKEN}`, '10.0.0.9')).toBeUndefined();
  expect(ask(`bearer ${TOKEN}`, HERE)).toBeUndefined();
  expect(ask(undefined, HERE)).toBe(401);
  expect(ask(`Bearer ${TOKEN}x`, HERE)).toBe(401);
  expect(ask(`Bearer ${TOKEN.slice(1)}`, HERE)).toBe(401);
  expect(ask(`Basic ${TOKEN}`, HERE)).toBe(401);
});

test('a page of another site is refused even with the token', () => {
  const headers = { host: 'a', origin: 'http://b', authorization: `Bearer ${TOKEN}` };
  expect(adminRefusal({ headers, address: HERE }, TOKEN)?.status).toBe(403);
});
