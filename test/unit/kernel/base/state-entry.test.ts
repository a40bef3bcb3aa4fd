import { describe, expect, test } from 'vitest';
import { STATE_NAME_BYTES_MAX } from '../../../../kernel/base/limits.ts';
import {
  decodeState,
  encodeState,
  encodeTexts,
  rowBlockOffsets,
  type StateChange,
  stateEntryBytes,
} from '../../../../kernel/base/state-entry.ts';

function encoded(change: StateChange, originId = 0): DataView {
  const state = encodeTexts(change);
  const bytes = new Uint8Array(8 + stateEntryBytes(state) + 8).fill(0xee);
  const view = new DataView(bytes.buffer);
  expect(encodeState({ view, bytes, offset: 8 }, originId, state)).toBe(stateEntryBytes(state));
  expect(view.getUint32(0)).toBe(0xeeee_eeee);
  expect(view.getUint32(bytes.length - 8)).toBe(0xeeee_eeee);
  return new DataView(bytes.buffer, 8, bytes.length - 16);
}

function decode(view: DataView): ReturnType<typeof decodeState> {
  const bytes = new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
  return decodeState({ view, bytes }, 0);
}

describe('a change of state', () => {
  test.each<[string, StateChange]>([
    ['a number', { name: 'cursor', json: '17' }],
    ['a text that is not ASCII', { name: 'größe', json: '"≥ 1 €"' }],
    ['a removal', { name: 'cursor', json: undefined }],
    ['a name as long as allowed', { name: 'n'.repeat(STATE_NAME_BYTES_MAX), json: 'null' }],
    ['a large value', { name: 'x', json: JSON.stringify('y'.repeat(100_001)) }],
    ['a text that is no JSON', { name: 'x', json: '{"' }],
    ['a byte order mark', { name: '\ufeffx', json: '"\ufeff"' }],
  ])('%s comes back as it was', (_what, change) => {
    expect(decode(encoded(change, 9))).toMatchObject({ ...change, originId: 9 });
  });

  test('its bytes are those FORMAT.md draws', () => {
    const { buffer, byteOffset, byteLength } = encoded({ name: 'at', json: '[1]' }, 5);
    expect(Buffer.from(buffer, byteOffset, byteLength).toString('hex')).toBe(
      `18000000${'0900'}0200${'05000000'}03000000${Buffer.from('at[1]').toString('hex')}000000`,
    );
  });

  test.each<[string, (view: DataView) => void]>([
    ['no name', (view) => view.setUint16(6, 0, true)],
    ['a name longer than the entry', (view) => view.setUint16(6, 200, true)],
    ['a name longer than allowed', (view) => view.setUint16(6, STATE_NAME_BYTES_MAX + 1, true)],
    ['more JSON than there is', (view) => view.setUint32(12, 4096, true)],
    ['JSON near 2^32', (view) => view.setUint32(12, 0xffff_fff0, true)],
    ['a size below its header', (view) => view.setUint32(0, 8, true)],
    ['a name that is not UTF-8', (view) => view.setUint8(16, 0xff)],
    ['a value that is not UTF-8', (view) => view.setUint8(22, 0xff)],
  ])('an entry with %s is none', (_what, spoil) => {
    const view = encoded({ name: 'cursor', json: '17' });
    spoil(view);
    expect(decode(view)).toBeUndefined();
  });
});

test('looking for row blocks in a frame ends, whatever the frame says', () => {
  const view = new DataView(new ArrayBuffer(64));
  expect([...rowBlockOffsets(view)]).toEqual([]);
  view.setUint16(4, 10, true);
  view.setUint32(8, 1, true);
  expect([...rowBlockOffsets(view)].length).toBeLessThan(64);
});
