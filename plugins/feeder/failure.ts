/**
 * Which failures pass by themselves and which wait for somebody: a venue that refuses a symbol, a
 * bucket that does not take our columns. The latter are asked again every hour, not every second.
 */

/** The venue understood the request and says no: an unknown symbol, a bad interval. */
export class VenueRefusal extends Error {
  override readonly name = 'VenueRefusal';
  readonly status: number;
  /** The venue's own error code, if its answer has one. */
  readonly venueCode: number | undefined;

  constructor(status: number, message: string, venueCode?: number) {
    super(message);
    this.status = status;
    this.venueCode = venueCode;
  }
}

/** Codes of the kernel that another try with the same rows will meet again. */
const LASTING_CODES: readonly string[] = [
  'MKTS_KEY_INVALID',
  'MKTS_TIMEFRAME_INVALID',
  'MKTS_TIMEFRAME_UNSUPPORTED',
  'MKTS_COLUMN_TYPE',
  'MKTS_COLUMN_MISMATCH',
  'MKTS_COLUMN_CAST',
  'MKTS_COLUMN_LOSSY',
  'MKTS_COLUMN_NAME',
  'MKTS_EPOCH_RANGE',
  'MKTS_CATEGORY_MISMATCH',
  'MKTS_BUCKET_READ_ONLY',
];

/** True if trying again soon is pointless. */
export function isLasting(failure: unknown): boolean {
  if (failure instanceof VenueRefusal) return true;
  const code = (failure as { code?: unknown } | undefined)?.code;
  return typeof code === 'string' && LASTING_CODES.includes(code);
}

/** The message of whatever was thrown. */
export function reasonOf(failure: unknown): string {
  return failure instanceof Error ? failure.message : String(failure);
}
