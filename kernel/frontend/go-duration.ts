/** Durations as Go prints them: '1h2m3.5s', '1.5ms'. What `/heartbeat` says of the uptime. */

/** `nanos` is a whole number of nanoseconds, not negative. */
export function formatGoDuration(nanos: number): string {
  if (nanos === 0) return '0s';
  if (nanos < 1e3) return `${nanos}ns`;
  if (nanos < 1e6) return `${trimmed(nanos, 1e3)}µs`;
  if (nanos < 1e9) return `${trimmed(nanos, 1e6)}ms`;
  const minutes = Math.floor(nanos / 60e9);
  const seconds = `${trimmed(nanos - minutes * 60e9, 1e9)}s`;
  if (minutes === 0) return seconds;
  const hours = Math.floor(minutes / 60);
  return hours === 0 ? `${minutes}m${seconds}` : `${hours}h${minutes % 60}m${seconds}`;
}

/** `value / unit` with every digit that is not a trailing zero. */
function trimmed(value: number, unit: number): string {
  const whole = Math.floor(value / unit);
  const rest = value - whole * unit;
  if (rest === 0) return String(whole);
  const digits = Math.round(Math.log10(unit));
  return `${whole}.${String(rest).padStart(digits, '0').replace(/0+$/, '')}`;
}
