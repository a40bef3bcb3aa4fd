/** What commands that ask a running server have in common: which server, which plugin, how to print. */

import { InvalidArgumentError } from 'commander';
import type { OperateOptions } from './plugin-operate.ts';

export const NAME = 'name of an entry of mkts.yml';

export interface ServerFlags {
  readonly url?: string;
  readonly config: string;
  readonly json?: boolean;
}

export async function optionsOf({ url, config, json }: ServerFlags): Promise<OperateOptions> {
  const { findServer } = await import('./admin-client.ts');
  return {
    server: findServer({ url, configPath: config, environment: process.env }),
    json: json ?? !process.stdout.isTTY,
  };
}

export function parseCount(text: string): number {
  if (!/^[1-9]\d{0,8}$/.test(text)) throw new InvalidArgumentError('expected a number, 1 or more.');
  return Number(text);
}
