/** What a plugin may do in a test: what it declares, as if no entry of mkts.yml said otherwise. */

import { PluginError } from '../../kernel/base/errors.ts';
import { compileGlob } from '../../kernel/base/glob.ts';
import { grantOf, NetworkGrants } from '../../workers/network-grants.ts';
import type { Capabilities } from '../sdk.ts';

export interface Allowances {
  /** Throws MKTS_NET_DENIED. */
  checkUrl(url: string): void;
  /** Throws MKTS_CAPABILITY_DENIED. */
  checkWrite(key: string): void;
  /** Throws MKTS_CAPABILITY_DENIED for a name the plugin does not declare. */
  secret(name: string): string | undefined;
}

export interface Asker {
  readonly name: string;
  /** Undefined: it may do everything. */
  readonly capabilities: Capabilities | undefined;
  /** As in mkts.yml: hosts of the URLs it holds are granted where the plugin says so. */
  readonly rawConfig: unknown;
  readonly secrets: Readonly<Record<string, string>>;
}

export function allowances({ name, capabilities, rawConfig, secrets }: Asker): Allowances {
  const given = (secret: string): string | undefined =>
    Object.hasOwn(secrets, secret) ? secrets[secret] : undefined;
  if (capabilities === undefined)
    return { checkUrl: () => undefined, checkWrite: () => undefined, secret: given };
  const denied = (what: string): PluginError =>
    new PluginError('MKTS_CAPABILITY_DENIED', { plugin: name, what });
  const network = new NetworkGrants(name, [
    ...(capabilities.network ?? []),
    ...(capabilities.networkFromConfig ?? []).flatMap((key) => urlGrants(rawConfig, key)),
  ]);
  const writable = capabilities.writes?.map((pattern) => compileGlob(pattern).key);
  return {
    // What is no URL is refused where it is asked for.
    checkUrl: (url) => network.check(new URL(url)),
    checkWrite: (key) => {
      if (writable?.some((pattern) => pattern.test(key)) === false) throw denied(`writing ${key}`);
    },
    secret: (secret) => {
      if (capabilities.secrets?.includes(secret) !== true) throw denied(`secret ${secret}`);
      return given(secret);
    },
  };
}

function urlGrants(config: unknown, key: string): readonly string[] {
  const value: unknown =
    typeof config === 'object' && config !== null ? Reflect.get(config, key) : undefined;
  return (Array.isArray(value) ? value : [value])
    .map((url: unknown) => (typeof url === 'string' ? grantOf(url) : undefined))
    .filter((grant) => grant !== undefined);
}
