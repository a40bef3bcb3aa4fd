/**
 * Places in the texts of a plugin's errors by the files its author wrote: `feeder.ts:12:5`, where the
 * worker, which runs a bundle, said `feeder.ts.bundle.cjs:44:22`. Main thread: what a worker sends is
 * text, and the map is that of the build the kernel made itself (source map revision 3, inline).
 *
 * Invariant: never throws, and what is not found in the map stays as it is.
 */

import { SourceMap, type SourceMapPayload } from 'node:module';
import { dirname, resolve } from 'node:path';
import { SOURCE_PLACES_MAX } from '../base/limits.ts';
import type { PluginBuild } from './plugin-entry.ts';

const MAP_PREFIX = '//# sourceMappingURL=data:application/json;base64,';

type Build = Pick<PluginBuild, 'code' | 'filename'>;

/** Maps texts of workers that run `build`. The map is read at the first text that needs it. */
export function sourceNames({ code, filename }: Build): (text: string) => string {
  let map: SourceMap | undefined;
  let isRead = false;
  const directory = dirname(filename);
  const place = new RegExp(`${filename.replaceAll(/[^\w/]/g, '\\$&')}:(\\d{1,9}):(\\d{1,9})`, 'g');
  return (text) => {
    if (!text.includes(filename)) return text;
    if (!isRead) map = mapOf(code);
    isRead = true;
    let places = 0;
    return text.replaceAll(place, (found, line: string, column: string) => {
      places++;
      if (map === undefined || places > SOURCE_PLACES_MAX) return found;
      // Lines and columns of stacks count from 1, those of a map from 0.
      const entry = map.findEntry(Number(line) - 1, Number(column) - 1);
      if (!('originalSource' in entry) || typeof entry.originalSource !== 'string') return found;
      const { originalSource, originalLine, originalColumn } = entry;
      return `${resolve(directory, originalSource)}:${originalLine + 1}:${originalColumn + 1}`;
    });
  };
}

/** Undefined: it has none that can be read. */
function mapOf(code: string): SourceMap | undefined {
  const at = code.lastIndexOf(MAP_PREFIX);
  if (at < 0) return undefined;
  try {
    const json = Buffer.from(code.slice(at + MAP_PREFIX.length).trim(), 'base64').toString();
    return new SourceMap(JSON.parse(json) as SourceMapPayload);
  } catch {
    return undefined;
  }
}

/** Its message and stack, and those of what caused it, as `rewrite` has them. Returns the error. */
export function rewriteTexts<E extends Error>(error: E, rewrite: (text: string) => string): E {
  for (let each: unknown = error, depth = 0; each instanceof Error && depth < 4; depth++) {
    // Not assigned: the properties of an error that came from a thread cannot be.
    for (const name of ['message', 'stack'] as const) {
      const text = each[name];
      if (text === undefined) continue;
      const value = rewrite(text);
      if (value !== text)
        Reflect.defineProperty(each, name, { value, configurable: true, writable: true });
    }
    each = each.cause;
  }
  return error;
}
