/**
 * Plays a tape to a plugin under test: each request gets the answer that was recorded for it, each
 * socket what came over it, at the same distance in (virtual) time.
 *
 * A request is looked up by method, URL and body; the same one asked again gets the next answer to
 * it. What is not on the tape fails with MKTS_TAPE_MISS, which lists what is left. Secrets are masked
 * on a tape, so they are masked in what is looked up.
 *
 * On a socket, what follows a message of the plugin waits until the plugin has sent one. What it
 * sends is not compared: `FakeSocket.sent` is there for the test to look at.
 */

import { PluginError } from '../../kernel/base/errors.ts';
import { MASK } from '../../kernel/base/secrets.ts';
import type { Tape, TapedFetch, TapedSocketEvent } from '../../kernel/base/tape.ts';
import { maskedUrl } from '../../workers/network-grants.ts';
import type { FetchOptions } from '../sdk.ts';
import type { FakeClock } from './fake-clock.ts';
import type { FakeAnswer } from './fake-kernel.ts';
import type { FakeSocket } from './fake-socket.ts';

/** Recorded requests named by an error; the rest is counted. */
const LEFT_NAMED = 5;

export interface PlayerOptions {
  readonly ignoreParameters: readonly string[] | undefined;
}

export class TapePlayer {
  readonly #clock: FakeClock;
  readonly #ignored: readonly string[];
  readonly #fetches: TapedFetch[];
  /** The story of each socket, not yet opened. */
  readonly #sockets: (readonly TapedSocketEvent[])[];

  constructor(tape: Tape, clock: FakeClock, { ignoreParameters = [] }: PlayerOptions) {
    this.#clock = clock;
    this.#ignored = ignoreParameters;
    this.#fetches = tape.entries.filter((entry) => entry.kind === 'fetch');
    const events = tape.entries.filter((entry) => entry.kind !== 'fetch');
    this.#sockets = [...Map.groupBy(events, ({ socket }) => socket).values()];
  }

  /** What has not been asked for, a line each. */
  get left(): readonly string[] {
    return [
      ...this.#fetches.map(({ method, url }) => `${method} ${url}`),
      ...this.#sockets.map((story) => `WebSocket ${urlOf(story)}`),
    ];
  }

  fetch(url: URL, { method = 'GET', body }: FetchOptions): FakeAnswer | Error {
    const asked = this.#identity(url.href);
    const at = this.#fetches.findIndex(
      (taped) =>
        taped.method === method &&
        isSameBody(taped.sent, body) &&
        this.#identity(taped.url) === asked,
    );
    const [taped] = at < 0 ? [] : this.#fetches.splice(at, 1);
    if (taped === undefined) return this.#miss(`${method} ${maskedUrl(url.href)}`);
    const { answer } = taped;
    if (!('failed' in answer)) return answer;
    const { failed: reason } = answer;
    return new PluginError('MKTS_NET_FAILED', { method, url: taped.url, reason });
  }

  /** Plays the next recorded socket of this URL. Throws MKTS_TAPE_MISS. */
  connect(socket: FakeSocket): void {
    const asked = this.#identity(socket.url);
    const at = this.#sockets.findIndex((story) => this.#identity(urlOf(story)) === asked);
    const [story] = at < 0 ? [] : this.#sockets.splice(at, 1);
    if (story === undefined) throw this.#miss(`WebSocket ${maskedUrl(socket.url)}`);
    const [first, second] = story;
    if (second?.kind === 'failed' && first?.kind === 'open' && story.length === 2)
      throw socketFailure(socket.url, second.reason);
    this.#play(socket, story, 1);
  }

  /**
   * Goes on with a socket's story at `next`: one event after the other, each as long after the one
   * before as it was recorded, so that their order holds whenever the plugin speaks.
   */
  #play(socket: FakeSocket, story: readonly TapedSocketEvent[], next: number): void {
    const event = story[next];
    if (event === undefined || !socket.isOpen) return;
    const goOn = (): void => this.#play(socket, story, next + 1);
    if (event.kind === 'sent') {
      const turn = story.slice(0, next + 1).filter(({ kind }) => kind === 'sent').length;
      if (socket.sent.length >= turn) goOn();
      else
        socket.onSent = (): void => {
          socket.onSent = undefined;
          goOn();
        };
      return;
    }
    const waitMs = event.atMs - (story[next - 1]?.atMs ?? event.atMs);
    this.#clock.at(this.#clock.now() + waitMs, () => {
      deliver(socket, event);
      goOn();
    });
  }

  #identity(url: string): string {
    const parsed = new URL(maskedUrl(url));
    for (const name of this.#ignored) parsed.searchParams.delete(name);
    parsed.searchParams.sort();
    return parsed.href;
  }

  #miss(request: string): PluginError {
    const named = this.left.slice(0, LEFT_NAMED);
    const more = this.left.length - named.length;
    if (more > 0) named.push(`and ${more} more`);
    const left = named.length === 0 ? 'nothing' : named.join(', ');
    return new PluginError('MKTS_TAPE_MISS', { request, left });
  }
}

/** What is masked on the tape cannot be compared. */
function isSameBody(taped: string | undefined, sent: string | undefined): boolean {
  return taped === sent || (sent !== undefined && taped?.includes(MASK) === true);
}

function urlOf([first]: readonly TapedSocketEvent[]): string {
  return first?.kind === 'open' ? first.url : 'about:blank';
}

function deliver(socket: FakeSocket, event: TapedSocketEvent): void {
  if (event.kind === 'received') socket.receive(event.text);
  else if (event.kind === 'closed') socket.end();
  else if (event.kind === 'failed') socket.end(socketFailure(socket.url, event.reason));
}

function socketFailure(url: string, reason: string): PluginError {
  return new PluginError('MKTS_NET_FAILED', {
    method: 'WebSocket',
    url: maskedUrl(url),
    reason,
  });
}
