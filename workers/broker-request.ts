/** Is this a BrokerRequest? For requests that come out of another process. Pure. */

import type { BrokerRequest } from './broker-protocol.ts';

/** Every field by its type; what the values mean is checked by the broker. */
export function isBrokerRequest(value: unknown): value is BrokerRequest {
  if (typeof value !== 'object' || value === null) return false;
  const { kind, id, url, method, headers, body, timeoutMs, count, text, code, reason } =
    value as Record<string, unknown>;
  if (!Number.isSafeInteger(id)) return false;
  switch (kind) {
    case 'fetch':
      return (
        typeof url === 'string' &&
        typeof method === 'string' &&
        isTexts(headers) &&
        isOptional('string', body) &&
        // NaN comes as null; the broker takes its own time then.
        (timeoutMs === null || typeof timeoutMs === 'number')
      );
    case 'abort':
      return true;
    case 'open':
      return typeof url === 'string';
    case 'credit':
      return Number.isSafeInteger(count) && Number(count) > 0;
    case 'send':
      return typeof text === 'string';
    case 'close':
      return isOptional('number', code) && isOptional('string', reason);
    default:
      return false;
  }
}

function isOptional(type: 'string' | 'number', value: unknown): boolean {
  return value === undefined || typeof value === type;
}

function isTexts(value: unknown): boolean {
  return (
    typeof value === 'object' &&
    value !== null &&
    Object.values(value).every((text) => typeof text === 'string')
  );
}
