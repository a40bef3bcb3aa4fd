/**
 * Makes `mkts/sdk`, `mkts/testing` and `zod` known to the modules of a process, wherever they lie: a
 * plugin is tested with nothing installed beside it. The same rules as those of the bundle
 * (kernel/supervisor/bundle-plugin.ts). Preloaded (`node --import`) by `mkts plugin test` into each
 * process that runs tests.
 */

import { registerHooks } from 'node:module';

const SUFFIX: string = import.meta.url.endsWith('.ts') ? '.ts' : '.js';
const OWN: Readonly<Record<string, string>> = {
  'mkts/sdk': new URL(`../../plugins/sdk${SUFFIX}`, import.meta.url).href,
  'mkts/testing': new URL(`../../plugins/testing${SUFFIX}`, import.meta.url).href,
};

registerHooks({
  resolve(specifier, context, next) {
    const own = OWN[specifier];
    if (own !== undefined) return { url: own, shortCircuit: true };
    // A plugin's zod is ours; a package it has installed may bring its own.
    const isTheirs = context.parentURL?.includes('/node_modules/') === true;
    if (!isTheirs && /^zod(\/|$)/.test(specifier))
      return next(specifier, { ...context, parentURL: import.meta.url });
    return next(specifier, context);
  },
});
