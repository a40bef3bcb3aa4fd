import fc from 'fast-check';
import { expect, test } from 'vitest';
import { TOUCHED_RANGES_MAX } from '../../kernel/base/limits.ts';
import { TouchedRanges } from '../../kernel/triggers/touched-ranges.ts';

const range = fc
  .tuple(fc.nat(5000), fc.nat(40))
  .map(([from, length]) => ({ from, to: from + length }));

test('ranges are what a set of times says, and only at the bound more', () => {
  fc.assert(
    fc.property(
      fc.array(range, { maxLength: 300 }),
      fc.integer({ min: 1, max: 60 }),
      (added, join) => {
        const ranges = new TouchedRanges(join);
        const times = new Set<number>();
        for (const { from, to } of added) {
          ranges.add(from, to);
          for (let time = from; time <= to; time++) times.add(time);
        }
        const taken = ranges.take();
        // Nothing that was touched is missing.
        const covered = (time: number) => taken.some(({ from, to }) => from <= time && time <= to);
        for (const time of times) expect(covered(time)).toBe(true);
        // Both ends were touched; ranges are disjoint, ascending, further apart than `join`.
        taken.forEach(({ from, to }, at) => {
          expect(times.has(from) && times.has(to)).toBe(true);
          const next = taken[at + 1];
          if (next !== undefined) expect(next.from - to).toBeGreaterThan(join);
        });
        expect(taken.length).toBeLessThanOrEqual(TOUCHED_RANGES_MAX);
        // Below the bound, no hole wider than `join` is covered.
        if (taken.length < TOUCHED_RANGES_MAX / 2 && added.length <= TOUCHED_RANGES_MAX)
          expect(taken).toEqual(modelOf(times, join));
      },
    ),
  );
});

function modelOf(times: ReadonlySet<number>, join: number): readonly object[] {
  const ranges: { from: number; to: number }[] = [];
  for (const time of [...times].sort((a, b) => a - b)) {
    const last = ranges.at(-1);
    if (last !== undefined && time - last.to <= join) last.to = time;
    else ranges.push({ from: time, to: time });
  }
  return ranges;
}
