/**
 * The timeframes a feeder may keep: those the store can query and the venue offers. Another text is
 * refused with the list of the allowed ones, never replaced by a neighbour.
 */

/** What can be stored and queried, by name, in seconds. */
const STORABLE: Readonly<Record<string, number>> = {
  '1Sec': 1,
  '10Sec': 10,
  '30Sec': 30,
  '1Min': 60,
  '5Min': 300,
  '15Min': 900,
  '30Min': 1800,
  '1H': 3600,
  '2H': 7200,
  '4H': 14_400,
  '1D': 86_400,
};

const UNIT_SECONDS: Readonly<Record<string, number>> = {
  S: 1,
  Sec: 1,
  T: 60,
  Min: 60,
  m: 60,
  H: 3600,
  h: 3600,
  D: 86_400,
  d: 86_400,
  W: 604_800,
};

export interface Timeframe {
  /** As it stands in a bucket's key: '1Min'. */
  readonly name: string;
  readonly seconds: number;
}

/** Seconds of '90Sec', '5T', '1H', …; undefined if the text is no span of time. */
export function parseSpan(text: string): number | undefined {
  const match = /^(\d{1,6})(Sec|S|Min|T|m|H|h|D|d|W)$/.exec(text.trim());
  if (match === null) return undefined;
  const seconds = Number(match[1]) * (UNIT_SECONDS[match[2] ?? ''] ?? 0);
  return seconds > 0 ? seconds : undefined;
}

/** The timeframe `text` names, or the sentence that refuses it. `offered` are storable names. */
export function chooseTimeframe(text: string, offered: readonly string[]): Timeframe | string {
  const seconds = STORABLE[text];
  if (seconds !== undefined && offered.includes(text)) return { name: text, seconds };
  const span = parseSpan(text);
  const alias = offered.find((name) => STORABLE[name] === span);
  const hint = alias === undefined ? '' : `; write ${alias}`;
  return `'${text}' is not offered${hint} (allowed: ${offered.join(', ')})`;
}
