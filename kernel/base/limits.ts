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

// ---- requests ---------------------------------------------------------------------------------
/** Bytes of a request body; past it 413. */
export const BODY_BYTES_MAX: number = 256 * MiB;
/** Bytes of an answer; past it MKTS_OVERLOADED asks for a smaller range. */
export const ANSWER_BYTES_MAX: number = 1024 * MiB;
/** A request that takes longer is ended. */
export const REQUEST_TIMEOUT_MS = 60_000;
/** A connection that sends no complete header in this time is closed. */
export const HEADERS_TIMEOUT_MS = 10_000;
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
/** How often memory is sampled. */
export const WORKER_SAMPLE_MS = 250;
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
/** Bytes of an HTTP answer a plugin may receive. */
export const FETCH_BYTES_MAX: number = 64 * MiB;
/** Requests of a plugin under way at a time; the next wait. */
export const FETCHES_MAX = 16;
/** Messages of a socket that wait for the plugin; past it the socket is closed. */
export const SOCKET_BACKLOG_MAX = 100_000;

// ---- triggers ---------------------------------------------------------------------------------
/** Keys with rows waiting for one trigger; past it the rows of the new key are counted as missed. */
export const TRIGGER_KEYS_MAX = 100_000;
/** A batch may take a trigger this long. */
export const TRIGGER_TIMEOUT_MS = 30_000;
/** Origins in a chain of triggers that write; a longer chain is cut. */
export const ORIGIN_CHAIN_MAX = 8;
