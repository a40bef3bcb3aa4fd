/**
 * YAML text → plain data that still knows where it stood. The only file that names `yaml`.
 *
 * It reads as the Go server's library does: of duplicate keys the last wins (with a warning), keys
 * are texts whatever they look like, anchors and `<<` work, only the first document counts. It
 * parses as YAML 1.2 all the same: under 1.1 the key `on` would be the boolean true. What 1.1
 * called true and false is left to schema.ts, which knows where a truth is wanted.
 */

import * as yaml from 'yaml';
import { ConfigError } from '../kernel/base/errors.ts';
import { CONFIG_NODES_MAX } from '../kernel/base/limits.ts';
import { formatPath, formatRemark, type Path, type Remark } from './position.ts';

/** Problems shown of a file that is not YAML; the rest mostly follows from the first. */
const SYNTAX_PROBLEMS_SHOWN = 5;

export interface ConfigDocument {
  /** Maps, lists and scalars. Cycles are refused; an anchor used twice is copied. */
  readonly value: unknown;
  readonly warnings: readonly Remark[];
  /** `mkts.yml:14:15` of a value, or of its nearest ancestor that is there. */
  at(path: Path): string;
  /** The same for a key. */
  keyAt(path: Path): string;
}

/** Throws MKTS_CONFIG_SYNTAX with every problem, one a line. `file` is the name in messages. */
export function parseConfigDocument(text: string, file: string): ConfigDocument {
  const lines = new yaml.LineCounter();
  const document = yaml.parseDocument(text, {
    lineCounter: lines,
    version: '1.2',
    uniqueKeys: false,
    prettyErrors: false,
    keepSourceTokens: false,
  });
  return new Reader(text, file, lines, document).read();
}

interface Place {
  readonly key: number | undefined;
  readonly value: number;
}

class Reader implements ConfigDocument {
  value: unknown;
  readonly warnings: Remark[] = [];
  readonly #text: string;
  readonly #file: string;
  readonly #lines: yaml.LineCounter;
  readonly #document: yaml.Document.Parsed;
  readonly #places = new Map<string, Place>();
  readonly #problems: Remark[] = [];
  /** Anchored nodes being read: an alias to one of them is a cycle. */
  readonly #open = new Set<yaml.Node>();
  #nodeCount = 0;

  constructor(text: string, file: string, lines: yaml.LineCounter, document: yaml.Document.Parsed) {
    this.#text = text;
    this.#file = file;
    this.#lines = lines;
    this.#document = document;
  }

  read(): ConfigDocument {
    for (const error of this.#document.errors) {
      const offset = error.pos[0];
      if (error.code === 'MULTIPLE_DOCS')
        this.#warn(offset, [], 'a second document begins here; only the first is read');
      else if (error.code === 'BAD_ALIAS') this.#problem(offset, [], this.#starProblem(offset));
      else if (this.#text.slice(offset - 1, offset + 1) === '${')
        this.#problem(offset, [], `inside { } and [ ] a text with \${…} must be quoted`);
      else this.#problem(offset, [], error.message);
    }
    if (this.#problems.length === 0) {
      const contents = this.#document.contents;
      this.value = contents === null ? undefined : this.#plain(contents, [], undefined);
    }
    const [first, ...others] = this.#problems.slice(0, SYNTAX_PROBLEMS_SHOWN);
    if (first === undefined) return this;
    throw new ConfigError('MKTS_CONFIG_SYNTAX', {
      at: first.at,
      problem: [first.problem, ...others.map(formatRemark)].join('\n'),
    });
  }

  at(path: Path): string {
    for (let length = path.length; length >= 0; length--) {
      const place = this.#places.get(placeKey(path.slice(0, length)));
      if (place !== undefined) return this.#position(place.value);
    }
    return this.#position(0);
  }

  keyAt(path: Path): string {
    const key = this.#places.get(placeKey(path))?.key;
    return key === undefined ? this.at(path) : this.#position(key);
  }

  #plain(node: yaml.Node, path: Path, key: number | undefined): unknown {
    // An alias may stand for a whole tree, and that for more aliases: bounded by what comes out.
    if (++this.#nodeCount > CONFIG_NODES_MAX)
      throw new ConfigError('MKTS_CONFIG_SYNTAX', {
        at: this.#position(node.range?.[0] ?? 0),
        problem: `the file unfolds to more than ${CONFIG_NODES_MAX} values`,
      });
    const offset = node.range?.[0] ?? 0;
    if (yaml.isAlias(node)) return this.#alias(node, path, key, offset);
    this.#places.set(placeKey(path), { key, value: offset });
    if (yaml.isScalar(node)) return scalarValue(node);
    this.#open.add(node);
    const value = yaml.isSeq(node)
      ? node.items.map((item, index) => this.#item(item, [...path, index]))
      : yaml.isMap(node)
        ? this.#map(node, path)
        : undefined;
    this.#open.delete(node);
    return value;
  }

  #item(item: unknown, path: Path, key?: number): unknown {
    return yaml.isNode(item) ? this.#plain(item, path, key) : null;
  }

  #map(node: yaml.YAMLMap, path: Path): Record<string, unknown> {
    const merged: Record<string, unknown> = {};
    const own: Record<string, unknown> = {};
    for (const { key, value } of node.items) {
      const offset = yaml.isNode(key) ? (key.range?.[0] ?? 0) : 0;
      if (!yaml.isScalar(key)) {
        this.#problem(offset, path, 'a key must be a plain text');
        continue;
      }
      const name = key.source ?? String(key.value);
      if (name === '<<' && yaml.isNode(value)) {
        this.#merge(value, path, merged);
        continue;
      }
      if (Object.hasOwn(own, name))
        this.#warn(offset, [...path, name], 'this key occurs twice; the last one wins');
      define(own, name, this.#item(value, [...path, name], offset));
    }
    for (const [name, value] of Object.entries(own)) define(merged, name, value);
    return merged;
  }

  #merge(node: yaml.Node, path: Path, merged: Record<string, unknown>): void {
    const source = this.#plain(node, path, undefined);
    // Of a list of maps the first wins, hence applied last.
    for (const map of [source].flat().reverse()) {
      if (typeof map !== 'object' || map === null)
        this.#problem(node.range?.[0] ?? 0, path, '<< takes a map, or a list of maps');
      else for (const [name, value] of Object.entries(map)) define(merged, name, value);
    }
  }

  #alias(alias: yaml.Alias, path: Path, key: number | undefined, offset: number): unknown {
    const target = alias.resolve(this.#document);
    if (target === undefined) {
      this.#problem(offset, path, this.#starProblem(offset));
      return undefined;
    }
    if (this.#open.has(target)) {
      this.#problem(offset, path, `*${alias.source} refers to itself`);
      return undefined;
    }
    return this.#plain(target, path, key);
  }

  // Patterns such as on: */1Min/OHLCV stand unquoted in every old README, and YAML takes the star for
  // a reference to an anchor. The answer is the line as it should be.
  #starProblem(offset: number): string {
    const start = this.#text.lastIndexOf('\n', offset - 1) + 1;
    const before = this.#text.slice(start, offset);
    const rest = /^[^\r\n]*/.exec(this.#text.slice(offset))?.[0] ?? '';
    const isInFlow = /[[{]/.test(before);
    const pattern = (isInFlow ? /^[^,\]}\s]+/ : /^\S+/).exec(rest)?.[0] ?? rest;
    const after = rest
      .slice(pattern.length)
      .replace(/\s+#.*$/, '')
      .trimEnd();
    return `a text that begins with * must be quoted, write: ${before.trim()} "${pattern}"${after}`;
  }

  #problem(offset: number, path: Path, problem: string): void {
    this.#problems.push({ at: this.#position(offset), path: formatPath(path), problem });
  }

  #warn(offset: number, path: Path, problem: string): void {
    this.warnings.push({ at: this.#position(offset), path: formatPath(path), problem });
  }

  #position(offset: number): string {
    const { line, col } = this.#lines.linePos(offset);
    return `${this.#file}:${line}:${col}`;
  }
}

/** A number JavaScript cannot hold exactly (an account's id, say) stays the text it was. */
function scalarValue(node: yaml.Scalar): unknown {
  const { value, source } = node;
  const isInexact =
    typeof value === 'number' && Number.isInteger(value) && !Number.isSafeInteger(value);
  return isInexact && source !== undefined && /^[-+]?\d+$/.test(source) ? source : value;
}

/** As `map[name] = value`, also for the name `__proto__`. */
function define(map: Record<string, unknown>, name: string, value: unknown): void {
  Object.defineProperty(map, name, { value, enumerable: true, writable: true, configurable: true });
}

function placeKey(path: Path): string {
  return JSON.stringify(path);
}
