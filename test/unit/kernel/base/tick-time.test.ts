import fc from 'fast-check';
import { expect, test } from 'vitest';
import { nanosOf, referenceTimeOf, ticksOf } from '../../../../kernel/base/tick-time.ts';

const SECOND = 1_000_000_000;

/** Of nanoseconds after the start of an interval. */
function ticksAt(nanos: number, intervalsPerDay: number): number {
  return ticksOf(Math.floor(nanos / SECOND), nanos % SECOND, intervalsPerDay);
}

test.each([
  [100_000_000, 0x19999999],
  [200_000_000, 0x33333333],
  [300_000_000, 0x4ccccccc],
  [500_000_000, 0x80000000],
  [999_999_995, 0xffffffea],
  [999_999_999, 0xfffffffb],
])('1Sec: %d ns are %d ticks', (nanos, ticks) => {
  expect(ticksAt(nanos, 86_400)).toBe(ticks);
});

test.each([
  [1, 71_582_788, 1, 999_999_996, 1],
  [4, 286_331_153, 4, 999_999_999, 4],
  [5, 357_913_941, 5, 999_999_995, 5],
  [15, 1_073_741_824, 15, 0, 15],
  [18, 1_288_490_188, 17, 999_999_989, 18],
  [20.383, 1_459_071_973, 20, 382_999_997, 20.383],
  [59.999999999, 4_294_967_295, 59, 999_999_986, 59.99999999],
])(
  '1Min: second %d is tick %d; the reference reads %d s %d ns, ours %d s',
  (second, ticks, seconds, nanos, exact) => {
    expect(ticksAt(Math.round(second * SECOND), 1440)).toBe(ticks);
    expect(referenceTimeOf(ticks, 1440)).toEqual({ seconds, nanos });
    expect(nanosOf(ticks, 60 * SECOND)).toBe(Math.round(exact * SECOND));
  },
);

test('the reference multiplies doubles, and so do we: two instants just short of a whole tick', () => {
  expect(ticksAt(5 * SECOND, 8640)).toBe(2_147_483_647);
  expect(ticksAt(75 * SECOND, 288)).toBe(1_073_741_823);
});

test('1D: the ticks recorded in the golden files', () => {
  const nanos = (21 * 3600 + 38 * 60 + 2) * SECOND + 390_000_000;
  expect(ticksAt(nanos, 1)).toBe(0xe6c33c2e);
  expect(referenceTimeOf(0xe6c33c2e, 1).nanos).toBe(389_993_966);
});

test('every millisecond of an interval up to an hour comes back as written', () => {
  fc.assert(
    fc.property(fc.constantFrom(1, 10, 30, 60, 300, 900, 1800, 3600), fc.nat(), (seconds, pick) => {
      const nanos = (pick % (seconds * 1000)) * 1_000_000;
      expect(nanosOf(ticksAt(nanos, 86_400 / seconds), seconds * SECOND)).toBe(nanos);
    }),
    { numRuns: 2000 },
  );
});

test('later ticks are never read as earlier times', () => {
  fc.assert(
    fc.property(
      fc.constantFrom(1, 60, 86_400),
      fc.integer({ min: 0, max: 2 ** 32 - 2 }),
      (seconds, ticks) => {
        expect(nanosOf(ticks + 1, seconds * SECOND)).toBeGreaterThanOrEqual(
          nanosOf(ticks, seconds * SECOND),
        );
      },
    ),
  );
});
