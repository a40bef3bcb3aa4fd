/** What a test asks a local exchange with: plain requests, and a follower of a stream. */

import { once } from 'node:events';
import WebSocket from 'ws';

/** A client of a stream that keeps what it is told. */
export class Follower {
  readonly socket: WebSocket;
  readonly messages: unknown[] = [];
  readonly closed: Promise<number>;
  #wake: () => void = () => {};

  constructor(url: string) {
    this.socket = new WebSocket(url);
    this.socket.on('message', (data) => {
      this.messages.push(JSON.parse(String(data)));
      this.#wake();
    });
    this.socket.on('error', () => {});
    // Not `once`, which rejects on `error`: a refused handshake is an end like any other here.
    this.closed = new Promise((resolve) => this.socket.on('close', resolve));
  }

  static async open(url: string): Promise<Follower> {
    const follower = new Follower(url);
    await once(follower.socket, 'open');
    return follower;
  }

  send(command: object): void {
    this.socket.send(JSON.stringify(command));
  }

  /** The first `count` messages, once there are so many; takes them away. */
  async take<Message>(count: number): Promise<Message[]> {
    while (this.messages.length < count) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    return this.messages.splice(0, count) as Message[];
  }
}

/** Any status is an answer. */
export async function get(
  url: string,
): Promise<{ status: number; headers: Headers; text: string }> {
  const response = await fetch(url);
  return { status: response.status, headers: response.headers, text: await response.text() };
}

/** The body of an answer, read as JSON. */
export async function json<Body>(url: string): Promise<Body> {
  return JSON.parse((await get(url)).text) as Body;
}
