/**
 * Exact decimals: what a venue sums and multiplies it answers to the last digit, and binary
 * fractions do not. A decimal is a bigint of 10^-18; text in, text out.
 */

const PLACES = 18;

/** A decimal in units of 10^-18. */
export type Decimal = bigint;

/** Parses plain decimal text, without an exponent. Throws RangeError on any other text. */
export function parseDecimal(text: string): Decimal {
  const match = /^(-?)(\d+)(?:\.(\d{1,18}))?$/.exec(text);
  if (match === null) throw new RangeError(`"${text}" is not a decimal of at most 18 places`);
  const [, sign, whole = '', fraction = ''] = match;
  const units = BigInt(whole + fraction.padEnd(PLACES, '0'));
  return sign === '-' ? -units : units;
}

/** With exactly `places` places; what lies beyond them is cut, as venues cut it. */
export function formatDecimal(value: Decimal, places: number): string {
  const digits = (value < 0n ? -value : value).toString().padStart(PLACES + 1, '0');
  const whole = digits.slice(0, -PLACES);
  const fraction = digits.slice(-PLACES).slice(0, places);
  return `${value < 0n ? '-' : ''}${whole}${places === 0 ? '' : `.${fraction}`}`;
}

/** As short as the value allows: '12.5', '7'. */
export function shortDecimal(value: Decimal): string {
  return formatDecimal(value, PLACES).replace(/\.?0+$/, '');
}

export function multiply(a: Decimal, b: Decimal): Decimal {
  return (a * b) / 10n ** BigInt(PLACES);
}

/** Math.max and Math.min do not take a bigint. */
export function larger(a: Decimal, b: Decimal): Decimal {
  if (a > b) return a;
  return b;
}

export function smaller(a: Decimal, b: Decimal): Decimal {
  if (a < b) return a;
  return b;
}
