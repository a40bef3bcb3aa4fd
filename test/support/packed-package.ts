/**
 * The package as npm packs it, unpacked where a user would have it, without a network: what it
 * depends on is linked from here. Built from a copy of the sources, so that tests that pack at the
 * same time do not share a `dist`.
 */

import { execFile, execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, readdirSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { PROJECT } from './source-tree.ts';

/** All that goes into the package, or is needed to build it. */
const SOURCES = [
  ...['kernel', 'workers', 'plugins', 'config', 'package.json', 'tsconfig.json'],
  ...['tsconfig.build.json', 'README.md', 'ARCHITECTURE.md', 'CHANGELOG.md', 'LICENSE'],
];

/** Unpacks into `<home>/node_modules/mkts`; returns the path of its main module. */
export async function installPackage(home: string): Promise<string> {
  const copy = join(home, '.pack');
  mkdirSync(copy, { recursive: true });
  for (const name of SOURCES) cpSync(join(PROJECT, name), join(copy, name), { recursive: true });
  symlinkSync(join(PROJECT, 'node_modules'), join(copy, 'node_modules'));
  const env = { ...process.env, npm_config_offline: 'true', npm_config_update_notifier: 'false' };
  await promisify(execFile)('npm', ['pack', '--pack-destination', home], { cwd: copy, env });
  rmSync(copy, { recursive: true, force: true });

  const modules = join(home, 'node_modules');
  mkdirSync(join(modules, 'mkts'), { recursive: true });
  const tarball = readdirSync(home).find((name) => name.endsWith('.tgz')) ?? '';
  const unpack = ['-xzf', join(home, tarball), '--strip-components=1', '-C', join(modules, 'mkts')];
  execFileSync('tar', unpack);
  for (const name of readdirSync(join(PROJECT, 'node_modules'))) {
    // No types of ours: a user has what is in the package.
    if (name.startsWith('.') || name === '@types' || name === 'typescript') continue;
    symlinkSync(join(PROJECT, 'node_modules', name), join(modules, name));
  }
  return join(modules, 'mkts', 'dist', 'kernel', 'main.js');
}
