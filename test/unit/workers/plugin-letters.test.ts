import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { letterColumns, type PlainDeadLetter } from '../../../kernel/base/dead-letter.ts';
import { PluginError, RequestError } from '../../../kernel/base/errors.ts';
import {
  LETTER_BYTES_MAX,
  LETTER_CHARACTERS_PER_SECOND_MAX,
  LETTERS_PER_SECOND_MAX,
} from '../../../kernel/base/limits.ts';
import type { KeyedRows } from '../../../plugins/sdk.ts';
import { inferColumns } from '../../../workers/infer-columns.ts';
import { PluginLetters } from '../../../workers/plugin-letters.ts';

function setUp() {
  const sent: PlainDeadLetter[] = [];
  const counts = { refused: 0, dropped: 0 };
  const letters = new PluginLetters({
    // As it crosses to the kernel of a process.
    send: async (some, dropped) => {
      sent.push(...(JSON.parse(JSON.stringify(some)) as PlainDeadLetter[]));
      counts.dropped += dropped;
    },
    noteRefused: (rowCount) => {
      counts.refused += rowCount;
    },
    now: () => 1_700_000_000_000,
  });
  return { letters, sent, counts };
}

const LOSSY = new RequestError('MKTS_COLUMN_LOSSY', { column: 'A', value: '1.5', type: 'INT32' });

describe('rows that were refused', () => {
  test('come back as the very same values, by type', async () => {
    const five = { minLength: 5, maxLength: 5 };
    const values = fc.record({
      doubles: fc.array(fc.double(), five),
      bigs: fc.array(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }), five),
      epochs: fc.array(fc.integer({ min: 0, max: 4_000_000_000 }), five),
    });
    await fc.assert(
      fc.asyncProperty(values, async ({ doubles, bigs, epochs }) => {
        const { letters, sent } = setUp();
        const rows = {
          Epoch: epochs,
          Nanoseconds: [0, 1, 2, 3, 999_999_999],
          Plain: doubles,
          F4: Float32Array.from(doubles),
          F8: Float64Array.from(doubles),
          I1: Int8Array.from(epochs),
          U4: Uint32Array.from(epochs),
          I8: BigInt64Array.from(bigs),
          U8: BigUint64Array.from(bigs),
          Bigs: bigs as unknown as BigInt64Array,
        };
        letters.refused([{ key: 'A/1Sec/T', rows, variable: true }], LOSSY);
        await letters.settled();
        const [kept] = sent[0]?.rows ?? [];
        if (kept === undefined) throw new Error('it holds rows');
        expect(kept).toMatchObject({ key: 'A/1Sec/T', variable: true });
        expect(letterColumns(kept)).toEqual(inferColumns(rows));
      }),
      { numRuns: 50 },
    );
  });

  test('are told with code, reason and number; what stops a plugin is no dead letter', async () => {
    const { letters, sent, counts } = setUp();
    const rows = { Epoch: [60, 120, 180], A: [1, 2, 3] };
    letters.refused([{ key: 'A/1Min/X', rows }], LOSSY);
    letters.refused([{ key: 'A/1Min/X', rows }], new PluginError('MKTS_WRITES_STOPPED'), 1);
    letters.refused([{ key: 'A/1Min/X', rows }], new DOMException('stop', 'AbortError'));
    letters.refused([], LOSSY);
    await letters.settled();
    expect(counts).toEqual({ refused: 3 + 2 + 3, dropped: 0 });
    expect(sent).toHaveLength(1);
    expect(sent[0]).toMatchObject({
      code: 'MKTS_COLUMN_LOSSY',
      rowCount: 3,
      at: 1_700_000_000_000,
    });
    expect(sent[0]?.reason).toContain('does not fit');
  });

  test('that are no rows at all are kept as they are, and say why they cannot be written', async () => {
    const { letters, sent, counts } = setUp();
    const strange = [
      { Epoch: [60, 120], A: ['x', undefined] },
      { Epoch: [1.5], A: [1] },
      { Epoch: [60], A: 7 },
      { A: [1] },
      undefined,
      'rows',
    ];
    for (const rows of strange)
      letters.refused([{ key: 'A/1Min/X', rows } as unknown as KeyedRows], LOSSY);
    await letters.settled();
    expect(sent).toHaveLength(strange.length);
    expect(counts.refused).toBe(4);
    for (const letter of sent)
      for (const rows of letter.rows ?? []) expect(() => letterColumns(rows)).toThrow(RequestError);
  });

  test('too many, or too large, are dropped letters, counted, and rejected rows all the same', async () => {
    const { letters, sent, counts } = setUp();
    const wide = { Epoch: new Float64Array(LETTER_BYTES_MAX) };
    letters.refused([{ key: 'A/1Min/X', rows: wide }], LOSSY);
    const row = { Epoch: [60], A: [1] };
    for (let at = 0; at < LETTERS_PER_SECOND_MAX + 9; at++)
      letters.refused([{ key: 'A/1Min/X', rows: row }], LOSSY);
    await letters.settled();
    expect(counts.refused).toBe(LETTER_BYTES_MAX + LETTERS_PER_SECOND_MAX + 9);
    expect(sent).toHaveLength(LETTERS_PER_SECOND_MAX);
    expect(counts.dropped).toBe(10);
    letters.tick();
    letters.refused([{ key: 'A/1Min/X', rows: row }], LOSSY);
    await letters.settled();
    expect(sent).toHaveLength(LETTERS_PER_SECOND_MAX + 1);
  });
});

describe('ctx.deadLetter', () => {
  test('keeps text as it came and everything else as JSON, and never throws', async () => {
    const { letters, sent } = setUp();
    const circular: Record<string, unknown> = {};
    circular.self = circular;
    for (const payload of ['{"e":"trade"', { a: [1n] }, undefined, circular, () => 1])
      letters.letter('not understood', payload);
    await letters.settled();
    expect(sent.map(({ payload }) => payload)).toEqual([
      '{"e":"trade"',
      '{"a":["1"]}',
      'undefined',
      expect.stringContaining('no JSON'),
      '() => 1',
    ]);
    expect(sent[0]).toMatchObject({ reason: 'not understood', rowCount: 0 });
  });

  test('is bounded a second in characters', async () => {
    const { letters, sent, counts } = setUp();
    const payload = 'x'.repeat(LETTER_BYTES_MAX - 1000);
    const many = Math.ceil(LETTER_CHARACTERS_PER_SECOND_MAX / payload.length) + 2;
    for (let at = 0; at < many; at++) letters.letter('large', payload);
    await letters.settled();
    expect(sent.length + counts.dropped).toBe(many);
    expect(sent.length * payload.length).toBeLessThanOrEqual(LETTER_CHARACTERS_PER_SECOND_MAX);
  });
});
