/** A row of the shadow's diff as a person or JSON reads it. Pure. */

import type { ShadowValues } from '../base/plugin-report.ts';
import type { BucketSchema } from '../base/schema.ts';
import { EPOCH_SHAPE, NANOSECONDS_SHAPE } from '../base/schema.ts';

/** Column by column; a name that is that of the time cannot be among them. */
export function valuesOf(schema: BucketSchema, packed: Uint8Array): ShadowValues {
  const values: Record<string, number | string> = Object.create(null);
  let at = 0;
  for (const { name, type } of schema.columns) {
    // A copy: a view must be aligned.
    const { buffer } = packed.slice(at, at + type.bytes);
    const lanes = type.view(buffer, 0, 1);
    at += type.bytes;
    if (name === EPOCH_SHAPE.name || name === NANOSECONDS_SHAPE.name) continue;
    values[name] = type.lanes > 1 ? textOf(lanes) : plainNumber(lanes[0] ?? 0);
  }
  return values;
}

function plainNumber(value: number | bigint): number | string {
  const number = Number(value);
  const isExact =
    typeof value === 'bigint' ? Number.isSafeInteger(number) : Number.isFinite(number);
  return isExact ? number : String(value);
}

/** UTF-32 units, padded with NUL. */
function textOf(lanes: Iterable<number | bigint>): string {
  return Array.from(lanes, (unit) => {
    const point = Number(unit);
    return point === 0 || point > 0x10ffff ? '' : String.fromCodePoint(point);
  }).join('');
}
