/**
 * Every error a user can meet: its code, its text, and who must act.
 *
 * A text may name fields of the error as `{field}`; fields it does not name are appended as
 * `field=value`, so that nothing known about an error is lost on its way to the log. Texts that
 * existing MarketStore clients look for (spec: error catalogue) are kept word for word.
 * Between threads an error travels as `PlainError` and is revived on the other side.
 */

export const ERROR_TEXTS = {
  // Operator: the server does not start, or a command is refused.
  MKTS_CONFIG_UNREADABLE: 'failed to read configuration file error: {path}: {reason}',
  MKTS_CONFIG_SYNTAX: '{at}: {problem}',
  MKTS_CONFIG_INVALID: '{at} {path}: {problem}',
  MKTS_ROOT_DIRECTORY: 'root_directory {path} cannot be used: {reason}',
  MKTS_ROOT_LOCKED: 'root_directory {path} is in use by another server (pid {pid}, since {since})',
  MKTS_LISTEN: 'failed to start server - error: listen on {address}: {reason}',
  MKTS_TRIGGER_PATTERN: 'pattern "{pattern}" is not valid: {reason}',
  MKTS_NODE_TOO_OLD: 'mkts needs Node {needed} or newer; this is Node {found} ({executable})',
  MKTS_SCAFFOLD: 'plugin {name} cannot be made: {reason}',
  MKTS_TAPE_INVALID: 'tape {path}:{line}: {reason}',
  MKTS_TAPE_WRITE: 'tape {path} cannot be written: {reason}',
  MKTS_PLUGIN_UNTESTED: '{directory}: {reason}',
  MKTS_KERNEL_LOOP:
    'the kernel process died {deaths} times within {seconds} s and is not started again; the last time it {ending}',

  MKTS_REPAIR: 'nothing is repaired: {reason}',
  MKTS_SEAL: 'nothing is sealed: {reason}',
  MKTS_LOG_UNKNOWN: '{path} is no log: {reason}',
  MKTS_STRAY_FILE: '{path}: {reason}',
  MKTS_BACKUP_INVALID: 'the backup cannot be used: {reason}',
  MKTS_BACKUP_TARGET: '{path} cannot be written to: {reason}',

  // Client: goes into the reply.
  MKTS_KEY_INVALID: 'key "{key}" is not in proper format, should be like: {example}: {reason}',
  MKTS_KEY_CATEGORY:
    'key "{key}" is not in proper format, should be like: TSLA/1Min/OHLCV:Symbol/TimeFrame/AttributeGroup',
  MKTS_DESTINATION_INVALID:
    'destinations must have a Symbol, Timeframe and AttributeGroup, have: {destination}',
  MKTS_TIMEFRAME_INVALID: 'error: Unable to get timeframe from key',
  MKTS_TIMEFRAME_UNSUPPORTED:
    'timeframe {timeframe} cannot be stored: it must divide 24 hours and be at least one second',
  MKTS_QUERY_TIMEFRAME:
    'timeframe not found in TimeBucketKey={key}: timeframe not found in "{timeframe}"',
  MKTS_QUERY_NO_BUCKET: 'no files returned from query parse',
  MKTS_QUERY_SHAPES:
    'symbols in a query must have the same data type or be filtered by common columns. symbols=[{symbols}]',
  MKTS_QUERY_LIMIT: 'limit_record_count must not be negative',
  MKTS_QUERY_UNSUPPORTED: '{what} not supported',
  MKTS_ANSWER_TOO_LARGE: 'the answer exceeds {maxBytes} bytes: ask for a smaller range',
  MKTS_COLUMN_TYPE: 'unexpected data type for {column} column',
  MKTS_COLUMN_TYPE_UNKNOWN: 'unsupported type string {type}',
  MKTS_CREATE_TYPE_UNKNOWN: 'unexpected data type:{type}',
  MKTS_COLUMN_MISMATCH: 'unable to match data columns ({have}) to bucket columns ({want})',
  MKTS_COLUMN_CAST: 'can not cast to boolean or string: column {column}',
  MKTS_COLUMN_LOSSY: 'column {column}: value {value} does not fit type {type}',
  MKTS_COLUMN_NAME: 'column name "{column}" is not allowed: {reason}',
  MKTS_COLUMN_COUNT: 'a bucket holds at most {max} columns, have {count}',
  MKTS_RECORD_TOO_LONG: 'a record of a 24-hour bucket holds at most {max} bytes, have {bytes}',
  MKTS_DATASET_INVALID: 'dataset is malformed: {reason}',
  MKTS_DURABILITY: 'durability "{given}" is not known: it is one of {known}',
  MKTS_DELETE_RANGE: 'which rows are to be deleted is not clear: {reason}',
  MKTS_DELETE_NO_BUCKET: 'no bucket matches {key}: nothing to delete rows from',
  MKTS_EPOCH_RANGE: 'Epoch {epoch} of row {row} is outside the years 1 to 9999',
  MKTS_BUCKET_EXISTS:
    'creation of new catalog entry failed: Can not overwrite file: File is already in directory',
  MKTS_CATEGORY_MISMATCH:
    'creation of new catalog entry failed: category name does not match on-disk name',
  MKTS_BUCKET_UNKNOWN: 'unable to get info about key {key}: not found in catalog',
  MKTS_DESTROY_UNKNOWN:
    'removal of catalog entry failed: Unable to find level item: {item} in directory',
  MKTS_RPC_VERSION: 'jsonrpc must be 2.0',
  MKTS_RPC_PARSE: 'request body is not readable {encoding}: {reason}',
  MKTS_RPC_PARAMS: 'params of {method}: {reason}',
  MKTS_RPC_METHOD_FORM: 'rpc: service/method request ill-formed: "{method}"',
  MKTS_RPC_SERVICE: 'rpc: can\'t find service "{method}"',
  MKTS_RPC_METHOD: 'rpc: can\'t find method "{method}"',
  MKTS_NOT_QUERYABLE: 'server is not queryable',
  MKTS_REQUEST_TIMEOUT: 'the request took longer than {timeoutMs} ms',
  MKTS_INTERNAL: "internal error: the server's log says more",
  MKTS_BODY_TOO_LARGE: 'request body exceeds {maxBytes} bytes',
  MKTS_WRITES_STOPPED: 'the database does not take writes: {reason}',
  MKTS_WRITES_PAUSED:
    'writes are paused until the disk takes them again ({reason}): nothing of this request was written',
  MKTS_ADMIN_DENIED: 'the admin API does not answer this request: {reason}',
  MKTS_ADMIN_UNKNOWN: 'the admin API has no {method} {path}',
  MKTS_ADMIN_ARGUMENT: '{argument}: {problem}',
  MKTS_LETTER_UNKNOWN: 'plugin {plugin} has no dead letter {id}',
  MKTS_RECORDING_UNKNOWN: 'plugin {plugin} has no recording {file}',
  MKTS_BACKUP: 'the backup cannot be made: {reason}',
  MKTS_PROFILE: 'no CPU profile of plugin {plugin} can be taken: {reason}',
  MKTS_OVERLOADED: 'the server is busy: {reason}; try again',
  MKTS_SHUTTING_DOWN: 'the server is shutting down',

  // Plugin author: named, logged; the kernel goes on.
  MKTS_PLUGIN_UNKNOWN: 'there is no plugin {plugin}',
  MKTS_PLUGIN_EXISTS: 'there is a plugin {plugin} already',
  MKTS_PLUGIN_QUARANTINED: 'plugin {plugin} is in quarantine: {reason}',
  MKTS_PLUGIN_SUPERSEDED: 'plugin {plugin}: a newer reload takes the place of this one',
  MKTS_PLUGIN_PROBATION:
    'plugin {plugin}: this version failed in its probation and gave way to the one before: {reason}',
  MKTS_SHADOW_NONE: 'plugin {plugin} has no shadow',
  MKTS_SHADOW: 'the shadow of plugin {plugin} cannot be used: {reason}',
  MKTS_PLUGIN_NOT_FOUND: 'plugin module {module} not found; looked in: {looked}',
  MKTS_PLUGIN_BUILD: 'plugin {plugin} does not build: {reason}',
  MKTS_PLUGIN_IMPORT: 'plugin {plugin} may not import {import}',
  MKTS_PLUGIN_SHAPE: 'plugin {plugin}: {reason}',
  MKTS_PLUGIN_CONFIG: '{at} {path}: {problem}',
  MKTS_PLUGIN_API: 'plugin {plugin} wants kernel API {wanted}, this kernel has {have}',
  MKTS_PLUGIN_FAILED: 'plugin {plugin} failed: {reason}',
  MKTS_PLUGIN_STUCK: 'plugin {plugin} has not answered for {silentMs} ms',
  MKTS_PLUGIN_MEMORY: 'plugin {plugin} uses {usedMb} MB of the {limitMb} MB it may use',
  MKTS_PLUGIN_EXIT: 'plugin {plugin} ended by itself (exit code {exitCode})',
  MKTS_PLUGIN_TIMEOUT: 'plugin {plugin}: {call} took longer than {timeoutMs} ms',
  MKTS_KERNEL_DIED: 'it is held to have killed the kernel process, which {ending}: {evidence}',
  MKTS_FRAME_INVALID: 'plugin {plugin} sent a frame that is not valid: {reason}',
  MKTS_RING_INVALID: 'plugin {plugin} damaged its ring: {reason}',
  MKTS_LINE_INVALID: 'the process of plugin {plugin} sent what is not valid: {reason}',
  MKTS_WRITE_TOO_LARGE:
    'a call that is written as one piece takes {bytes} bytes, at most {maxBytes}: write less at a time',
  MKTS_STATE_INVALID: 'state "{name}" cannot be kept: {reason}',
  MKTS_STATE_REFUSED:
    'rows plugin {plugin} sent together with its state were refused ({reason}): it goes on from its last committed state',
  MKTS_NET_DENIED: 'plugin {plugin} may not reach {host}; allowed: {allowed}',
  MKTS_NET_FAILED: '{method} {url}: {reason}',
  MKTS_TAPE_MISS: 'the tape has nothing for {request}; left on it: {left}',
  MKTS_CAPABILITY_DENIED: 'plugin {plugin}: {what} is not available in a plugin',
  MKTS_BUDGET: 'plugin {plugin} is over its budget: {budget} {used} of {limit}',
  MKTS_CONSENT:
    'plugin {plugin} version {version} asks for more than was agreed to: {asks}; `mkts plugin approve {plugin}` agrees',

  // Disk: writes stop, reads go on.
  MKTS_DISK: '{operation} {path}: {reason}',
  MKTS_DISK_REFUSED: '{operation} {path}: {reason}',
  MKTS_WAL_WRITE: 'write-ahead log {path} cannot be written: {reason}',
  MKTS_CHECKPOINT: 'checkpoint failed: {reason}',

  // Damage: names path and offset, isolates one bucket.
  MKTS_WAL_CORRUPT: 'write-ahead log {path} is damaged at offset {offset}: {reason}',
  MKTS_YEAR_FILE_CORRUPT: 'year file {path} is set aside: {reason} (offset {offset})',
  MKTS_CATALOG_CORRUPT: '{path} is set aside: {reason}',
  MKTS_STATE_CORRUPT: 'the states of plugins in {path} are set aside: {reason}',
  MKTS_LETTERS_CORRUPT:
    'dead letters in {path}: {lines} lines are skipped, the first at offset {offset}: {reason}',
  MKTS_CELL_CORRUPT: 'year file {path} has a damaged interval at offset {offset}: {reason}',
  MKTS_PAGE_CORRUPT:
    'year file {path}: {bytes} bytes at offset {offset}, {from} to {to}, are not what was written: {reason}',
  MKTS_SUMS_CORRUPT: 'checksums in {path} are not used: {reason}',
  MKTS_BUCKET_READ_ONLY: 'bucket {key} is read-only: {reason}',
} as const;

export type ErrorCode = keyof typeof ERROR_TEXTS;
export type ErrorFields = Readonly<Record<string, unknown>>;

/** What crosses a thread boundary. */
export interface PlainError {
  readonly name: string;
  readonly code: ErrorCode | undefined;
  readonly message: string;
  readonly fields: ErrorFields;
  readonly stack: string | undefined;
}

/** Base of all errors with a code. Its subclasses say who must act. */
export class MktsError extends Error {
  override readonly name: string = 'MktsError';
  readonly code: ErrorCode;
  readonly fields: ErrorFields;

  constructor(code: ErrorCode, fields: ErrorFields = {}, options?: ErrorOptions) {
    super(formatErrorText(ERROR_TEXTS[code], fields), options);
    this.code = code;
    this.fields = fields;
  }
}

/** The operator must act: the server does not start. */
export class ConfigError extends MktsError {
  override readonly name = 'ConfigError';
}
/** The client must act: travels in the reply. */
export class RequestError extends MktsError {
  override readonly name = 'RequestError';
}
/** The plugin's author must act: named and logged; the kernel goes on. */
export class PluginError extends MktsError {
  override readonly name = 'PluginError';
}
/** The disk failed: writes stop. */
export class StorageError extends MktsError {
  override readonly name = 'StorageError';
}
/** Bytes on disk are not what was written: path and offset are named, never skipped in silence. */
export class CorruptionError extends MktsError {
  override readonly name = 'CorruptionError';
}

const CLASSES = {
  MktsError,
  ConfigError,
  RequestError,
  PluginError,
  StorageError,
  CorruptionError,
};

/** Fills `{field}` places of `text`; fields without a place follow as ` field=value`. */
export function formatErrorText(text: string, fields: ErrorFields): string {
  const named = new Set<string>();
  const filled = text.replace(/\{(\w+)\}/g, (_place, field: string) => {
    named.add(field);
    return String(fields[field] ?? '');
  });
  const rest = Object.entries(fields)
    .filter(([field, value]) => !named.has(field) && value !== undefined)
    .map(([field, value]) => `${field}=${String(value)}`);
  return rest.length === 0 ? filled : `${filled} (${rest.join(', ')})`;
}

/** Whatever was thrown, as an Error. */
export function asError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error(String(thrown));
}

/** The message of whatever was thrown. */
export function reasonOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}

/** Makes an error into plain data for another thread. Never throws. */
export function toPlainError(thrown: unknown): PlainError {
  if (thrown instanceof MktsError) {
    return {
      name: thrown.name,
      code: thrown.code,
      message: thrown.message,
      fields: cloneableFields(thrown.fields),
      stack: thrown.stack,
    };
  }
  if (thrown instanceof Error) {
    return {
      name: thrown.name,
      code: undefined,
      message: thrown.message,
      fields: {},
      stack: thrown.stack,
    };
  }
  return {
    name: 'Error',
    code: undefined,
    message: String(thrown),
    fields: {},
    stack: undefined,
  };
}

/** Revives what `toPlainError` made. A code this build does not know becomes a plain Error. */
export function fromPlainError(plain: PlainError): Error {
  if (plain.code !== undefined && Object.hasOwn(ERROR_TEXTS, plain.code)) {
    const Class = Object.hasOwn(CLASSES, plain.name)
      ? CLASSES[plain.name as keyof typeof CLASSES]
      : MktsError;
    const error = new Class(plain.code, plain.fields);
    if (plain.stack !== undefined) error.stack = plain.stack;
    return error;
  }
  const error = new Error(plain.message);
  if (plain.stack !== undefined) error.stack = plain.stack;
  return error;
}

function cloneableFields(fields: ErrorFields): ErrorFields {
  const plain: Record<string, unknown> = {};
  for (const [field, value] of Object.entries(fields)) {
    plain[field] =
      typeof value === 'object' && value !== null
        ? String(value)
        : typeof value === 'function' || typeof value === 'symbol'
          ? undefined
          : value;
  }
  return plain;
}
