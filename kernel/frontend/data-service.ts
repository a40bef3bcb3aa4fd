/**
 * The methods of DataService (spec api.md 2.6 to 2.11, 4): ListSymbols, Query, Write, Create, GetInfo,
 * Destroy; and Delete, which the reference does not have. Main thread; knows nothing of encodings or
 * HTTP.
 *
 * Query fails as a whole with the first query that fails. Write, Create, GetInfo, Destroy and Delete
 * answer each request by itself: one bad request never undoes a good one beside it.
 */

import { DURABILITIES, type Durability } from '../base/durability.ts';
import { elementTypeOfWire } from '../base/element-type.ts';
import { RequestError } from '../base/errors.ts';
import { ANSWER_BYTES_MAX, CALL_WRITES_MAX } from '../base/limits.ts';
import { type BucketSchema, type ColumnShape, EPOCH_SHAPE } from '../base/schema.ts';
import {
  parseNewTimeBucketKey,
  parseTimeBucketKey,
  type TimeBucketKey,
} from '../base/time-bucket-key.ts';
import type { Zone } from '../base/zone.ts';
import { planQuery, timesOf } from '../query/plan.ts';
import { type QueryResult, scanPlan } from '../query/scan.ts';
import type { Catalog } from '../storage/catalog.ts';
import type { AnswerBody } from './answer-writer.ts';
import {
  type DeletionOutcome,
  deletedAnswer,
  infoAnswer,
  namesAnswer,
  queryAnswer,
  statusAnswer,
} from './answers.ts';
import type { Fields } from './fields.ts';
import { batchesOf, type DatasetBatch } from './numpy.ts';
import {
  type CreateCall,
  type DeleteCall,
  type QueryCall,
  readCreateCalls,
  readDeleteCalls,
  readKeyCalls,
  readListFormat,
  readQueryCalls,
  readWriteCalls,
  type WriteCall,
} from './requests.ts';
import type { RowDeletion } from './row-deletion.ts';
import { type WireError, wireErrorOf } from './wire-error.ts';

/** What the service needs of those who write. Rows of one call go into the log in its order. */
export interface Ingestion {
  /** All or nothing; resolves when the rows are committed and visible, unless less is wanted. */
  write(
    batches: readonly DatasetBatch[],
    manner: { readonly durability: Durability | undefined },
  ): Promise<void>;
  create(key: TimeBucketKey, schema: BucketSchema, year: number): Promise<void>;
  destroy(path: string): Promise<void>;
}

/** Whether the server is open for business. */
export interface Readiness {
  /** Cleared when a stop begins. */
  queryable: boolean;
  /** Why the disk takes no writes now. */
  writesPaused?: string | undefined;
}

export interface DataServiceOptions {
  readonly catalog: Pick<Catalog, 'bucket' | 'buckets' | 'symbols'>;
  readonly ingestion: Ingestion;
  readonly deletion: Pick<RowDeletion, 'run'>;
  readonly readiness: Readiness;
  readonly zone: Zone;
  /** Hash of the build: `version` in answers. */
  readonly version: string;
  /** Milliseconds since 1970. */
  readonly now: () => number;
  readonly onWritten: (seconds: number) => void;
  readonly onWarning: (message: string, fields: Readonly<Record<string, unknown>>) => void;
  /** Told of errors that are not the client's, where they are answered. */
  readonly onInternalError: (error: unknown) => void;
}

/** A call whose parameters are read. Running it resolves to its answer's body. */
export type PreparedCall = (signal: AbortSignal) => Promise<AnswerBody>;

export class DataService {
  readonly #options: DataServiceOptions;

  constructor(options: DataServiceOptions) {
    this.#options = options;
  }

  /** Reads the parameters of `DataService.<name>`; undefined if there is no such method. */
  prepare(name: string, fields: () => Fields): PreparedCall | undefined {
    switch (name) {
      case 'Query': {
        const calls = readQueryCalls(fields());
        return (signal) => this.#query(calls, signal);
      }
      case 'Write': {
        const calls = readWriteCalls(fields());
        return () => this.#write(calls);
      }
      case 'ListSymbols': {
        const format = readListFormat(fields());
        return () => this.#listSymbols(format);
      }
      case 'GetInfo': {
        const keys = readKeyCalls(fields());
        return async () => this.#getInfo(keys);
      }
      case 'Create': {
        const calls = readCreateCalls(fields());
        return () => this.#answerEach(calls, (call) => this.#create(call));
      }
      case 'Destroy': {
        const keys = readKeyCalls(fields());
        return () => this.#answerEach(keys, (key) => this.#destroy(key));
      }
      case 'Delete': {
        const calls = readDeleteCalls(fields());
        return (signal) => this.#delete(calls, signal);
      }
      default:
        return undefined;
    }
  }

  async #listSymbols(format: 'keys' | 'symbols'): Promise<AnswerBody> {
    const { catalog, readiness } = this.#options;
    if (!readiness.queryable) throw new RequestError('MKTS_NOT_QUERYABLE');
    const names =
      format === 'keys' ? catalog.buckets().map(({ key }) => key.path) : catalog.symbols();
    return namesAnswer(names);
  }

  async #query(calls: readonly QueryCall[], signal: AbortSignal): Promise<AnswerBody> {
    const { catalog, version, zone } = this.#options;
    const results: QueryResult[] = [];
    let bytesMax = ANSWER_BYTES_MAX;
    for (const call of calls) {
      if (call.isSql) throw new RequestError('MKTS_QUERY_UNSUPPORTED', { what: 'SQL is' });
      if (call.functions.length > 0)
        throw new RequestError('MKTS_QUERY_UNSUPPORTED', { what: 'functions are' });
      const result = await scanPlan(planQuery(catalog, call), { bytesMax, signal });
      bytesMax -= result.bytes;
      results.push(result);
    }
    return queryAnswer(results, version, zone.name);
  }

  /**
   * Requests go on side by side, so that they share a group of the log, save where two name the same
   * bucket: there the later must win.
   */
  async #write(calls: readonly WriteCall[]): Promise<AnswerBody> {
    const errors: (WireError | undefined)[] = [];
    const underWay: Promise<void>[] = [];
    const busy = new Set<string>();
    for (const [at, call] of calls.entries()) {
      errors.push(undefined);
      try {
        const batches = batchesOfCall(call);
        const durability = durabilityOf(call);
        if (underWay.length >= CALL_WRITES_MAX || batches.some(({ key }) => busy.has(key.path))) {
          await Promise.all(underWay.splice(0));
          busy.clear();
        }
        for (const { key } of batches) busy.add(key.path);
        const written = this.#writeBatches(batches, durability).catch((error: unknown) => {
          errors[at] = this.#failure('Write', at, error);
        });
        underWay.push(written);
      } catch (error) {
        errors[at] = this.#failure('Write', at, error);
      }
    }
    await Promise.all(underWay);
    const failed = errors.filter((error) => error !== undefined);
    // Success is silence: clients compare the answer with exactly this null.
    return statusAnswer(
      failed.length === 0 ? undefined : failed.map(({ text }) => text),
      this.#options.version,
    );
  }

  async #writeBatches(
    batches: readonly DatasetBatch[],
    durability: Durability | undefined,
  ): Promise<void> {
    if (batches.length === 0) return;
    const { ingestion, onWritten } = this.#options;
    const startMs = performance.now();
    await ingestion.write(batches, { durability });
    onWritten((performance.now() - startMs) / 1000);
  }

  async #create(call: CreateCall): Promise<void> {
    const { ingestion, now, zone } = this.#options;
    const key = parseCreatedKey(call.key);
    const schema = { recordType: call.recordType, columns: createdColumns(call) };
    await ingestion.create(key, schema, zone.yearOf(Math.floor(now() / 1000)));
  }

  #getInfo(keys: readonly string[]): AnswerBody {
    const { catalog, version } = this.#options;
    const infos = keys.map((key) => {
      const bucket = catalog.bucket(key.split(':', 1)[0] ?? '') ?? bucketOfKey(catalog, key);
      return { key, bucket };
    });
    return infoAnswer(infos, version);
  }

  /** `AAPL` destroys every bucket of the symbol, `AAPL/1Min` every group below it. */
  async #destroy(text: string): Promise<void> {
    const { catalog, ingestion, onWarning } = this.#options;
    const itemPath = text.split(':', 1)[0] ?? '';
    const paths = catalog.buckets().map(({ key }) => key.path);
    const doomed = paths.filter((path) => path === itemPath || path.startsWith(`${itemPath}/`));
    if (doomed.length === 0)
      throw new RequestError('MKTS_DESTROY_UNKNOWN', { item: missingItem(paths, itemPath) });
    if (doomed[0] !== itemPath)
      onWarning('a partial key destroys all buckets below it', {
        key: itemPath,
        buckets: doomed.length,
      });
    for (const path of doomed) await ingestion.destroy(path);
  }

  async #delete(calls: readonly DeleteCall[], signal: AbortSignal): Promise<AnswerBody> {
    const { deletion, version } = this.#options;
    const outcomes: DeletionOutcome[] = [];
    for (const [at, call] of calls.entries()) {
      const { key, isDryRun, epochStart, epochEnd } = call;
      // Without either it is for the deletion to refuse.
      const times = epochStart === undefined && epochEnd === undefined ? {} : timesOf(call);
      try {
        const deleted = await deletion.run({ key, times, isDryRun }, signal);
        outcomes.push({ deleted, error: '' });
      } catch (error) {
        outcomes.push({ deleted: [], error: this.#failure('Delete', at, error).text });
      }
    }
    return deletedAnswer(outcomes, version);
  }

  async #answerEach<Call>(
    calls: readonly Call[],
    run: (call: Call) => Promise<void>,
  ): Promise<AnswerBody> {
    const texts: string[] = [];
    for (const [at, call] of calls.entries()) {
      try {
        await run(call);
        texts.push('');
      } catch (error) {
        texts.push(this.#failure('request', at, error).text);
      }
    }
    return statusAnswer(texts, this.#options.version);
  }

  /** The answer does not say which request failed, so the log does. */
  #failure(what: string, at: number, error: unknown): WireError {
    const wire = wireErrorOf(error);
    if (wire.isInternal) this.#options.onInternalError(error);
    // Said once, where the pause began, and not for each client that tries again.
    else if (wire.code !== 'MKTS_WRITES_PAUSED')
      this.#options.onWarning(`${what} ${at} of a call is refused`, {
        code: wire.code,
        error: wire.text,
      });
    return wire;
  }
}

function batchesOfCall({ dataset, recordType }: WriteCall): readonly DatasetBatch[] {
  if (dataset === undefined)
    throw new RequestError('MKTS_DATASET_INVALID', { reason: 'there is none' });
  return batchesOf(dataset, recordType);
}

/** Undefined: that of the server. */
function durabilityOf({ durability }: WriteCall): Durability | undefined {
  if (durability === '') return undefined;
  const known = DURABILITIES.find((each) => each === durability);
  if (known === undefined)
    throw new RequestError('MKTS_DURABILITY', {
      given: durability,
      known: DURABILITIES.join(', '),
    });
  return known;
}

/** The bucket of a key whose categories stand in another order; undefined for a key that is none. */
function bucketOfKey(
  catalog: DataServiceOptions['catalog'],
  text: string,
): ReturnType<Catalog['bucket']> {
  try {
    return catalog.bucket(parseTimeBucketKey(text).path);
  } catch (error) {
    if (error instanceof RequestError) return undefined;
    throw error;
  }
}

/** Creation alone wants the categories beside the key. */
function parseCreatedKey(text: string): TimeBucketKey {
  const [, categories, ...more] = text.split(':');
  if (categories === undefined || more.length > 0)
    throw new RequestError('MKTS_KEY_CATEGORY', { key: text });
  if (categories.split('/').sort().join('/') !== 'AttributeGroup/Symbol/Timeframe')
    throw new RequestError('MKTS_CATEGORY_MISMATCH', { key: text });
  return parseNewTimeBucketKey(text);
}

function createdColumns({ columnNames, columnTypes }: CreateCall): readonly ColumnShape[] {
  if (columnNames.length !== columnTypes.length)
    throw new RequestError('MKTS_DATASET_INVALID', {
      reason: `${columnNames.length} column names and ${columnTypes.length} column types`,
    });
  const shapes: ColumnShape[] = [];
  for (const [at, name] of columnNames.entries()) {
    const wire = columnTypes[at] ?? '';
    const type = elementTypeOfWire(wire);
    if (type === undefined) throw new RequestError('MKTS_CREATE_TYPE_UNKNOWN', { type: wire });
    if (name !== EPOCH_SHAPE.name) shapes.push({ name, type });
  }
  return shapes;
}

/** The first part of a key that the tree does not have. */
function missingItem(paths: readonly string[], itemPath: string): string {
  const items = itemPath.split('/');
  for (let depth = 1; depth <= items.length; depth++) {
    const prefix = items.slice(0, depth).join('/');
    if (!paths.some((path) => path === prefix || path.startsWith(`${prefix}/`)))
      return items[depth - 1] ?? '';
  }
  return items.at(-1) ?? '';
}
