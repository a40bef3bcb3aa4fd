/**
 * What an operator is told of a plugin: the answers of the admin API, which the command line prints
 * and the flight recorder writes down. Plain data, all of it JSON. Types, and the words both sides
 * of the API must agree on; who fills them in is kernel/plugin-operator.ts.
 *
 * Invariant: no value of a setting or a secret is in here, save through `maskSecrets`.
 */

/** From the least to the gravest: the order counts. */
export const LINE_LEVELS = ['debug', 'info', 'warn', 'error', 'fatal'] as const;
export type LineLevel = (typeof LINE_LEVELS)[number];

/** One line of a plugin's log: its own, or the kernel's about it. */
export interface JournalLine {
  /** Grows by one with each line of this plugin: what is missing was dropped. */
  readonly sequence: number;
  /** ISO 8601, milliseconds, UTC. */
  readonly time: string;
  readonly level: LineLevel;
  readonly message: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

/** A change of state. */
export interface StateChange {
  readonly time: string;
  readonly state: string;
  readonly generation: number;
  readonly reason?: string | undefined;
  readonly code?: string | undefined;
}

/** One second of a plugin's life. */
export interface PluginSample {
  readonly time: string;
  readonly state: string;
  readonly generation: number;
  readonly memoryMb: number;
  /** Of one core; undefined: not measured. */
  readonly cpuPercent?: number | undefined;
  readonly rowsPerSecond: number;
  readonly logLinesPerSecond: number;
  /** Handed over by the plugin and not yet taken. */
  readonly ringUsedBytes: number;
  readonly ringHighWaterBytes: number;
  readonly rejectedFrames: number;
}

export interface LastError {
  readonly time: string;
  readonly code?: string | undefined;
  readonly message: string;
  readonly stack?: string | undefined;
}

/** How much of one bound is used. */
export interface BudgetUse {
  readonly budget: string;
  readonly used: number | undefined;
  /** Undefined: no bound. */
  readonly limit: number | undefined;
  readonly unit: string;
}

/** A line of `mkts plugin list`. */
export interface PluginReport {
  readonly name: string;
  readonly kind: 'bgworker' | 'trigger';
  readonly module: string;
  /** As the plugin says of itself; undefined until it was loaded once. */
  readonly version?: string | undefined;
  readonly isolation: string;
  readonly state: string;
  /** False: somebody should look. A plugin that was stopped on request is healthy. */
  readonly isHealthy: boolean;
  /** Why it is in this state, or why its reload did not take effect. */
  readonly reason?: string | undefined;
  readonly code?: string | undefined;
  /** When it came into this state. */
  readonly since: string;
  /** When its trouble began: that of a plugin that fails again and again with its first failure. */
  readonly wrongSince?: string | undefined;
  readonly stateSeconds: number;
  readonly generation: number;
  readonly restarts: number;
  readonly logLevel: LineLevel;
  readonly memoryMb: number;
  readonly cpuPercent?: number | undefined;
  readonly rowsPerSecond: number;
  /** Rows taken into the database since this server started. */
  readonly rowsAccepted: number;
  /** Rows it gave to its calls; what is neither accepted nor rejected is on its way. */
  readonly rowsSent: number;
  readonly rowsRejected: number;
  /** Kept, of rows that were rejected and of messages it could not read. */
  readonly deadLetters: number;
  /** When the last of them was; undefined: none yet. */
  readonly lastRowAt?: string | undefined;
}

/** What `mkts plugin inspect` and `status` show of one plugin. */
export interface PluginDetail extends PluginReport {
  /** Settings, secrets masked. */
  readonly config: unknown;
  /** Patterns a trigger fires for. */
  readonly on?: readonly string[] | undefined;
  /** What its code says it needs; undefined until it was loaded once. */
  readonly asks?: readonly string[] | undefined;
  /** What it asks for and nobody agreed to yet. */
  readonly waitsFor?: readonly string[] | undefined;
  readonly may: PluginRights;
  readonly budgets: readonly BudgetUse[];
  readonly ring: {
    readonly usedBytes: number;
    readonly highWaterBytes: number;
    readonly capacityBytes: number;
    readonly rejectedFrames: number;
  };
  /** Of a trigger. */
  readonly trigger?:
    | { readonly backlogKeys: number; readonly fired: number; readonly failed: number }
    | undefined;
  /** A new generation on its way, or why the last one did not come. */
  readonly candidate?: unknown;
  readonly shadow?: ShadowReport | undefined;
  readonly zombies: number;
  /** Newest last. */
  readonly history: readonly StateChange[];
  readonly lastError?: LastError | undefined;
  /** JSON Schema of its settings. */
  readonly configSchema?: unknown;
}

/** Rows of a plugin held against those of its shadow. */
export interface ShadowCounts {
  /** Both wrote the same bytes. */
  readonly equal: number;
  readonly different: number;
  /** Both wrote it, not the same as yet: `different` if neither writes it again. */
  readonly disputed: number;
  readonly onlyOld: number;
  readonly onlyNew: number;
  /** Of one side only while the shadow found its feet: not a difference. */
  readonly atStart: number;
  /** Too many waited, or it ended: nothing is known of these. */
  readonly uncompared: number;
  /** For the row of the other side. */
  readonly waiting: number;
}

/** Values of one row; what JSON has no number for is a text. */
export type ShadowValues = Readonly<Record<string, number | string>>;

export interface ShadowSample {
  readonly what: 'different' | 'disputed' | 'only old' | 'only new';
  readonly key: string;
  readonly epoch: number;
  readonly nanoseconds?: number | undefined;
  readonly old?: ShadowValues | undefined;
  readonly new?: ShadowValues | undefined;
}

/** A new generation that runs beside the one that serves, its rows compared and not written. */
export interface ShadowReport {
  /** `waiting`: for the operator's consent. `ended`: of itself. `failed`: it is not started again. */
  readonly state: 'preparing' | 'waiting' | 'running' | 'ended' | 'failed';
  /** 0: it has no worker yet. */
  readonly generation: number;
  readonly version?: string | undefined;
  /** Of the code. */
  readonly hash: string;
  readonly seconds: number;
  /** Why it waits or failed. */
  readonly reason?: string | undefined;
  readonly counts: ShadowCounts;
  /** Milliseconds by which its rows come after those of the old one, of the newest pairs. */
  readonly lagMs?: { readonly median: number; readonly p99: number } | undefined;
  /** The first of each kind. */
  readonly samples: readonly ShadowSample[];
  /** What it could not write: rows refused by its worker, and messages it could not read. */
  readonly refused?: { readonly count: number; readonly reason: string } | undefined;
  /** Of a trigger: batches it was told of, and those it was too slow for. */
  readonly batches?:
    | { readonly fired: number; readonly failed: number; readonly missed: number }
    | undefined;
  /** Equal rows after which it takes over, if none differs; undefined: only by command. */
  readonly promoteAfterRows?: number | undefined;
}

/** What the entry of mkts.yml and the agreed version let it do. */
export interface PluginRights {
  /** Hosts with ports. */
  readonly network: readonly string[];
  /** Patterns of keys; undefined: any. */
  readonly writes?: readonly string[] | undefined;
  /** Names only. */
  readonly secrets: readonly string[];
  readonly builtins: readonly string[];
}

/** A flight recording on disk. */
export interface RecordingInfo {
  /** Name of the file in the data directory. */
  readonly file: string;
  readonly time: string;
  readonly bytes: number;
}

/** A flight recording: what there was to see before a plugin was taken out of service. */
export interface FlightRecording {
  readonly format: 1;
  readonly plugin: string;
  readonly time: string;
  readonly why: string;
  readonly code?: string | undefined;
  readonly report: PluginReport | undefined;
  /** Newest last, all three. */
  readonly states: readonly StateChange[];
  readonly samples: readonly PluginSample[];
  readonly lines: readonly JournalLine[];
}

/** What can be done to a plugin by one word. */
export const PLUGIN_ACTIONS = [
  'reload',
  'stop',
  'start',
  'restart',
  'quarantine',
  'release',
  'approve',
  'promote',
  'discard',
] as const;
export type PluginAction = (typeof PLUGIN_ACTIONS)[number];

/** The answer to an action. */
export interface ActionAnswer {
  /** What was done, or why there was nothing to do. */
  readonly message: string;
  readonly plugin: PluginReport;
}

/** The answer to a reload of mkts.yml. */
export interface ReloadAnswer {
  readonly message: string;
}
