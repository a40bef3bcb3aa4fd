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
/** Series a generation takes over from the one before, opened; it opens the rest as it needs them. */
export const SERIES_FORESEEN_MAX = 1_024;
/** Places in one text of a plugin that are given by its own files. */
export const SOURCE_PLACES_MAX = 100;
/** Calls of `ctx.write` a plugin may await in a row before its event loop gets a turn. */
export const WRITES_PER_TURN = 1_024;
/** A plugin whose rows do not fit a bucket asks for the bucket's columns again, at most this often. */
export const SERIES_REOPEN_MS = 1_000;
/** Series a plugin may open; past it MKTS_PLUGIN_FAILED. */
export const SERIES_PER_PLUGIN_MAX = 65_536;

// ---- state of plugins -------------------------------------------------------------------------
/** UTF-8 bytes of a name in `ctx.state`; past it MKTS_STATE_INVALID. */
export const STATE_NAME_BYTES_MAX = 256;
/** Lists and objects inside each other in a value of state; past it MKTS_STATE_INVALID. */
export const STATE_DEPTH_MAX = 32;
/** What a name of state costs of its plugin's megabytes besides its text and its value's. */
export const STATE_ENTRY_OVERHEAD_BYTES = 64;
/** The states file is written in pieces of this size, giving the main thread back in between. */
export const STATES_FILE_PIECE_BYTES: number = 256 * KiB;

// ---- dead letters -----------------------------------------------------------------------------
/** Dead letters kept of a plugin; the oldest goes first, and is counted. */
export const LETTERS_KEPT_MAX = 1000;
/** Bytes of them in their file, or what `disk` of its entry leaves if that is less; as above. */
export const LETTERS_BYTES_MAX: number = 16 * MiB;
/** JSON of one dead letter; a larger one is counted and dropped. */
export const LETTER_BYTES_MAX: number = 1 * MiB;
/** Letters a plugin may make in a second; the rest is counted and dropped. */
export const LETTERS_PER_SECOND_MAX = 50;
/** Characters of rows and payloads a worker sends in a second; as above. */
export const LETTER_CHARACTERS_PER_SECOND_MAX: number = 2 * MiB;
/** Letters that wait for their file; past it they are counted and dropped. */
export const LETTERS_WAITING_BYTES_MAX: number = 8 * MiB;
/** Letters an answer lists, unless more are asked for. */
export const LETTERS_ANSWERED = 100;
/** UTF-16 units of a reason, and of the excerpt of a letter in a list; the rest is cut. */
export const LETTER_REASON_MAX = 1000;
export const LETTER_EXCERPT_MAX = 160;
/** Their file is synced this long after it changed. */
export const LETTERS_SYNC_MS = 1_000;

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

/** While the disk refuses writes they are tried again after this time, which doubles … */
export const WRITE_RETRY_MS = 50;
/** … up to this: so long after its cause is gone a pause may last. */
export const WRITE_RETRY_MAX_MS = 2_000;

// ---- backup -----------------------------------------------------------------------------------
/** While a backup copies the files no checkpoint runs, until the log that waits has this size … */
export const BACKUP_LOG_BYTES_MAX: number = 4096 * MiB;
/** … or so many bytes of pages are dirty: then the backup is given up with MKTS_BACKUP. */
export const BACKUP_DIRTY_BYTES_MAX: number = 768 * MiB;
/** A client of a backup that takes nothing for so long is cut off. */
export const BACKUP_STALL_MS = 60_000;
/** Bytes of a member of its tar, of which the manifest is the longest; past it MKTS_BACKUP_INVALID. */
export const BACKUP_MEMBER_BYTES_MAX: number = 256 * MiB;
/** UTF-8 bytes of the path of a file in it; past it MKTS_BACKUP_INVALID. */
export const BACKUP_PATH_BYTES_MAX = 4096;

// ---- store ------------------------------------------------------------------------------------
/** Bytes of a page of a year file (rounded down to whole records). */
export const PAGE_BYTES: number = 32 * KiB;
/** Clean pages kept for readers; the least recently used goes first. */
export const CLEAN_PAGE_BYTES_MAX: number = 64 * MiB;
/** Layouts of records that buckets share; past it a bucket has one of its own. */
export const LAYOUTS_SHARED_MAX = 1024;
/** Open descriptors of year files; the least recently used is closed. */
export const OPEN_FILES_MAX = 512;
/** Damaged intervals told of one year file; the rest is skipped without a word. */
export const DAMAGE_REPORTS_PER_FILE_MAX = 100;
/** A page that was not written for so many write-backs is cold: its sum goes to disk. */
export const SUM_AFTER_WRITE_BACKS = 20;
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
/** HTTP requests of a plugin under way at a time, or its entry's `requests` if that is less. */
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
/**
 * Newest rows a plugin has asked for and not got. The main thread takes all messages that wait in one
 * turn of its event loop: more of these would keep everybody else waiting.
 */
export const PLUGIN_LAST_ROWS_MAX = 32;
/** Megabytes kept for a plugin besides its rows: state, dead letters, recordings. */
export const PLUGIN_DISK_MB = 64;
/** A new generation that fails within this time gives way to the one before. */
export const PROBATION_MS = 10_000;
/** Rows of a plugin and of its shadow are judged when nothing was written at their time for so long. */
export const SHADOW_WINDOW_MS = 60_000;
/** Rows of one key and time that never rest for such a window are judged after so many. */
export const SHADOW_WINDOWS_MAX = 10;
/** Part of the window in which a shadow finds its feet: rows of one side only are not held against it. */
export const SHADOW_SETTLE_FRACTION = 0.1;
/** Rows that wait, their bytes, and keys that are told apart: past it the oldest stay uncompared. */
export const SHADOW_ROWS_MAX = 100_000;
export const SHADOW_BYTES_MAX: number = 32 * MiB;
export const SHADOW_KEYS_MAX = 65_536;
/** Then so much of what may wait is kept. */
export const SHADOW_KEPT_SHARE = 0.9;
/** Rows both wrote that are remembered, for the day one of them writes another there. */
export const SHADOW_AGREED_MAX = 16_384;
/** Differences of each kind that are kept with their values: the first ones. */
export const SHADOW_SAMPLES_MAX = 5;
/** Newest pairs of rows the latency is told of. */
export const SHADOW_LAGS_MAX = 1024;
/** Frames of one shadow a round of the drain takes, and after this time no other. */
export const SHADOW_FRAMES_PER_ROUND = 256;
export const SHADOW_ROUND_MS = 1;
/** Batches that wait for a shadow of a trigger: past it they pass it by, and are counted. */
export const SHADOW_BATCHES_MAX = 1024;
/** Time between looks at whether a shadow differs, or may take over. */
export const SHADOW_LOOK_MS = 250;
/** A worker looks at its own CPU time this often … */
export const CPU_LOOK_MS = 100;
/** … may use its share of this time at once, after a rest … */
export const CPU_BURST_MS = 2_000;
/** … and sleeps at most this long before its calls are answered again. */
export const CPU_SLEEP_MS_MAX = 500;
/** CPU time that can be owed; a turn that took more is forgiven the rest. */
export const CPU_OWED_MS_MAX = 5_000;
/** A plugin that is slowed down for most of this time is degraded. */
export const CPU_OVER_MS = 10_000;
/** Bytes zlib may unpack to in one call of a plugin; past it the call throws. */
export const UNPACKED_BYTES_MAX: number = 64 * MiB;
/** Different denials a plugin's worker tells in one message; further ones are counted together. */
export const DENIALS_KEPT_MAX = 32;
/** Keys a worker remembers it may not write; the kernel is asked about further ones each time. */
export const REFUSED_KEYS_MAX = 10_000;
/** One line a plugin and kind of denial in this time; the counter counts all. */
export const DENIAL_LINE_MS = 60_000;
/** Questions of a plugin that wait their turn; past it MKTS_BUDGET. */
export const PLUGIN_REQUESTS_WAITING_MAX = 4096;
/** UTF-16 units of the JSON Schema of a plugin's settings; a longer one is left out. */
export const CONFIG_SCHEMA_BYTES_MAX: number = 256 * KiB;
/** A change of a plugin's files is looked at once they have been quiet for this long. */
export const RELOAD_DEBOUNCE_MS = 100;

// A plugin in a process of its own.
/** Bytes of one message of the process, rows aside; past it MKTS_LINE_INVALID. */
export const LINE_MESSAGE_BYTES_MAX: number = 16 * MiB;
/** Bytes sent to a process that it leaves unread; past it MKTS_LINE_INVALID. */
export const LINE_BACKLOG_BYTES_MAX: number = 256 * MiB;
/** What one process sent is read for this long before everybody else has a turn. */
export const LINE_SLICE_MS = 2;
/** … and so many calls and answers of it, which make work after they were read. */
export const LINE_CALLS_PER_SLICE = 64;
/** V8's range for the code of the plugin's thread, which counts as if it were all in use. */
export const PROCESS_CODE_RANGE_MB = 64;
/** What Node takes of a process's data limit before a plugin has anything: measured 658, of it 512 for code. */
export const PROCESS_DATA_BASE_MB = 736;
/** Resident memory of a process that is V8's own doing: young generation, compiled code, arenas. */
export const PROCESS_MEMORY_SLACK_MB = 64;

/** Bytes of a tape `mkts plugin record` writes; past it the run ends. */
export const TAPE_BYTES_MAX: number = 256 * MiB;

/** Niceness of a plugin's thread: the kernel and its sync thread stay at 0. */
export const WORKER_NICENESS = 10;
/** Of the thread that builds plugins, and of esbuild: behind all of them. */
export const BUNDLE_NICENESS = 19;

// ---- watchdog ---------------------------------------------------------------------------------
/** Deaths of the kernel process within this time; at the last of them it is given up. */
export const KERNEL_DEATHS_MAX = 5;
export const KERNEL_DEATHS_WINDOW_MS = 60_000;
/** A kernel that has been ready for this long gets a process in reserve. */
export const KERNEL_RESERVE_MS = 2_000;
/** A kernel that has stopped may take this long to exit: a thread in native code holds it up. */
export const KERNEL_EXIT_MS = 1_000;
/** After the kernel process ended, its last words may take this long to be read. */
export const LAST_WORDS_MS = 200;

// ---- operations -------------------------------------------------------------------------------
/** Lines kept of a plugin, and as many of level debug; the oldest goes first. */
export const JOURNAL_LINES_MAX = 1000;
/** UTF-16 units of those lines, of either kind; the oldest goes first. */
export const JOURNAL_CHARACTERS_MAX: number = 1 * MiB;
/** Changes of state kept of a plugin; the oldest goes first. */
export const JOURNAL_STATES_MAX = 64;
/** Plugins whose lines are kept; the one that was new first is forgotten first. */
export const JOURNAL_PLUGINS_MAX = 1024;
/** Lines of a plugin a client that follows may lag behind; past it the client is cut off. */
export const FOLLOW_BYTES_MAX: number = 1 * MiB;
/** Clients that follow lines or take a profile at a time; past it MKTS_OVERLOADED. */
export const FOLLOWERS_MAX = 64;
/** How often the flight recorder looks at each plugin, and how many looks it keeps. */
export const FLIGHT_SAMPLE_MS = 1_000;
export const FLIGHT_SAMPLES_MAX = 60;
/** Flight recordings kept of a plugin; the oldest is removed. */
export const FLIGHTS_PER_PLUGIN_MAX = 5;
/** A plugin that ran for this long since it last failed counts as recovered. */
export const RECOVERED_MS = 60_000;
/** Generations of a plugin whose rows are counted apart; the oldest is forgotten. */
export const ROW_GENERATIONS_MAX = 3;
/** Of the text of a profile that comes from a plugin's process. */
export const PROFILE_BYTES_MAX: number = 64 * MiB;
/** Of one message of a plugin's process; a profile takes several. */
export const PROFILE_PIECE_CHARACTERS = 262_144;
/** A worker that is profiled must answer within this time, or there is no profile. */
export const PROFILE_ANSWER_MS = 5_000;
/** Longest CPU profile that may be asked for. */
export const PROFILE_SECONDS_MAX = 60;
/** Characters of `admin_token`; a shorter one is refused at the start. */
export const ADMIN_TOKEN_CHARACTERS_MIN = 16;
/** Lines of a plugin's log an answer repeats, unless more are asked for. */
export const LOGS_ANSWERED = 100;
/** A client that follows lines hears something this often, so that one that is gone is noticed. */
export const FOLLOW_PULSE_MS = 15_000;

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

// ---- tools ------------------------------------------------------------------------------------
/** Findings integrity lists; past it they are counted. */
export const FINDINGS_MAX = 10_000;
/** Damaged slots side by side that make one finding; more make several. */
export const FINDING_SLOTS_MAX = 16_384;
/** Bytes one repair takes away and puts in their place; what is beyond is left to the next one. */
export const REPAIR_BYTES_MAX: number = 64 * MiB;
/** Looks of one repair: what hid something is repaired first, then what it hid. */
export const REPAIR_ROUNDS_MAX = 8;

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
/** A change of mkts.yml is read once its directory has been quiet for this long. */
export const CONFIG_DEBOUNCE_MS = 100;
/** mkts.yml is looked at this often whatever the system tells: some file systems tell nothing. */
export const CONFIG_POLL_MS = 5_000;
/** Days in a row a calendar is searched for its next session; past it there is none. */
export const CALENDAR_CLOSED_DAYS_MAX = 3660;
/** Bytes of a calendar file; past it MKTS_CONFIG_INVALID. */
export const CALENDAR_BYTES_MAX: number = 1 * MiB;
/** How often the age of each plugin's newest row is looked at. */
export const FRESHNESS_CHECK_MS = 1_000;
/** How often the disk usage of the root directory is measured. */
export const DISK_USAGE_INTERVAL_MS = 600_000;
