/**
 * ondiskagg: keeps coarser bars on disk up to date whenever finer bars are written.
 *
 * After each write it reads the bars of every window that was touched, whole, and writes their
 * aggregates: late, corrected and repeated bars come out right because nothing is remembered
 * between two fires. Firing twice for the same write gives the same rows.
 */

import type { Context, TouchedBatch, Trigger } from '../sdk.ts';
import { defineTrigger, KERNEL_API } from '../sdk.ts';
import { Aggregation, isAggregable } from './aggregate.ts';
import type { OndiskaggConfig } from './config.ts';
import { configSchema } from './config.ts';
import type { Segment } from './windows.ts';
import { readSegment, segmentsOf, touchedBars } from './windows.ts';

type Ctx = Context<OndiskaggConfig>;

/** Finished rows of a destination are written when there are this many. */
const WRITE_ROWS = 50_000;
/** Things said once, at most; past it they are not said. */
const SAID_MAX = 1000;
/** What answers a query for a bucket that is gone. */
const GONE: ReadonlySet<unknown> = new Set(['MKTS_QUERY_NO_BUCKET', 'MKTS_BUCKET_UNKNOWN']);

interface Output {
  readonly key: string;
  readonly aggregation: Aggregation;
  /** Why its rows cannot be written; the other destinations go on. */
  error: unknown;
}

/** What one entry of mkts.yml has said already. */
const saidBy = new WeakMap<object, Set<string>>();

const ondiskagg: Trigger<typeof configSchema> = defineTrigger({
  name: 'ondiskagg',
  version: '1.0.0',
  api: KERNEL_API,
  config: configSchema,

  async fire(ctx, batch) {
    const timeframes = destinationsFor(ctx, batch);
    if (timeframes.length === 0) return;
    const touched = touchedBars(batch.ranges, ctx.slots, batch.timeframe);
    const outputs = timeframes.map((timeframe): Output => {
      const { slots } = ctx;
      return {
        key: `${batch.symbol}/${timeframe}/${batch.attributeGroup}`,
        aggregation: new Aggregation({
          start: (epochSeconds) => slots.start(epochSeconds, timeframe),
          end: (epochSeconds) => slots.end(epochSeconds, timeframe),
          touched,
        }),
        error: undefined,
      };
    });
    for (const segment of segmentsOf(touched, ctx.slots, timeframes))
      if (!(await aggregateSegment(ctx, batch, segment, outputs))) break;
    for (const output of outputs) await writeFinished(ctx, output);
    countSaturated(ctx, outputs);
    const failed = outputs.find(({ error }) => error !== undefined);
    // Told of a batch only once, so it is done when its bars are on disk, not when they are sent.
    await ctx.flush();
    if (failed !== undefined) throw failed.error;
  },
});

export default ondiskagg;

/** The destinations that can be made from a batch's bars, smallest first. */
function destinationsFor(ctx: Ctx, batch: TouchedBatch): readonly string[] {
  const { attributeGroup, timeframe } = batch;
  if (attributeGroup === 'TRADE') {
    sayOnce(ctx, 'TRADE', 'trades are not aggregated in this version, only bars', batch);
    return [];
  }
  const baseSeconds = ctx.slots.seconds(timeframe);
  if (baseSeconds === undefined) {
    sayOnce(ctx, timeframe, 'bars of this timeframe cannot be aggregated', batch);
    return [];
  }
  const fitting = ctx.config.destinations.filter((destination) => {
    const seconds = ctx.slots.seconds(destination) ?? 0;
    if (seconds > baseSeconds && seconds % baseSeconds === 0) return true;
    sayOnce(
      ctx,
      `${timeframe} ${destination}`,
      'the destination is skipped for these bars: it is not a larger multiple of their timeframe',
      batch,
      { destination },
    );
    return false;
  });
  return fitting.sort((a, b) => (ctx.slots.seconds(a) ?? 0) - (ctx.slots.seconds(b) ?? 0));
}

/** False if the bucket is gone or holds no bars: then there is nothing to aggregate. */
async function aggregateSegment(
  ctx: Ctx,
  batch: TouchedBatch,
  segment: Segment,
  outputs: readonly Output[],
): Promise<boolean> {
  try {
    for await (const { rows, from, to } of readSegment(ctx, batch.key, segment)) {
      if (!isAggregable(rows)) {
        sayOnce(
          ctx,
          `columns ${batch.attributeGroup}`,
          'rows without the numbers Open, High, Low and Close cannot be aggregated',
          batch,
        );
        return false;
      }
      for (const output of outputs) {
        output.aggregation.add(rows, from, to);
        if (output.aggregation.rowCount >= WRITE_ROWS) await writeFinished(ctx, output);
      }
    }
  } catch (error) {
    // Destroyed after the write we were told of.
    if (GONE.has((error as { code?: unknown }).code)) return false;
    throw error;
  }
  // A window that a segment cuts is not touched: it gives no row.
  for (const { aggregation } of outputs) aggregation.finish();
  return true;
}

async function writeFinished(ctx: Ctx, output: Output): Promise<void> {
  const rows = output.aggregation.take();
  if (rows === undefined || output.error !== undefined) return;
  try {
    await ctx.write(output.key, rows);
  } catch (error) {
    output.error = error;
  }
}

function countSaturated(ctx: Ctx, outputs: readonly Output[]): void {
  for (const { key, aggregation } of outputs) {
    if (aggregation.saturatedCount === 0) continue;
    ctx.metrics.count('saturated_sums', {}, aggregation.saturatedCount);
    sayOnce(
      ctx,
      `saturated ${key}`,
      'a volume does not fit its column: the largest that does is stored',
      { key },
    );
  }
}

function sayOnce(
  ctx: Ctx,
  topic: string,
  message: string,
  { key }: { readonly key: string },
  fields: Readonly<Record<string, unknown>> = {},
): void {
  const said = saidBy.get(ctx) ?? new Set();
  saidBy.set(ctx, said);
  if (said.has(topic) || said.size >= SAID_MAX) return;
  said.add(topic);
  ctx.log.warn(message, { key, ...fields });
}
