/**
 * Aggregates recorded from the Go server against ours from the same minute bars. The recordings lie
 * beside this repository in ../shared; without them the tests are skipped.
 */

import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { elementTypeOfWire } from '../../../../kernel/base/element-type.ts';
import ondiskagg from '../../../../plugins/ondiskagg/plugin.ts';
import type { Rows } from '../../../../plugins/sdk.ts';
import { MemoryContext } from './memory-context.ts';

const FILE = join(import.meta.dirname, '../../../../../shared/golden/dirs/ondiskagg.json.gz');
const DESTINATIONS = ['5Min', '1H', '1D'];

interface Recording {
  readonly queries: readonly {
    readonly name: string;
    readonly result: {
      readonly names: readonly string[];
      readonly types: readonly string[];
      readonly data: readonly string[];
      readonly length: number;
    };
  }[];
}

function read(): Recording {
  return JSON.parse(gunzipSync(readFileSync(FILE)).toString());
}

/** The complete answer of a bucket, by column. */
function recorded({ queries }: Recording, key: string): Rows {
  const result = queries.find(({ name }) => name === `all ${key}`)?.result;
  if (result === undefined) throw new Error(`${key} is not recorded`);
  const columns = result.names.map((name, at) => {
    const bytes = Uint8Array.from(Buffer.from(result.data[at] ?? '', 'base64'));
    return [name, elementTypeOfWire(result.types[at] ?? '')?.view(bytes.buffer, 0, result.length)];
  });
  return Object.fromEntries(columns);
}

/** Ours, made from the recorded minute bars. */
async function aggregated(recording: Recording, symbol: string): Promise<MemoryContext<unknown>> {
  const ctx = new MemoryContext({ destinations: DESTINATIONS });
  const key = `${symbol}/1Min/OHLCV`;
  const ranges = [ctx.put(key, recorded(recording, key))];
  await ondiskagg.fire(ctx, { key, symbol, timeframe: '1Min', attributeGroup: 'OHLCV', ranges });
  return ctx;
}

const plain = (rows: Rows): object => ({ ...rows, Epoch: Array.from(rows.Epoch, Number) });

describe.skipIf(!existsSync(FILE))('recorded aggregates (skipped without ../shared/golden)', () => {
  test.each(['AAPL', 'BTCUSD'])('%s comes out as the Go server made it', async (symbol) => {
    const recording = read();
    const ours = await aggregated(recording, symbol);
    for (const timeframe of DESTINATIONS) {
      const key = `${symbol}/${timeframe}/OHLCV`;
      expect(await ours.all(key), key).toEqual(plain(recorded(recording, key)));
    }
  });

  test('FIX, where the Go server kept a bar that was corrected, comes out right', async () => {
    const recording = read();
    const ours = await aggregated(recording, 'FIX');
    const base = recorded(recording, 'FIX/1Min/OHLCV');
    const day = await ours.all('FIX/1D/OHLCV');
    const highs = Array.from(base.High ?? [], Number);
    expect(day?.High).toEqual(Float32Array.of(Math.max(...highs)));
    expect(day).not.toEqual(plain(recorded(recording, 'FIX/1D/OHLCV')));
  });
});
