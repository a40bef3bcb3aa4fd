import { describe, expect, test } from 'vitest';
import { grantOf, maskedUrl, NetworkGrants } from '../../../workers/network-grants.ts';

function allows(grants: readonly string[], url: string): boolean {
  try {
    new NetworkGrants('p', grants).check(new URL(url));
    return true;
  } catch {
    return false;
  }
}

describe('grants', () => {
  test.each([
    ['api.x.com', 'https://api.x.com/a', true],
    ['api.x.com', 'http://api.x.com/a', true],
    ['api.x.com', 'wss://API.X.com/ws', true],
    ['API.x.com', 'https://api.x.com:443/', true],
    ['api.x.com', 'https://api.x.com:9443/', false],
    ['api.x.com', 'https://x.com/', false],
    ['api.x.com', 'https://api.x.com.evil.org/', false],
    ['api.x.com', 'https://api.x.com@evil.org/', false],
    ['api.x.com:9443', 'wss://api.x.com:9443/ws', true],
    ['api.x.com:9443', 'https://api.x.com/', false],
    ['api.x.com:80', 'http://api.x.com/', true],
    ['api.x.com:80', 'https://api.x.com/', false],
    ['api.x.com:443', 'https://api.x.com/', true],
    ['[::1]:8080', 'http://[::1]:8080/', true],
    ['[::1]', 'http://[0:0::1]/', true],
    ['not a host', 'http://not/', false],
    ['', 'http://localhost/', false],
  ])('%j and %s: %s', (grant, url, expected) => {
    expect(allows([grant], url)).toBe(expected);
  });

  test('a URL of the configuration is worth its own host and port', () => {
    expect(grantOf('https://api.x.com/base?x=1')).toBe('api.x.com:443');
    expect(grantOf('ws://127.0.0.1:9001')).toBe('127.0.0.1:9001');
    expect(grantOf('file:///etc')).toBeUndefined();
    expect(grantOf('api.x.com')).toBeUndefined();
  });
});

test.each([
  ['https://h/a?symbol=X&apiKey=s3cret&limit=5', 'https://h/a?symbol=X&apiKey=***&limit=5'],
  ['https://h/?token=s3cret&token=s3cret2', 'https://h/?token=***'],
  ['https://me:s3cret@h/', 'https://***:***@h/'],
  ['not a url?token=s3cret', 'not a url'],
])('%s is shown as %s', (url, shown) => {
  expect(maskedUrl(url)).toBe(shown);
});
