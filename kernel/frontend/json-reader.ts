/**
 * Where the members of a JSON object lie, without parsing them. Main thread; throws MKTS_RPC_PARSE.
 *
 * `JSON.parse` alone will not do for an envelope: `id` is answered as it was written (`1.50` stays
 * `1.50`), and bytes after the first value are allowed. So the text is cut first, and each piece
 * parsed by itself; pieces that nobody asks for are never parsed.
 */

import { RequestError, reasonOf } from '../base/errors.ts';
import { MESSAGE_DEPTH_MAX } from '../base/limits.ts';

/** Members of the object `text` begins with, each with its text; the last of equal names counts. */
export function jsonMembers(text: string): ReadonlyMap<string, string> {
  const members = new Map<string, string>();
  let at = skipBlanks(text, 0);
  if (text[at] !== '{') fail('the request is not an object');
  at = skipBlanks(text, at + 1);
  if (text[at] === '}') return members;
  for (;;) {
    const nameEnd = text[at] === '"' ? skipString(text, at) : fail(`no name at ${at}`);
    const name = parseJson(text.slice(at, nameEnd));
    at = skipBlanks(text, nameEnd);
    if (text[at] !== ':') fail(`no colon at ${at}`);
    at = skipBlanks(text, at + 1);
    const end = skipValue(text, at);
    if (end === at) fail(`no value at ${at}`);
    members.set(String(name), text.slice(at, end));
    at = skipBlanks(text, end);
    if (text[at] === '}') return members;
    if (text[at] !== ',') fail(`neither comma nor end at ${at}`);
    at = skipBlanks(text, at + 1);
  }
}

/** `JSON.parse` that fails with MKTS_RPC_PARSE. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    return fail(reasonOf(cause));
  }
}

/** One past the value that begins at `at`. What is inside is checked when it is parsed. */
function skipValue(text: string, at: number): number {
  let depth = 0;
  let here = at;
  while (here < text.length) {
    const character = text[here];
    if (character === '"') here = skipString(text, here);
    else {
      if (character === '{' || character === '[') {
        depth++;
        if (depth > MESSAGE_DEPTH_MAX) fail(`it nests deeper than ${MESSAGE_DEPTH_MAX}`);
      } else if (character === '}' || character === ']') {
        if (depth === 0) break;
        depth--;
      } else if (depth === 0 && (character === ',' || isBlank(character))) break;
      here++;
    }
    const ended = depth === 0 && '"}]'.includes(text[here - 1] ?? '');
    if (ended) break;
  }
  return here;
}

function skipString(text: string, at: number): number {
  for (let here = at + 1; ; ) {
    const quote = text.indexOf('"', here);
    if (quote < 0) return fail('a string does not end');
    let backslashes = 0;
    while (text[quote - 1 - backslashes] === '\\') backslashes++;
    if (backslashes % 2 === 0) return quote + 1;
    here = quote + 1;
  }
}

function skipBlanks(text: string, at: number): number {
  let here = at;
  while (isBlank(text[here])) here++;
  return here;
}

function isBlank(character: string | undefined): boolean {
  return character === ' ' || character === '\n' || character === '\r' || character === '\t';
}

function fail(reason: string): never {
  throw new RequestError('MKTS_RPC_PARSE', { encoding: 'JSON', reason });
}
