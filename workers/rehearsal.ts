/**
 * Runs the way of a plugin's rows once, into a ring nobody reads. Runs in the worker.
 *
 * Why: V8 compiles a function when it is first called. At a hand-over the first row of the new
 * generation waited 3 ms for that, which was half of the gap between two commits. Done while the
 * one before still writes, it costs nobody anything.
 */

import { FLOAT64 } from '../kernel/base/element-type.ts';
import { type BucketSchema, toPlainSchema } from '../kernel/base/schema.ts';
import type { Context } from '../plugins/sdk.ts';
import { KeptState } from './kept-state.ts';
import { createRing, RingWriter } from './ring.ts';
import { SeriesWriter } from './series-writer.ts';

const RING_BYTES = 4096;
// Made while the realm still has shared memory to give.
const RING = createRing(RING_BYTES);
const KEY = 'REHEARSAL/1Min/OHLCV';
const ROWS = { Epoch: [0], Close: [1] };
const SCHEMA: BucketSchema = { recordType: 'fixed', columns: [{ name: 'Close', type: FLOAT64 }] };

export type ContextMaker = (
  writer: SeriesWriter,
  state: KeptState,
  signal: AbortSignal,
) => Context<unknown>;

/** `contextOf` makes what the plugin will be given, but for where its rows go. */
export async function rehearse(plugin: string, contextOf: ContextMaker): Promise<void> {
  const state = new KeptState(plugin);
  state.reset({ entries: [['cursor', '0']], bytesMax: RING_BYTES });
  const schema = toPlainSchema(SCHEMA);
  const open = async () => ({ seriesId: 0, schema });
  const writer = new SeriesWriter(new RingWriter(RING, () => {}), open, state);
  const stop = new AbortController();
  const ctx = contextOf(writer, state, stop.signal);
  // By asking for the series, without asking, with state.
  await ctx.write(KEY, ROWS);
  await ctx.write(KEY, ROWS);
  await ctx.write(KEY, ROWS, { state: { cursor: Number(ctx.state.get('cursor')) + 1 } });
  const sleep = ctx.clock.sleep(60_000);
  stop.abort(new DOMException('the rehearsal is over', 'AbortError'));
  await sleep.catch(() => undefined);
  await writer.close();
}
