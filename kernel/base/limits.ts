/**
 * Every bound of the server, with its unit and what happens at it. A queue, map, loop or retry
 * without an entry here has no bound, and that is a mistake.
 */

const KiB = 1024;
const MiB = 1024 * KiB;

// ---- names and shapes -------------------------------------------------------------------------
/** Columns of a bucket besides Epoch; past it MKTS_COLUMN_COUNT (a Go server's log counts in u8). */
export const COLUMNS_MAX = 254;
/** UTF-8 bytes of a column name (on disk: 32); past it MKTS_COLUMN_NAME. */
export const COLUMN_NAME_BYTES_MAX = 32;
/** UTF-8 bytes of one part of a key: a directory name; past it MKTS_KEY_INVALID. */
export const KEY_PART_BYTES_MAX = 255;
/** UTF-8 bytes of a key's relative path; past it MKTS_KEY_INVALID. */
export const KEY_BYTES_MAX = 1024;
/** Years a row may lie in; outside MKTS_EPOCH_RANGE. */
export const YEAR_MIN = 1;
export const YEAR_MAX = 9999;

// ---- rings and frames -------------------------------------------------------------------------
/** Data bytes of a plugin's ring, a power of two. Full: the plugin's `write` waits. */
export const RING_BYTES: number = 4 * MiB;
/** Bytes of one frame; a larger batch is split by the worker; a larger frame is MKTS_FRAME_INVALID. */
export const FRAME_BYTES_MAX: number = 512 * KiB;
/** Frames taken from one ring in one round, so that a flood does not starve the others. */
export const DRAIN_FRAMES_PER_ROUND = 4096;
/** Bytes taken from one ring in one round. */
export const DRAIN_BYTES_PER_ROUND: number = 1 * MiB;
/** A round over all rings ends after this time, so that a tick of the main thread stays short. */
export const DRAIN_ROUND_MS = 2;
/** Safety timer behind the doorbell. */
export const DRAIN_IDLE_POLL_MS = 10;
/** Series a plugin may open; past it MKTS_PLUGIN_FAILED. */
export const SERIES_PER_PLUGIN_MAX = 65_536;

// ---- ingest -----------------------------------------------------------------------------------
/** Bytes of a transaction group; full: rings wait, requests wait. One request must fit. */
export const GROUP_BYTES_MAX: number = 8 * MiB;
/** Requests of clients waiting for a group; past it MKTS_OVERLOADED. */
export const WAITING_WRITES_MAX = 4096;

// ---- log --------------------------------------------------------------------------------------
/** Bytes of a log segment, preallocated. A group larger than the rest starts the next segment. */
export const WAL_SEGMENT_BYTES: number = 32 * MiB;
/** A checkpoint starts when this much log is not yet checkpointed … */
export const CHECKPOINT_LOG_BYTES: number = 256 * MiB;
/** … or this many bytes of pages are dirty … */
export const CHECKPOINT_DIRTY_BYTES: number = 192 * MiB;
/** … or this long after the first group that is not checkpointed. */
export const CHECKPOINT_INTERVAL_MS = 30_000;
/** Write-back yields to the main thread after this time. */
export const CHECKPOINT_SLICE_MS = 1;

// ---- store ------------------------------------------------------------------------------------
/** Bytes of a page of a year file (rounded down to whole records). */
export const PAGE_BYTES: number = 32 * KiB;
/** Clean pages kept for readers; the least recently used goes first. */
export const CLEAN_PAGE_BYTES_MAX: number = 64 * MiB;
/** Open descriptors of year files; the least recently used is closed. */
export const OPEN_FILES_MAX = 512;
/** Damaged intervals told of one year file; the rest is skipped without a word. */
export const DAMAGE_REPORTS_PER_FILE_MAX = 100;
/** Year files a write-back syncs at a time: libuv's pool has four threads by default. */
export const WRITE_BACK_SYNCS_MAX = 4;

// ---- requests ---------------------------------------------------------------------------------
/** Bytes of a request body; past it 413. */
export const BODY_BYTES_MAX: number = 256 * MiB;
/** Bytes of all request bodies being received or worked on; past it 503 MKTS_OVERLOADED. */
export const BODIES_BYTES_MAX: number = 1024 * MiB;
/** Bytes of an answer's columns; past it MKTS_ANSWER_TOO_LARGE asks for a smaller range. */
export const ANSWER_BYTES_MAX: number = 1024 * MiB;
/** Maps and lists inside each other in a request; past it MKTS_RPC_PARSE. */
export const MESSAGE_DEPTH_MAX = 32;
/** Bytes of a request that an error repeats; a longer one is left out. */
export const ECHO_BYTES_MAX: number = 64 * KiB;
/** Writes of one call under way at a time; the next wait. */
export const CALL_WRITES_MAX = 64;
/** A request that takes longer is ended. */
export const REQUEST_TIMEOUT_MS = 60_000;
/** A connection that sends no complete header in this time is closed. */
export const HEADERS_TIMEOUT_MS = 10_000;
/** A connection without a request is closed after this time; clients pool theirs for 90 s. */
export const KEEP_ALIVE_MS = 120_000;
/** How often running requests are checked against their time. */
export const REQUEST_SWEEP_MS = 1_000;
/** Answers under way at a stop have this long to leave; then their connections are closed. */
export const HTTP_DRAIN_MS = 5_000;
/** Bytes of an answer handed to a socket at a time. */
export const SEND_SLICE_BYTES: number = 1 * MiB;
/** Open connections; past it new ones are refused. */
export const CONNECTIONS_MAX = 4096;
/** A scan yields to the main thread after this many bytes. */
export const SCAN_SLICE_BYTES: number = 1 * MiB;

// ---- plugins ----------------------------------------------------------------------------------
/** The worker beats this often … */
export const HEARTBEAT_MS = 50;
/** … and is stuck, and terminated, after this long without a beat. */
export const HEARTBEAT_TIMEOUT_MS = 5_000;
/** Hard V8 limit of a worker's heap: loose, since a tight one aborts the process. */
export const WORKER_HEAP_HARD_MB = 2048;
/** Soft limit of a worker's memory, sampled; past it the worker is terminated. */
export const WORKER_MEMORY_SOFT_MB = 256;
/** A terminated worker that is still there after this time is left behind as a zombie. */
export const WORKER_ZOMBIE_MS = 1_000;
/** How often memory is sampled. */
export const WORKER_SAMPLE_MS = 250;
/** While plugins run, the memory of the process is looked at this often … */
export const PROCESS_MEMORY_SAMPLE_MS = 25;
/** … and every worker is asked for its own once it grew by this much. */
export const PROCESS_MEMORY_GROWTH_MB = 64;
/** Restart delay: first, and at most; doubles, with jitter. */
export const RESTART_DELAY_MS = 1_000;
export const RESTART_DELAY_MAX_MS = 60_000;
/** This many restarts within this time: the plugin is quarantined. */
export const RESTARTS_MAX = 10;
export const RESTARTS_WINDOW_MS = 600_000;
/** A clean stop may take this long before the worker is terminated. */
export const STOP_TIMEOUT_MS = 5_000;
/** A call across threads may take this long. */
export const CALL_TIMEOUT_MS = 30_000;
/** Log lines a plugin may write in a second; the rest is counted and dropped. */
export const LOG_LINES_PER_SECOND_MAX = 200;
/** Bytes of one log line of a plugin; the rest is cut. */
export const LOG_LINE_BYTES_MAX: number = 8 * KiB;
/** Metrics of a plugin, by name and labels; further ones are dropped. */
export const METRICS_PER_PLUGIN_MAX = 1000;
/** Bytes of an HTTP answer a plugin may receive. */
export const FETCH_BYTES_MAX: number = 64 * MiB;
/** Requests of a plugin under way at a time; the next wait. */
export const FETCHES_MAX = 16;
/** Messages of a socket that wait for the plugin; past it the socket is closed. */
export const SOCKET_BACKLOG_MAX = 100_000;
/** Bundles of plugins kept, by file; the oldest is built again when it is wanted. */
export const BUNDLES_KEPT_MAX = 64;
/** Problems of a build that its error repeats; the rest is counted. */
export const BUNDLE_ERRORS_MAX = 5;
/** Bytes (UTF-16) of those messages; past it the socket is closed. */
export const SOCKET_BACKLOG_BYTES_MAX: number = 64 * MiB;
/** Messages of a socket on their way to the plugin; the next wait in the broker. */
export const SOCKET_CREDIT = 1024;
/** Bytes a plugin sent that its venue does not take; past it the socket is closed. */
export const SOCKET_SEND_BYTES_MAX: number = 4 * MiB;
/** Open sockets of a plugin; past it MKTS_NET_FAILED. */
export const SOCKETS_MAX = 64;
/** A socket that is not open after this time fails. */
export const SOCKET_OPEN_TIMEOUT_MS = 10_000;
/** Requests of a plugin that wait their turn; past it MKTS_NET_FAILED. */
export const FETCHES_WAITING_MAX = 4096;
/** A request takes at most this long, unless the plugin says otherwise. */
export const FETCH_TIMEOUT_MS = 10_000;
/** Longest time a plugin may give a request: a longer one is cut to it. */
export const FETCH_TIMEOUT_MAX_MS = 600_000;
/** The broker thread may take this long to close its sockets before it is terminated. */
export const BROKER_STOP_MS = 1_000;
/** Redirects followed for one request; past it MKTS_NET_FAILED. */
export const FETCH_REDIRECTS_MAX = 5;

/** Queries and HTTP requests of a plugin under way, unless its entry says otherwise; the next wait. */
export const PLUGIN_REQUESTS_MAX = 64;
/** Megabytes kept for a plugin besides its rows: state, dead letters, recordings. */
export const PLUGIN_DISK_MB = 64;
/** A new generation that fails within this time gives way to the one before. */
export const PROBATION_MS = 10_000;
/** A change of a plugin's files is looked at once they have been quiet for this long. */
export const RELOAD_DEBOUNCE_MS = 100;

/** Niceness of a plugin's thread: the kernel and its sync thread stay at 0. */
export const WORKER_NICENESS = 10;

// ---- triggers ---------------------------------------------------------------------------------
/** Keys with rows waiting for one trigger; past it the rows of the new key are counted as missed. */
export const TRIGGER_KEYS_MAX = 100_000;
/** A batch may take a trigger this long. */
export const TRIGGER_TIMEOUT_MS = 30_000;
/** Triggers in a chain of origins, each fed by those before it; what a longer one writes is not delivered. */
export const ORIGIN_CHAIN_MAX = 8;
/** Touched ranges kept for one key; past it the two nearest become one, with what lies between. */
export const TOUCHED_RANGES_MAX = 64;
/** Keys one trigger works on at a time, unless its entry says otherwise; the others wait. */
export const TRIGGER_CONCURRENCY = 4;
/** After its worker ended in a fire, a trigger rests until it runs again, or for this long. */
export const TRIGGER_HOLD_MS: number = WORKER_ZOMBIE_MS + 1_000;
/** Verdicts a pattern remembers; past it all are forgotten and found again. */
export const PATTERN_VERDICTS_MAX = 262_144;
/** Length of one trigger pattern; past it MKTS_TRIGGER_PATTERN. */
export const PATTERN_BYTES_MAX = 4096;

// ---- configuration ----------------------------------------------------------------------------
/** Bytes of mkts.yml; past it MKTS_CONFIG_UNREADABLE. */
export const CONFIG_BYTES_MAX: number = 4 * MiB;
/** Values mkts.yml may unfold to through its anchors; past it MKTS_CONFIG_SYNTAX. */
export const CONFIG_NODES_MAX = 100_000;
/** Bytes of a file a setting names by `file:`; past it MKTS_CONFIG_INVALID. */
export const SECRET_FILE_BYTES_MAX: number = 64 * KiB;
/** UTF-8 bytes of a plugin's name, which becomes a label and a directory; past it MKTS_CONFIG_INVALID. */
export const PLUGIN_NAME_BYTES_MAX = 64;
/** Metric families of plugins, and samples of a family; the rest is counted and dropped. */
export const PLUGIN_FAMILIES_MAX = 200;
export const PLUGIN_SAMPLES_MAX = 10_000;
/** How often the disk usage of the root directory is measured. */
export const DISK_USAGE_INTERVAL_MS = 600_000;
