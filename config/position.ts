/**
 * Where something stands in mkts.yml: a path of keys and indexes, as people write it
 * (`triggers[0].config.filter`), and what is said about it.
 */

export type Path = readonly (string | number)[];

/** Something to tell the operator about one place of the file. */
export interface Remark {
  /** `mkts.yml:14:15` */
  readonly at: string;
  /** `triggers[0].config.filter`; empty for the whole file. */
  readonly path: string;
  readonly problem: string;
}

/** `['triggers', 0, 'config']` → `triggers[0].config`. */
export function formatPath(path: Path): string {
  let text = '';
  for (const part of path)
    text += typeof part === 'number' ? `[${part}]` : text === '' ? part : `.${part}`;
  return text;
}

/** One line: place, path, problem. */
export function formatRemark(remark: Remark): string {
  return remark.path === ''
    ? `${remark.at}: ${remark.problem}`
    : `${remark.at} ${remark.path}: ${remark.problem}`;
}

/** A value as it would stand in the file, short enough for a line. */
export function showValue(value: unknown): string {
  if (value === undefined) return 'nothing';
  if (value === null) return 'null';
  if (typeof value === 'string') return `'${shorten(value)}'`;
  if (Array.isArray(value)) return `a list of ${value.length}`;
  if (typeof value === 'object') return `a map with ${Object.keys(value).length} keys`;
  return String(value);
}

const SHOWN_CHARACTERS_MAX = 60;

function shorten(text: string): string {
  return text.length <= SHOWN_CHARACTERS_MAX ? text : `${text.slice(0, SHOWN_CHARACTERS_MAX)}…`;
}
