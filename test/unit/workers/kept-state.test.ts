import { describe, expect, test } from 'vitest';
import { STATE_DEPTH_MAX, STATE_ENTRY_OVERHEAD_BYTES } from '../../../kernel/base/limits.ts';
import { encodeTexts } from '../../../kernel/base/state-entry.ts';
import type { WholeOptions } from '../../../plugins/sdk.ts';
import { KeptState } from '../../../workers/kept-state.ts';

function keptState(bytesMax = 4096, entries: readonly [string, string][] = []): KeptState {
  const state = new KeptState('test');
  state.reset({ entries, bytesMax });
  return state;
}

/** What a plugin in JavaScript may do. */
function unchecked(value: unknown): WholeOptions['state'] {
  return { name: value } as WholeOptions['state'];
}

describe('KeptState', () => {
  test('what was set comes back equal, and is nobody’s object', () => {
    const state = keptState();
    const value = { at: [1, 'two', null, true, { deep: -0.5 }] };
    state.accept(state.encode({ value, gone: 1 }));
    value.at.push('later');
    expect(state.get('value')).toEqual({ at: [1, 'two', null, true, { deep: -0.5 }] });
    expect(state.get('value')).not.toBe(state.get('value'));
    state.accept(state.encode({ gone: undefined }));
    expect(state.get('gone')).toBeUndefined();
    expect(state.get('toString')).toBeUndefined();
  });

  test('a start takes over what the kernel says, and nothing else', () => {
    const state = keptState(4096, [['cursor', '17']]);
    expect(state.get('cursor')).toBe(17);
    state.accept(state.encode({ cursor: 18, other: 1 }));
    state.reset({ entries: [['cursor', '5']], bytesMax: 4096 });
    expect([state.get('cursor'), state.get('other')]).toEqual([5, undefined]);
  });

  test.each<[string, unknown]>([
    ['a number that is none', Number.NaN],
    ['an infinity inside', { a: [Number.POSITIVE_INFINITY] }],
    ['a bigint', 1n],
    ['a date', new Date(0)],
    ['a map', new Map()],
    ['a function', () => 1],
    ['a symbol', Symbol('x')],
    ['an undefined inside', { a: undefined }],
    ['a hole in a list', new Array(1)],
    ['a typed array', new Float64Array(2)],
    ['a loop', loop()],
  ])('%s is refused by name', (_what, value) => {
    expect(() => keptState().encode(unchecked(value))).toThrow(
      expect.objectContaining({ code: 'MKTS_STATE_INVALID' }),
    );
  });

  test('names have a bound, and are not cut', () => {
    const state = keptState();
    expect(state.encode({ ['n'.repeat(256)]: 1 })).toHaveLength(1);
    for (const name of ['', 'n'.repeat(257), 'ü'.repeat(129), '\ud800'])
      expect(() => state.encode({ [name]: 1 })).toThrow(/a name has 1 to 256 bytes/);
    expect(() => state.encode('x' as unknown as WholeOptions['state'])).toThrow(/object of names/);
  });

  test('a list may be as deep as allowed, and not deeper', () => {
    const nested = (depth: number): unknown => (depth === 0 ? 1 : [nested(depth - 1)]);
    expect(keptState().encode(unchecked(nested(STATE_DEPTH_MAX)))).toHaveLength(1);
    expect(() => keptState().encode(unchecked(nested(STATE_DEPTH_MAX + 1)))).toThrow(/nested/);
  });

  test('the bound holds to the byte; what shrinks is always fine', () => {
    const cost = STATE_ENTRY_OVERHEAD_BYTES + 'a'.length + '1234'.length;
    const state = keptState(2 * cost);
    state.accept(state.encode({ a: 1234 }));
    const second = state.encode({ b: 5678 });
    expect(() => state.checkRoom(second)).not.toThrow();
    expect(() => state.checkRoom(state.encode({ b: 56_789 }))).toThrow(
      expect.objectContaining({
        code: 'MKTS_BUDGET',
        fields: expect.objectContaining({ used: 2 * cost + 1, limit: 2 * cost }),
      }),
    );
    state.accept(second);
    expect(() => state.checkRoom(state.encode({ a: undefined, c: 9012 }))).not.toThrow();
    // The operator made the bound smaller: what is there stays, and may shrink.
    state.reset({
      entries: [
        ['a', '1234'],
        ['b', '5678'],
      ],
      bytesMax: cost,
    });
    expect(() => state.checkRoom(state.encode({ b: 1 }))).not.toThrow();
    expect(() => state.checkRoom(state.encode({ b: 56_789 }))).toThrow(/budget/);
  });

  test('a text of several bytes a character costs its bytes', () => {
    const state = keptState(STATE_ENTRY_OVERHEAD_BYTES + 1 + '"€"'.length + 2);
    expect(encodeTexts({ name: 'a', json: '"€"' }).jsonBytes).toHaveLength(5);
    expect(() => state.checkRoom(state.encode({ a: '€' }))).not.toThrow();
    expect(() => state.checkRoom(state.encode({ a: '€€' }))).toThrow(/budget/);
  });
});

function loop(): unknown {
  const self: unknown[] = [];
  self.push(self);
  return self;
}
