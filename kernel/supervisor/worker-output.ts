/**
 * What a worker prints by itself (Node's warnings, a fatal error's text) as lines of our log,
 * rate-limited. A plugin's own `console` does not come this way. Main thread.
 */

import type { Readable } from 'node:stream';
import { TokenBucket } from '../../workers/token-bucket.ts';
import { LOG_LINE_BYTES_MAX, LOG_LINES_PER_SECOND_MAX } from '../base/limits.ts';

/** Calls `onLine` for every line while the rate allows; the rest is read and dropped. */
export function captureOutput(stream: Readable, onLine: (line: string) => void): void {
  const rate = new TokenBucket(LOG_LINES_PER_SECOND_MAX, () => performance.now());
  let rest = '';
  const emit = (line: string): void => {
    if (line !== '' && rate.tryTake()) onLine(line.slice(0, LOG_LINE_BYTES_MAX));
  };
  stream.setEncoding('utf8');
  stream.on('data', (chunk: string) => {
    const lines = (rest + chunk).split('\n');
    // A line without an end is kept only as far as it would be shown.
    rest = (lines.pop() ?? '').slice(0, LOG_LINE_BYTES_MAX);
    for (const line of lines) emit(line);
  });
  stream.on('end', () => emit(rest));
  // A stream torn by terminate() has nothing more to say; without a listener it would end us.
  stream.on('error', () => {});
}
