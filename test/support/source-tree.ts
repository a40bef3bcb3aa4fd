/** The sources of this project as data: files, their texts, and what each imports. For tidy.test.ts. */

import { globSync, readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';

export const PROJECT: string = resolve(import.meta.dirname, '../..');

export interface SourceFile {
  /** Relative to the project, with `/`. */
  readonly path: string;
  readonly text: string;
  readonly imports: readonly Import[];
  /** Files named by a relative text such as './host.ts', imported or started as a worker. */
  readonly mentions: readonly string[];
}

export interface Import {
  /** `zod`, `node:fs`, or the path of one of our files. */
  readonly target: string;
  readonly isOurs: boolean;
  /** Runs before the importing file does: neither `import type` nor `import(…)`. */
  readonly isStatic: boolean;
}

export function readProjectFile(path: string): string {
  return readFileSync(join(PROJECT, path), 'utf8');
}

export function projectPaths(pattern: string): readonly string[] {
  return globSync(pattern, { cwd: PROJECT, exclude: (name) => name === 'node_modules' })
    .map((path) => path.replaceAll('\\', '/'))
    .sort();
}

export function readSources(pattern: string): readonly SourceFile[] {
  return projectPaths(pattern).map((path) => {
    const text = readProjectFile(path);
    return { path, text, imports: importsOf(path, text), mentions: mentionsOf(path, text) };
  });
}

// Statements begin a line, as the formatter leaves them; in a comment they have a * before them.
const STATEMENT =
  /^(?:import|export)\s+(?<type>type\s)?(?:[^'";]*?\sfrom\s+)?'(?<specifier>[^']+)'/gm;
const CALL = /\bimport\(\s*'(?<specifier>[^']+)'\s*\)/g;
// Also `../workers/host${SUFFIX}`: a worker's entry, .ts here and .js in the published package.
const MENTION = /['`](?<stem>\.{1,2}\/[^'`]+?)(\.ts|\$\{\w+\})['`]/g;

function importsOf(path: string, text: string): readonly Import[] {
  const statements = [...text.matchAll(STATEMENT)].map(({ groups }) =>
    toImport(path, groups?.specifier ?? '', groups?.type === undefined),
  );
  const calls = [...text.matchAll(CALL)].map(({ groups }) =>
    toImport(path, groups?.specifier ?? '', false),
  );
  return [...statements, ...calls];
}

function toImport(path: string, specifier: string, isStatic: boolean): Import {
  const isOurs = specifier.startsWith('.');
  return { target: isOurs ? join(dirname(path), specifier) : specifier, isOurs, isStatic };
}

function mentionsOf(path: string, text: string): readonly string[] {
  return [...text.matchAll(MENTION)].map(({ groups }) =>
    join(dirname(path), `${groups?.stem ?? ''}.ts`),
  );
}

/** `@scope/name/sub` → `@scope/name`; undefined for a module of Node. */
export function packageOf(specifier: string): string | undefined {
  if (specifier.startsWith('node:')) return undefined;
  return specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/');
}
