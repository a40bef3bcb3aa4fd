/**
 * A real server in a process of its own, for tests that kill it: `mkts start` on a free port.
 * Without a watchdog, unless asked for: what is killed is then the kernel.
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';

const MAIN = resolve(import.meta.dirname, '../../kernel/main.ts');

export interface LogLine {
  readonly level: string;
  readonly msg: string;
  readonly [field: string]: unknown;
}

export interface ServerProcessOptions {
  readonly verify?: boolean;
  /** Start it as a user does, with a watchdog, which is then what is stopped and killed. */
  readonly watchdog?: boolean;
  /** In a process group of its own, as a terminal has one: `-pid` signals all of it. */
  readonly group?: boolean;
}

export class ServerProcess {
  readonly lines: LogLine[] = [];
  readonly #child: ChildProcess;
  readonly #waiting = new Set<() => void>();
  #stderr = '';
  #url: string | undefined;
  #ended: { readonly code: number | null; readonly signal: NodeJS.Signals | null } | undefined;

  private constructor(child: ChildProcess) {
    this.#child = child;
    if (child.stdout === null || child.stderr === null) throw new Error('output is piped');
    createInterface({ input: child.stdout }).on('line', (line) => {
      if (line.startsWith('{')) this.lines.push(JSON.parse(line) as LogLine);
      this.#wake();
    });
    child.stderr.on('data', (data: Buffer) => {
      this.#stderr += data.toString();
    });
    child.once('close', (code, signal) => {
      this.#ended = { code, signal };
      this.#wake();
    });
  }

  /** Starts a server with `config` (written as `<directory>/mkts.yml`) and waits until it listens. */
  static async start(
    directory: string,
    config: Record<string, unknown>,
    { verify = true, watchdog = false, group = false }: ServerProcessOptions = {},
  ): Promise<ServerProcess> {
    const path = join(directory, 'mkts.yml');
    // JSON is YAML.
    writeFileSync(path, JSON.stringify({ listen_port: 0, log_format: 'json', ...config }, null, 2));
    const command = [process.execPath, MAIN, 'start', '--config', path];
    if (!watchdog) command.push('--no-watchdog');
    return ServerProcess.run(directory, command, { MKTS_VERIFY: verify ? '1' : '' }, group);
  }

  /** Starts `command`, which starts a server in `directory`, and waits until it listens. */
  static async run(
    directory: string,
    [program = '', ...args]: readonly string[],
    environment: Readonly<Record<string, string>> = {},
    group: boolean = false,
  ): Promise<ServerProcess> {
    const child = spawn(program, args, {
      cwd: directory,
      detached: group,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...environment },
    });
    const server = new ServerProcess(child);
    const line = await server.line(({ address }) => typeof address === 'string');
    server.#url = String(line.address);
    return server;
  }

  get url(): string {
    if (this.#url === undefined) throw new Error('the server listens');
    return this.#url;
  }
  get pid(): number {
    return this.#child.pid ?? 0;
  }
  get stderr(): string {
    return this.#stderr;
  }

  /** The first log line, past or to come, that `matches`; throws if the server ends before. */
  async line(matches: (line: LogLine) => boolean): Promise<LogLine> {
    return this.until(() => this.lines.find(matches));
  }

  /** Waits until `look` finds something; it is asked at every line of the log. */
  async until<T>(look: () => T | undefined): Promise<T> {
    for (;;) {
      const found = look();
      if (found !== undefined) return found;
      if (this.#ended !== undefined)
        throw new Error(
          `server ended (${JSON.stringify(this.#ended)}): ${this.#stderr}\n${this.lines
            .slice(-20)
            .map((line) => JSON.stringify(line))
            .join('\n')}`,
        );
      await new Promise<void>((resolveWait) => this.#waiting.add(resolveWait));
    }
  }

  /** SIGKILL: what a crash is. */
  async kill(): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.#end();
  }

  /** SIGTERM; returns the exit code. */
  async stop(): Promise<number | null> {
    this.#child.kill('SIGTERM');
    return this.ended();
  }

  /** Waits for its end, and that of all it started; returns the exit code. */
  async ended(): Promise<number | null> {
    await this.#end();
    return this.#ended?.code ?? null;
  }

  async #end(): Promise<void> {
    if (this.#ended === undefined) await once(this.#child, 'close');
  }

  #wake(): void {
    for (const wake of this.#waiting) wake();
    this.#waiting.clear();
  }
}
