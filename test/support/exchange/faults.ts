/**
 * What a test can make go wrong, and what it can see of what was asked. One of each for all venues
 * of an exchange; plain state, read by venue-server.ts at every request.
 */

export interface Failure {
  readonly status: number;
  /** Seconds; becomes the Retry-After header. */
  readonly retryAfter?: number;
  readonly body?: string;
  /** Only requests whose path contains this. */
  readonly path?: string;
  /** How many requests fail; default 1. */
  readonly times?: number;
}

/** A request that was answered, or a stream that was opened. */
export interface SeenRequest {
  readonly venue: string;
  readonly method: string;
  readonly path: string;
  readonly query: URLSearchParams;
  /** 101 for an opened stream. */
  readonly status: number;
  /** Venue time. */
  readonly atMs: number;
}

/** Requests kept; the oldest go first. */
const REQUESTS_KEPT = 100_000;

export class RequestLog {
  readonly #seen: SeenRequest[] = [];

  add(request: SeenRequest): void {
    if (this.#seen.length === REQUESTS_KEPT) this.#seen.shift();
    this.#seen.push(request);
  }

  /** All, oldest first; with `path` those whose path contains it. */
  list(path = ''): readonly SeenRequest[] {
    return this.#seen.filter((request) => request.path.includes(path));
  }

  count(path = ''): number {
    return this.list(path).length;
  }

  clear(): void {
    this.#seen.length = 0;
  }
}

export class Faults {
  /** Stream messages with data are lost on their way; answers to commands are not. */
  dropStreamMessages = false;
  /** Answers of REST come this many real milliseconds late. */
  delayMs = 0;
  #refusing = false;
  readonly #failures: { readonly failure: Failure; left: number }[] = [];
  #held: Promise<void> | undefined;
  readonly #onRefuse: () => void;

  /** `onRefuse` is called when connections begin to be refused: open ones must not serve on. */
  constructor(onRefuse: () => void) {
    this.#onRefuse = onRefuse;
  }

  /** While true every new connection is reset, and none from before is served. */
  get refuseConnections(): boolean {
    return this.#refusing;
  }

  set refuseConnections(refuse: boolean) {
    this.#refusing = refuse;
    if (refuse) this.#onRefuse();
  }

  /** The next requests that match are answered by this; failures queue in order. */
  failNext(failure: Failure): void {
    this.#failures.push({ failure, left: failure.times ?? 1 });
  }

  /** Takes one failure for a request, if one is due. */
  take(path: string): Failure | undefined {
    const index = this.#failures.findIndex(({ failure }) => path.includes(failure.path ?? ''));
    const due = this.#failures[index];
    if (due === undefined) return undefined;
    due.left--;
    if (due.left === 0) this.#failures.splice(index, 1);
    return due.failure;
  }

  /** Holds back every answer of REST until what it returns is called. */
  holdAnswers(): () => void {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#held = promise;
    return () => {
      if (this.#held === promise) this.#held = undefined;
      resolve();
    };
  }

  /** Resolves when an answer may go out. */
  async beforeAnswer(): Promise<void> {
    await this.#held;
    if (this.delayMs > 0) await new Promise((resolve) => setTimeout(resolve, this.delayMs));
  }
}
