/**
 * Requests to one venue: spaced by the gate, tried again until they are answered, and each answer
 * with the venue's own time. A caller sees either an answer or a refusal (`VenueRefusal`); network
 * failures, 5xx, 429 and bans end here, as waiting.
 *
 * What the operator is told: one line when requests begin to fail, one when they succeed again.
 */

import type { Context, FetchResponse } from '../sdk.ts';
import { backoffMs, retryAfterMs } from './backoff.ts';
import { reasonOf, VenueRefusal } from './failure.ts';
import type { HostGate } from './host-gate.ts';
import { VenueClock } from './venue-clock.ts';

const TIMEOUT_MS = 10_000;
/** How long a venue's time may be carried on by our own clock when its answers hold none. */
const TIME_AGE_MAX_MS = 600_000;

export interface VenueHttpOptions {
  readonly baseUrl: string;
  readonly gate: HostGate;
  readonly random: () => number;
  /** Path that answers the venue's time, and how to read it, in milliseconds. */
  readonly timePath: string;
  readTime(answer: unknown): number;
  /** Error code and text of a venue's error answer. */
  readError(answer: unknown): { readonly code?: number; readonly text?: string };
  /** Sees the headers of every answer: limits. */
  onHeaders?(headers: Readonly<Record<string, string>>): void;
  /** What to do when the venue serves nobody here. */
  readonly deniedHint: string;
}

export interface Answer {
  readonly body: unknown;
  /** The venue's time when it answered, Unix seconds: never later than it was. */
  readonly venueSeconds: number;
}

type Health = 'answering' | 'failing' | 'denied';

export class VenueHttp {
  readonly clock: VenueClock;
  readonly #ctx: Context<unknown>;
  readonly #options: VenueHttpOptions;
  #health: Health = 'answering';
  #answersHoldTime = true;

  constructor(ctx: Context<unknown>, options: VenueHttpOptions) {
    this.#ctx = ctx;
    this.#options = options;
    this.clock = new VenueClock(ctx.clock);
  }

  /** The JSON a GET answers. Waits as long as it takes; rejects on refusal and on stop. */
  async get(path: string, weight: number): Promise<Answer> {
    // Order: the fallback time before the request, so that it is never later than the answer.
    const before = this.#answersHoldTime ? undefined : await this.venueSeconds();
    const answer = await this.#request(path, weight);
    const dated = this.#dateOf(answer.response);
    if (dated !== undefined) return { body: answer.body, venueSeconds: dated / 1000 };
    if (this.#answersHoldTime) {
      this.#answersHoldTime = false;
      return await this.get(path, weight);
    }
    return { body: answer.body, venueSeconds: before ?? 0 };
  }

  /** The venue's time in Unix seconds: asked for if it was not stated for a while. */
  async venueSeconds(): Promise<number> {
    if (this.#isTimeOld()) await this.#askTime();
    return (this.clock.nowMs() ?? this.#ctx.clock.now()) / 1000;
  }

  #isTimeOld(): boolean {
    return (this.clock.ageMs() ?? Number.POSITIVE_INFINITY) > TIME_AGE_MAX_MS;
  }

  async #askTime(): Promise<void> {
    try {
      const { body } = await this.#request(this.#options.timePath, 1);
      const stated = this.#options.readTime(body);
      if (Number.isFinite(stated)) this.clock.observe(stated);
    } catch (failure) {
      // A stand-in for the venue may not have that address; its refusal is dated like any answer.
      if (!(failure instanceof VenueRefusal)) throw failure;
    }
    // Without any time from the venue ours is all there is.
    if (this.#isTimeOld()) this.clock.observe(this.#ctx.clock.now());
  }

  async #request(
    path: string,
    weight: number,
  ): Promise<{ response: FetchResponse; body: unknown }> {
    const { ctx, gate, random } = { ctx: this.#ctx, ...this.#options };
    for (let attempt = 0; ; attempt++) {
      await gate.enter(weight);
      let waitMs = backoffMs(attempt, random);
      let response: FetchResponse;
      try {
        response = await ctx.fetch(`${this.#options.baseUrl}${path}`, {
          timeoutMs: TIMEOUT_MS,
          signal: ctx.signal,
        });
      } catch (failure) {
        ctx.signal.throwIfAborted();
        ctx.metrics.count('http_requests', { code: 'failed' });
        this.#becomes('failing', reasonOf(failure));
        await ctx.clock.sleep(waitMs, ctx.signal);
        continue;
      }
      const { status } = response;
      ctx.metrics.count('http_requests', { code: String(status) });
      this.#options.onHeaders?.(response.headers);
      const answeredMs = this.#dateOf(response) ?? ctx.clock.now();
      const asked = retryAfterMs(response.headers['retry-after'], answeredMs);
      if (status === 429 || status === 418) {
        waitMs = asked ?? waitMs;
        ctx.log.warn('the venue limits our requests: all of them wait', {
          status,
          seconds: waitMs / 1000,
        });
        gate.pause(waitMs);
      } else if (status === 401 || status === 403 || status === 451) {
        gate.deny();
        this.#becomes('denied', `status ${status}: ${this.#errorOf(response).text ?? 'no reason'}`);
      } else if (status >= 500 || status === 408) {
        this.#becomes('failing', `status ${status}`);
        await ctx.clock.sleep(asked ?? waitMs, ctx.signal);
      } else if (response.ok) {
        const body = jsonOf(response);
        if (body !== undefined) {
          this.#becomes('answering', '');
          return { response, body };
        }
        this.#becomes('failing', 'the answer is not JSON');
        await ctx.clock.sleep(waitMs, ctx.signal);
      } else {
        this.#becomes('answering', '');
        const { code, text } = this.#errorOf(response);
        throw new VenueRefusal(status, text ?? `status ${status}`, code);
      }
    }
  }

  #becomes(health: Health, reason: string): void {
    if (health === 'answering') this.#options.gate.allow();
    if (health === this.#health) return;
    const { log } = this.#ctx;
    const fields = { venue: this.#options.baseUrl, reason };
    if (health === 'answering') log.info('the venue answers again', { venue: fields.venue });
    else if (health === 'denied')
      log.error(`degraded: the venue refuses us; asked again hourly. ${this.#options.deniedHint}`, {
        ...fields,
      });
    else log.warn('requests to the venue fail; they are tried again', fields);
    this.#health = health;
  }

  #dateOf(response: FetchResponse): number | undefined {
    const venueMs = Date.parse(response.headers.date ?? '');
    if (!Number.isFinite(venueMs)) return undefined;
    this.clock.observe(venueMs);
    return venueMs;
  }

  #errorOf(response: FetchResponse): { readonly code?: number; readonly text?: string } {
    const body = jsonOf(response);
    return body === undefined ? {} : this.#options.readError(body);
  }
}

/** The parsed body; undefined if it is not JSON. */
function jsonOf(response: FetchResponse): unknown {
  try {
    return response.json();
  } catch {
    // Not JSON is an answer like another here: the caller says what to do about it.
    return undefined;
  }
}

/** A field of an answer of unknown shape. */
export function fieldOf(answer: unknown, name: string): unknown {
  return typeof answer === 'object' && answer !== null
    ? (answer as Readonly<Record<string, unknown>>)[name]
    : undefined;
}
