/**
 * `${VAR}` and `file:<path>` in a plugin's settings: what is secret need not stand in mkts.yml.
 *
 * `${VAR}` may stand anywhere in a text and is replaced by the variable's value; `$${` is a plain
 * `${`. A text that is `file:<path>` as a whole is replaced by the content of that file, without the
 * line end at its end; the path is relative to mkts.yml. Nothing that comes in is looked at again.
 */

import { readFileSync, statSync } from 'node:fs';
import { resolve } from 'node:path';
import { reasonOf } from '../kernel/base/errors.ts';
import { SECRET_FILE_BYTES_MAX } from '../kernel/base/limits.ts';
import type { Path } from './position.ts';

export interface ReferenceOptions {
  /** Directory of mkts.yml. */
  readonly directory: string;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Variables that may be referred to; undefined: any. */
  readonly allowed: readonly string[] | undefined;
}

export interface Resolved {
  readonly value: unknown;
  /** Every text a reference brought in: secrets, whatever their key is called. */
  readonly secrets: readonly string[];
  readonly problems: readonly { readonly path: Path; readonly problem: string }[];
}

/** Resolves the references in plain data. Unresolvable ones are listed, never left in silence. */
export function resolveReferences(value: unknown, options: ReferenceOptions): Resolved {
  const secrets: string[] = [];
  const problems: { path: Path; problem: string }[] = [];
  const visit = (inner: unknown, path: Path): unknown => {
    if (Array.isArray(inner)) return inner.map((item, index) => visit(item, [...path, index]));
    if (typeof inner === 'object' && inner !== null)
      return Object.fromEntries(
        Object.entries(inner).map(([key, item]) => [key, visit(item, [...path, key])]),
      );
    if (typeof inner !== 'string') return inner;
    const fail = (problem: string): string => {
      problems.push({ path, problem });
      return inner;
    };
    return inner.startsWith('file:') && !inner.startsWith('file://')
      ? fromFile(inner.slice('file:'.length).trim(), options.directory, secrets, fail)
      : fromEnvironment(inner, options, secrets, fail);
  };
  return { value: visit(value, []), secrets, problems };
}

function fromEnvironment(
  text: string,
  { environment, allowed }: ReferenceOptions,
  secrets: string[],
  fail: (problem: string) => string,
): string {
  return text.replace(/\$\$\{|\$\{([^}]*)\}/g, (reference, variable: string | undefined) => {
    if (variable === undefined) return '${'; // it was $${
    if (!/^[A-Za-z_]\w*$/.test(variable)) return fail(`${reference} does not name a variable`);
    if (allowed !== undefined && !allowed.includes(variable))
      return fail(`environment variable ${variable} is not in this entry's \`env\` list`);
    const found = environment[variable];
    if (found === undefined) return fail(`environment variable ${variable} is not set`);
    secrets.push(found);
    return found;
  });
}

function fromFile(
  written: string,
  directory: string,
  secrets: string[],
  fail: (problem: string) => string,
): string {
  const path = resolve(directory, written);
  try {
    const bytes = statSync(path).size;
    if (bytes > SECRET_FILE_BYTES_MAX)
      return fail(
        `file ${path} has ${bytes} bytes, more than the ${SECRET_FILE_BYTES_MAX} allowed`,
      );
    const secret = readFileSync(path, 'utf8').replace(/\r?\n$/, '');
    secrets.push(secret);
    return secret;
  } catch (cause) {
    return fail(`file ${path} cannot be read: ${reasonOf(cause)}`);
  }
}
