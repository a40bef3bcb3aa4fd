/** What `mkts plugin new` makes. */

export const PLUGIN_KINDS = ['feeder', 'trigger', 'bgworker'] as const;
export type PluginKind = (typeof PLUGIN_KINDS)[number];
