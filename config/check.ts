/**
 * Holds plain data of mkts.yml against the keys of schema.ts: every problem and every remark with
 * its place in the file, all at once.
 *
 * A bad value of a known key is a problem and stops the start. An unknown key is a remark: the Go
 * server ignores it, and an old file must keep working; but it is never ignored in silence.
 */

import * as z from 'zod';
import { suggestion } from '../kernel/base/nearest-word.ts';
import type { ConfigDocument } from './document.ts';
import { formatPath, type Path, type Remark, showValue } from './position.ts';
import { keyNotices, parseSettings, type Settings, settingsKeys } from './schema.ts';

export interface Checked {
  /** Undefined if there are problems. */
  readonly settings: Settings | undefined;
  readonly problems: readonly Remark[];
  readonly warnings: readonly Remark[];
}

export function checkSettings(document: ConfigDocument): Checked {
  const given = withoutNulls(document.value ?? {});
  const warnings: Remark[] = [];
  remarkKeys(settingsKeys, given, [], document, warnings);
  const parsed = parseSettings(given);
  if (parsed.ok) return { settings: parsed.settings, problems: [], warnings };
  const problems = parsed.issues.map((issue) => {
    const path = issue.path.map((part) => (typeof part === 'number' ? part : String(part)));
    const problem = problemOf(issue, valueAt(given, path));
    return { at: document.at(path), path: formatPath(path), problem };
  });
  return { settings: undefined, problems, warnings };
}

/** `key:` with nothing after it is the same as no key, save inside a plugin's own settings. */
function withoutNulls(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutNulls);
  if (typeof value !== 'object' || value === null) return value;
  const kept: Record<string, unknown> = {};
  for (const [key, inner] of Object.entries(value)) {
    if (inner === null) continue;
    kept[key] = key === 'config' ? inner : withoutNulls(inner);
  }
  return kept;
}

function remarkKeys(
  schema: z.core.$ZodType,
  given: unknown,
  path: Path,
  document: ConfigDocument,
  remarks: Remark[],
): void {
  const bare = unwrapped(schema);
  if (bare instanceof z.ZodArray && Array.isArray(given)) {
    given.forEach((item, index) => {
      remarkKeys(bare.element, item, [...path, index], document, remarks);
    });
  }
  const isMap = typeof given === 'object' && given !== null && !Array.isArray(given);
  if (!(bare instanceof z.ZodObject) || !isMap) return;
  for (const [key, value] of Object.entries(given)) {
    const inner: z.core.$ZodType | undefined = Object.hasOwn(bare.shape, key)
      ? bare.shape[key]
      : undefined;
    const innerPath = [...path, key];
    const notice = inner === undefined ? undefined : keyNotices.get(inner);
    const remark = (problem: string) => {
      remarks.push({ at: document.keyAt(innerPath), path: formatPath(innerPath), problem });
    };
    if (inner === undefined) remark(`unknown key${suggestion(key, Object.keys(bare.shape))}`);
    else remarkKeys(inner, value, innerPath, document, remarks);
    if (notice !== undefined && !notice.quiet?.includes(value)) remark(notice.notice);
  }
}

/** A schema without its `optional`, `default` and the like. */
function unwrapped(schema: z.core.$ZodType): z.core.$ZodType {
  let bare = schema;
  while (
    bare instanceof z.ZodOptional ||
    bare instanceof z.ZodDefault ||
    bare instanceof z.ZodPrefault
  )
    bare = bare.unwrap();
  return bare;
}

/** What was expected, and what was found. */
function problemOf(issue: z.core.$ZodIssue, found: unknown): string {
  if (found === undefined && issue.path.at(-1) === 'listen_port')
    return "invalid listen port. Listen port can't be empty";
  const got = found === undefined ? 'this key is required' : `got ${showValue(found)}`;
  if (issue.code === 'invalid_value') {
    const words = issue.values.map(String);
    const near = typeof found === 'string' ? suggestion(found, words) : '';
    return `expected one of ${words.join(', ')}; ${got}${near}`;
  }
  if (issue.code === 'invalid_type') return `expected ${kindName(issue.expected)}; ${got}`;
  if (issue.code === 'invalid_union') return `expected 'host:port'; ${got}`;
  return issue.message.startsWith('expected') ? `${issue.message}; ${got}` : issue.message;
}

function kindName(expected: string): string {
  if (expected === 'object' || expected === 'record') return 'a map';
  return expected === 'array' ? 'a list' : `a ${expected}`;
}

function valueAt(value: unknown, path: Path): unknown {
  let inner = value;
  for (const part of path) {
    if (typeof inner !== 'object' || inner === null) return undefined;
    inner = (inner as Record<string | number, unknown>)[part];
  }
  return inner;
}
