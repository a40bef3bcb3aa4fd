/**
 * A plugin's rows on their way into its transport: `ctx.write`, `ctx.writeAll` and `ctx.flush`. Runs
 * in the worker.
 *
 * The bucket's schema is asked for once per key and cached: from then on a write is checked, cast,
 * and encoded in place in the ring without a call to the kernel. Everything of a call is checked
 * before its first frame, so a call that is refused has written nothing. Rows of one key go as row
 * blocks, as many as it takes; a call with several keys or with state is one frame, an envelope.
 *
 * Every so often a call that could finish at once gives the event loop a turn first: a plugin that
 * awaits one write after the other would else never leave its microtasks, and neither its heartbeat
 * nor the word to stop would get through.
 *
 * Invariant: calls are accepted in the order in which they were made, whoever waits for what. A call
 * that cannot finish at once queues, and all later ones queue behind it.
 */

import { assert } from '../kernel/base/assert.ts';
import type { Column } from '../kernel/base/column-series.ts';
import { type ErrorCode, MktsError } from '../kernel/base/errors.ts';
import { fitColumns } from '../kernel/base/fit-columns.ts';
import { FRAME_BYTES_MAX, SERIES_REOPEN_MS, WRITES_PER_TURN } from '../kernel/base/limits.ts';
import { encodeRowBlock, rowBlockBytes, rowsPerBlock } from '../kernel/base/row-block.ts';
import {
  type BucketSchema,
  fromPlainSchema,
  type PlainSchema,
  toPlainSchema,
} from '../kernel/base/schema.ts';
import type { EncodedState } from '../kernel/base/state-entry.ts';
import type { KeyedRows, Rows, WholeOptions, WriteOptions } from '../plugins/sdk.ts';
import { type Envelope, encodeEnvelope, envelopeOf } from './envelope.ts';
import { type InferredRows, inferColumns, inferSchema } from './infer-columns.ts';
import type { KeptState } from './kept-state.ts';
import type { ForeseenSeries, OpenedSeries } from './protocol.ts';
import type { FrameWriter } from './transport.ts';

const OF_THE_COLUMNS: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'MKTS_COLUMN_MISMATCH',
  'MKTS_COLUMN_LOSSY',
  'MKTS_COLUMN_CAST',
]);

// Taken before the realm is sealed.
const { setImmediate: afterThisTurn } = globalThis;

interface Series {
  readonly id: number;
  readonly schema: BucketSchema;
  readonly openedMs: number;
}

/** Rows of one key in a call that is written as one piece. */
interface Part {
  readonly key: string;
  readonly rows: InferredRows;
  readonly options: WriteOptions;
}

/** A call, and how many of its rows are in the ring already. */
interface Call {
  readonly writes: readonly KeyedRows[];
  acceptedRows: number;
}

/** Told of each call that is refused, as it was made. */
export type OnRefused = (
  writes: readonly KeyedRows[],
  error: unknown,
  acceptedRows: number,
) => void;

export type OpenSeries = (key: string, schema: PlainSchema) => Promise<OpenedSeries>;

export class SeriesWriter {
  readonly #transport: FrameWriter;
  readonly #openSeries: OpenSeries;
  readonly #state: KeptState;
  readonly #onRefused: OnRefused;
  readonly #nowMs: () => number;
  readonly #series = new Map<string, Series>();
  /** The newest call that did not finish at once; undefined: none is under way. */
  #tail: Promise<void> | undefined;
  #isClosed = false;
  #writesLeft = WRITES_PER_TURN;
  /** Frames the kernel had refused when the series were opened. */
  #rejectedFrames: number;

  constructor(
    transport: FrameWriter,
    openSeries: OpenSeries,
    state: KeptState,
    onRefused: OnRefused = () => undefined,
    nowMs: () => number = () => performance.now(),
  ) {
    this.#transport = transport;
    this.#rejectedFrames = transport.rejectedFrames;
    this.#onRefused = onRefused;
    this.#nowMs = nowMs;
    this.#openSeries = openSeries;
    this.#state = state;
  }

  async write(key: string, rows: Rows, options: WriteOptions = {}): Promise<void> {
    if (options.state !== undefined) return this.writeAll([{ ...options, key, rows }], options);
    const call = (acceptedRows = 0): Call => ({
      writes: [{ key, rows, ...variableOf(options) }],
      acceptedRows,
    });
    try {
      this.#checkOpen();
      const inferred = inferColumns(rows);
      if (inferred.rowCount === 0) return;
      if (this.#tail === undefined) this.#forgetStale();
      const series = this.#series.get(key);
      if (this.#tail === undefined && series !== undefined) {
        const fitted = fitColumns(series.schema, inferred.columns, inferred.rowCount);
        const written = this.#writeWhileRoom(series, fitted, inferred.rowCount, 0);
        if (written === inferred.rowCount) return this.#isTurnDue() ? giveTurn() : undefined;
        const rest = call(written);
        return this.#queue(rest, () => this.#writeRest(series, fitted, inferred.rowCount, rest));
      }
      const whole = call();
      return this.#queue(whole, () => this.#writeUnknown(key, inferred, options, whole));
    } catch (error) {
      this.#refuse(call(), error, this.#tail === undefined);
      throw error;
    }
  }

  /** Rows and changes of state as one frame: in one group of the log, or nowhere. */
  async writeAll(writes: readonly KeyedRows[], { state }: WholeOptions = {}): Promise<void> {
    const call: Call = { writes, acceptedRows: 0 };
    try {
      this.#checkOpen();
      const changes = this.#state.encode(state);
      const parts: Part[] = [];
      for (const { key, rows, variable = false } of writes) {
        const inferred = inferColumns(rows);
        if (inferred.rowCount > 0) parts.push({ key, rows: inferred, options: { variable } });
      }
      if (parts.length === 0 && changes.length === 0) return;
      if (this.#tail === undefined) this.#forgetStale();
      if (this.#tail === undefined && parts.every(({ key }) => this.#series.has(key))) {
        const envelope = this.#fitAll(parts, changes);
        if (this.#tryWriteEnvelope(envelope)) return this.#isTurnDue() ? giveTurn() : undefined;
        return this.#queue(call, () => this.#writeEnvelope(envelope));
      }
      return this.#queue(call, async () => {
        // One after the other: two of one unknown key open it once.
        for (const { key, rows, options } of parts)
          if (!this.#series.has(key)) await this.#open(key, rows, options);
        await this.#writeEnvelope(this.#fitAll(parts, changes));
      });
    } catch (error) {
      this.#refuse(call, error, this.#tail === undefined);
      throw error;
    }
  }

  /** Resolves when everything written by calls made so far is committed. */
  async flush(): Promise<void> {
    // The caller of a refused write was told; a flush is about what was accepted.
    // Without one under way nothing may be awaited: a later write would slip in before the look.
    if (this.#tail !== undefined) await this.#tail.catch(() => {});
    await this.#transport.waitForCommitted();
  }

  /** Calls made from now on are refused. Resolves when all before are accepted, or refused. */
  async close(): Promise<void> {
    this.#isClosed = true;
    while (this.#tail !== undefined) await this.#tail.catch(() => {});
  }

  /** Calls are taken again. */
  open(): void {
    this.#isClosed = false;
  }

  /** What the kernel opened before it was asked: the first write of such a key need not ask. */
  foresee(series: readonly ForeseenSeries[]): void {
    for (const [key, opened] of series) this.#adopt(key, opened);
  }

  #isTurnDue(): boolean {
    this.#writesLeft--;
    if (this.#writesLeft > 0) return false;
    this.#writesLeft = WRITES_PER_TURN;
    return true;
  }

  #checkOpen(): void {
    if (this.#isClosed) throw new DOMException('the plugin was told to stop', 'AbortError');
  }

  /**
   * The kernel refused a frame: a bucket is not what it was when it was opened. All are opened anew by
   * their next write, which then learns it. Not while a call is under way that counts on them.
   */
  #forgetStale(): void {
    const { rejectedFrames } = this.#transport;
    if (rejectedFrames === this.#rejectedFrames) return;
    this.#rejectedFrames = rejectedFrames;
    this.#series.clear();
  }

  /**
   * Tells of a refused call. What does not fit a bucket may fit the one that took its place since:
   * its next write asks again, unless it did just now, or a call is under way that counts on it.
   */
  #refuse({ writes, acceptedRows }: Call, error: unknown, isFree: boolean): void {
    this.#onRefused(writes, error, acceptedRows);
    if (!isFree || !(error instanceof MktsError) || !OF_THE_COLUMNS.has(error.code)) return;
    const beforeMs = this.#nowMs() - SERIES_REOPEN_MS;
    for (const { key } of writes)
      if ((this.#series.get(key)?.openedMs ?? 0) < beforeMs) this.#series.delete(key);
  }

  #queue(call: Call, task: () => Promise<void>): Promise<void> {
    const before = this.#tail;
    const attempt = async (): Promise<void> => {
      try {
        if (before !== undefined) this.#forgetStale();
        await task();
      } catch (error) {
        this.#refuse(call, error, true);
        throw error;
      }
    };
    const run = before === undefined ? attempt() : before.then(attempt, attempt);
    this.#tail = run;
    const leave = (): void => {
      if (this.#tail === run) this.#tail = undefined;
    };
    run.then(leave, leave);
    return run;
  }

  /** Everything that can be wrong with a call is found here; its series are known. */
  #fitAll(parts: readonly Part[], changes: readonly EncodedState[]): Envelope {
    const blocks = parts.map(({ key, rows: { columns, rowCount } }) => {
      const series = this.#series.get(key);
      assert(series !== undefined, 'a key is opened before its rows are fitted');
      const { id, schema } = series;
      return { seriesId: id, columns: fitColumns(schema, columns, rowCount), schema, rowCount };
    });
    return envelopeOf(blocks, changes);
  }

  async #writeEnvelope(envelope: Envelope): Promise<void> {
    while (!this.#tryWriteEnvelope(envelope)) await this.#transport.waitForRoom(envelope.bytes);
  }

  /** False while there is no room. Throws MKTS_BUDGET. */
  #tryWriteEnvelope(envelope: Envelope): boolean {
    // Not before its turn: what was set meanwhile counts.
    this.#state.checkRoom(envelope.changes);
    const target = this.#transport.tryWrite(envelope.bytes);
    if (target === undefined) return false;
    encodeEnvelope(target, envelope);
    this.#transport.commit(envelope.blocks.reduce((count, { rowCount }) => count + rowCount, 0));
    this.#state.accept(envelope.changes);
    return true;
  }

  async #writeUnknown(
    key: string,
    rows: InferredRows,
    options: WriteOptions,
    call: Call,
  ): Promise<void> {
    const series = this.#series.get(key) ?? (await this.#open(key, rows, options));
    const fitted = fitColumns(series.schema, rows.columns, rows.rowCount);
    await this.#writeRest(series, fitted, rows.rowCount, call);
  }

  async #open(key: string, rows: InferredRows, options: WriteOptions): Promise<Series> {
    const wanted = inferSchema(rows, options.variable === true);
    // By its own schema first, so that rows nobody could store declare no bucket.
    fitColumns(wanted, rows.columns, rows.rowCount);
    return this.#adopt(key, await this.#openSeries(key, toPlainSchema(wanted)));
  }

  #adopt(key: string, { seriesId, schema }: OpenedSeries): Series {
    const known = fromPlainSchema(schema);
    if (known === undefined)
      throw new MktsError('MKTS_COLUMN_TYPE_UNKNOWN', { type: JSON.stringify(schema) });
    const series = { id: seriesId, schema: known, openedMs: this.#nowMs() };
    this.#series.set(key, series);
    return series;
  }

  async #writeRest(
    series: Series,
    columns: readonly Column[],
    rowCount: number,
    call: Call,
  ): Promise<void> {
    for (let row = call.acceptedRows; row < rowCount; ) {
      const next = this.#writeWhileRoom(series, columns, rowCount, row);
      call.acceptedRows = next;
      if (next === row)
        await this.#transport.waitForRoom(frameBytes(series.schema, rowCount - row));
      row = next;
    }
  }

  /** Writes frames from row `from` on until there is no room; returns the first row not written. */
  #writeWhileRoom(
    series: Series,
    columns: readonly Column[],
    rowCount: number,
    from: number,
  ): number {
    const rowsMax = rowsPerBlock(series.schema, FRAME_BYTES_MAX);
    let row = from;
    while (row < rowCount) {
      const to = Math.min(rowCount, row + rowsMax);
      const bytes = rowBlockBytes(series.schema, to - row);
      const target = this.#transport.tryWrite(bytes);
      if (target === undefined) break;
      const encoded = encodeRowBlock(target, series.id, 0, columns, { from: row, to });
      assert(encoded === bytes, 'a block is as long as its rows say');
      this.#transport.commit(to - row);
      row = to;
    }
    return row;
  }
}

function giveTurn(): Promise<void> {
  return new Promise((resolve) => afterThisTurn(resolve));
}

function variableOf({ variable }: WriteOptions): Pick<KeyedRows, 'variable'> {
  return variable === undefined ? {} : { variable };
}

/** Bytes of the next frame when `rowCount` rows remain. */
function frameBytes(schema: BucketSchema, rowCount: number): number {
  return rowBlockBytes(schema, Math.min(rowCount, rowsPerBlock(schema, FRAME_BYTES_MAX)));
}
