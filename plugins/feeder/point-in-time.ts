/**
 * Points in time as an operator writes them (`query_start: 2018-01-01 13:00`) and as venues want
 * them. Text without an offset is UTC; nothing here knows the server's timezone.
 */

const PATTERN =
  /^(\d{4})-(\d{2})-(\d{2})(?:[ T](\d{2}):(\d{2})(?::(\d{2})(?:\.\d+)?)?(Z|[+-]\d{2}:\d{2})?)?$/;

/** Unix seconds of a date, a date with time, or an RFC 3339 text; undefined if it is none. */
export function parsePointInTime(text: string): number | undefined {
  const match = PATTERN.exec(text.trim());
  if (match === null) return undefined;
  const [, year, month, day, hour = '0', minute = '0', second = '0', offset = 'Z'] = match;
  if (Number(hour) > 23 || Number(minute) > 59 || Number(second) > 59) return undefined;
  const midnight = Date.UTC(Number(year), Number(month) - 1, Number(day));
  // Date.UTC carries 31 April over into May; what comes back then is another date.
  const date = new Date(midnight);
  if (date.getUTCMonth() + 1 !== Number(month) || date.getUTCDate() !== Number(day))
    return undefined;
  const offsetSeconds = parseOffset(offset);
  if (offsetSeconds === undefined) return undefined;
  const wall = midnight / 1000 + Number(hour) * 3600 + Number(minute) * 60 + Number(second);
  return wall - offsetSeconds;
}

/** '2026-11-23T15:00:00Z': whole seconds, as venues and log lines take it. */
export function formatPointInTime(epochSeconds: number): string {
  return `${new Date(epochSeconds * 1000).toISOString().slice(0, 19)}Z`;
}

function parseOffset(text: string): number | undefined {
  if (text === 'Z') return 0;
  const hours = Number(text.slice(1, 3));
  const minutes = Number(text.slice(4, 6));
  if (hours > 23 || minutes > 59) return undefined;
  return (text.startsWith('-') ? -1 : 1) * (hours * 3600 + minutes * 60);
}
