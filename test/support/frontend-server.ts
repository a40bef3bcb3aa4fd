/**
 * kernel/frontend by itself: real HTTP on a free loopback port over an empty store whose writes are
 * applied at once, without a log. For tests that put something slow or failing in the place of a
 * part; what is to run against all that users run takes test-server.ts.
 */

import { rmSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { RequestError } from '../../kernel/base/errors.ts';
import { fitColumnsBy } from '../../kernel/base/fit-columns.ts';
import { checkSchema } from '../../kernel/base/schema.ts';
import { parseNewTimeBucketKey } from '../../kernel/base/time-bucket-key.ts';
import { UTC, type Zone } from '../../kernel/base/zone.ts';
import { DataService, type Ingestion, type Readiness } from '../../kernel/frontend/data-service.ts';
import { HttpServer } from '../../kernel/frontend/http.ts';
import { Metrics } from '../../kernel/frontend/metrics.ts';
import { RowDeletion } from '../../kernel/frontend/row-deletion.ts';
import { Rpc } from '../../kernel/frontend/rpc.ts';
import type { Catalog } from '../../kernel/storage/catalog.ts';
import { blockOf, openStore, temporaryRoot } from './store.ts';

export interface FrontendServer {
  readonly url: string;
  readonly address: AddressInfo;
  readonly catalog: Catalog;
  readonly http: HttpServer;
  readonly metrics: Metrics;
  readonly readiness: Readiness;
  /** Warnings the server logged: refused requests, partial destroys. */
  readonly warnings: string[];
  /** Errors that were not a client's. A test that expects none checks that it is empty. */
  readonly internalErrors: unknown[];
  close(): Promise<void>;
}

export interface FrontendOptions {
  readonly zone?: Zone;
  readonly version?: string;
  readonly gitHash?: string;
  readonly now?: () => number;
  /** Takes the place of the plain ingestion: slow or failing ones. */
  readonly ingestion?: (plain: Ingestion) => Ingestion;
}

/** Hash of the build in answers of a test server. */
export const TEST_HASH = 'feedc0defeedc0defeedc0defeedc0defeedc0de';

export async function startFrontend(options: FrontendOptions = {}): Promise<FrontendServer> {
  const { zone = UTC, version = 'v0.0.0-test', gitHash = TEST_HASH, now = Date.now } = options;
  const { root } = temporaryRoot();
  const { catalog } = openStore(root, { zone });
  const warnings: string[] = [];
  const internalErrors: unknown[] = [];
  const onInternalError = (error: unknown): void => {
    internalErrors.push(error);
  };
  const metrics = new Metrics({ process: false });
  const readiness: Readiness = { queryable: true };
  const plain = applyAtOnce(catalog);
  const deletion = new RowDeletion({
    catalog,
    ingestion: {
      async deleteRows(keys, times) {
        for (const key of keys) catalog.bucket(key)?.deleteRows(times);
      },
    },
    log: { info: () => undefined },
  });
  const service = new DataService({
    catalog,
    ingestion: options.ingestion?.(plain) ?? plain,
    deletion,
    readiness,
    zone,
    version: gitHash,
    now,
    onWritten: metrics.observeWrite,
    onWarning: (message) => warnings.push(message),
    onInternalError,
  });
  const http = await HttpServer.listen({
    host: '127.0.0.1',
    port: 0,
    rpc: new Rpc({ service, onInternalError }),
    metrics,
    readiness,
    gitHash,
    version,
    onInternalError,
  });
  const { address } = http;
  return {
    url: `http://127.0.0.1:${address.port}`,
    address,
    catalog,
    http,
    metrics,
    readiness,
    warnings,
    internalErrors,
    async close() {
      await http.close(0);
      catalog.close();
      rmSync(root, { recursive: true, force: true });
    },
  };
}

/** Puts rows straight into the store's memory, as the committer does after a commit. */
function applyAtOnce(catalog: Catalog): Ingestion {
  return {
    async write(batches) {
      const fitted = batches.map(({ key, schema, columns, rowCount }) => {
        const existing = catalog.bucket(key.path);
        if (existing === undefined) checkSchema(schema);
        const bucket = catalog.declare(existing?.key ?? parseNewTimeBucketKey(key.path), schema);
        const drops =
          schema.recordType === 'variable' &&
          bucket.schema.recordType === 'fixed' &&
          !bucket.schema.columns.some(({ name }) => name === 'Nanoseconds');
        const given = drops ? columns.filter(({ name }) => name !== 'Nanoseconds') : columns;
        try {
          const fit = fitColumnsBy('reference', bucket.schema, given, rowCount);
          return { bucket, block: blockOf(bucket.schema, fit.columns, rowCount) };
        } catch (error) {
          if (!bucket.isVisible) catalog.undeclare(bucket);
          throw error;
        }
      });
      for (const { bucket, block } of fitted) bucket.apply(block);
    },
    async create(key, schema, year) {
      checkSchema(schema);
      if (catalog.bucket(key.path) !== undefined)
        throw new RequestError('MKTS_BUCKET_EXISTS', { key: key.path });
      catalog.materialize(catalog.declare(key, schema), year);
    },
    async destroy(path) {
      catalog.destroy(path);
    },
  };
}
