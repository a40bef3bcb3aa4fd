/** Times as people write them: '2021-01-04', '2021-01-04T15:30:00.5-05:00', '1609772400'. Pure. */

export interface Instant {
  /** Unix seconds, rounded down. */
  readonly seconds: number;
  /** [0, 1e9) */
  readonly nanos: number;
}

const SHAPE =
  /^(?<date>\d{4}-\d\d-\d\d)(?:[T ](?<time>\d\d:\d\d(?::\d\d)?)(?:\.(?<fraction>\d{1,9}))?(?<offset>Z|[+-]\d\d:?\d\d)?)?$/i;

/** Undefined if it is no time. Without an offset it is UTC, as everywhere in the database. */
export function parseTimeText(text: string): Instant | undefined {
  const unix = /^(-?\d{1,12})(?:\.(\d{1,9}))?$/.exec(text);
  if (unix !== null) {
    const [, seconds = '0', fraction] = unix;
    // A fraction counts forward from the whole second, which for '-1.5' would be another time.
    if (fraction !== undefined && seconds.startsWith('-')) return undefined;
    return { seconds: Number(seconds), nanos: nanosOf(fraction) };
  }
  const { date, time = '00:00', fraction, offset = 'Z' } = SHAPE.exec(text)?.groups ?? {};
  if (date === undefined) return undefined;
  const milliseconds = Date.parse(`${date}T${time}${offset.toUpperCase()}`);
  // Date.parse takes February 30 for March 2.
  const day = new Date(`${date}T00:00Z`);
  if (Number.isNaN(milliseconds) || Number.isNaN(day.getTime())) return undefined;
  if (day.toISOString().slice(0, 10) !== date) return undefined;
  return { seconds: milliseconds / 1000, nanos: nanosOf(fraction) };
}

function nanosOf(fraction = ''): number {
  return Number(fraction.padEnd(9, '0'));
}
