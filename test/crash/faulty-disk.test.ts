/**
 * A disk that fails in every way it may, in the middle of work of all kinds: it is full (a write may
 * take a part of its bytes), descriptors are gone, it is read-only, permissions are gone, a call fails
 * with EIO, a sync fails once and then "succeeds". In between the process is killed or the power goes,
 * also in the start that follows.
 *
 * As in everywhere.test.ts a model keeps what was promised. Here a request has a third outcome: one
 * that was refused (MKTS_WRITES_PAUSED) must never be there. What only refuses must end nothing: reads
 * go on, rows of the plugin wait, and all goes on when the fault is gone. Of a server that ended what
 * was in flight may be there, some beginning of it.
 *
 * MKTS_CRASH_SEEDS=10000 runs more; MKTS_CRASH_SEED=17 runs one, with its story.
 */

import { describe, expect, test } from 'vitest';
import { MktsError } from '../../kernel/base/errors.ts';
import { Committer } from '../../kernel/ingest/committer.ts';
import { collectGarbage } from '../support/collect-garbage.ts';
import {
  CrashFilesystem,
  type DiskCall,
  type DiskFault,
  type DiskOperation,
  type FaultPlan,
  randomBy,
} from '../support/crash-filesystem.ts';
import {
  bars,
  contents,
  copyOf,
  counted,
  deletion,
  destroy,
  FEED,
  type Model,
  pick,
  restartValues,
  sayable,
  ticks,
  type Work,
} from '../support/crash-model.ts';
import { expectIntegrity } from '../support/integrity.ts';
import { ROOT, type SimulatedServer, startSimulated } from '../support/simulated-server.ts';

/** Seeds between two collections of garbage. */
const COLLECT_EVERY = 20;
const SEEDS = Number(process.env.MKTS_CRASH_SEEDS ?? 100);
const ONLY = process.env.MKTS_CRASH_SEED;
/** Servers of one run, one after the other. */
const LIVES = 4;
const ROUNDS = 10;
const CHANGES_BEFORE_CUT_MAX = 400;
const HANG_MS = 20_000;

/** A way to fail, for so many calls of the disk. */
interface Episode {
  readonly what: string;
  readonly plan: FaultPlan;
  /** It may end a server: what came of a call is not known. */
  readonly isFinal: boolean;
  /** What it fails is not what a reader needs. */
  readonly sparesReads: boolean;
}

interface Kind {
  readonly faults: readonly DiskFault[];
  readonly operations: readonly DiskOperation[];
}

const KINDS: Readonly<Record<string, Kind>> = {
  full: { faults: ['ENOSPC', 'EDQUOT'], operations: ['write', 'truncate', 'mkdir', 'rename'] },
  descriptors: { faults: ['EMFILE'], operations: ['open', 'list'] },
  readOnly: {
    faults: ['EROFS'],
    operations: ['write', 'truncate', 'mkdir', 'rename', 'remove'],
  },
  permission: { faults: ['EACCES'], operations: ['open', 'mkdir', 'rename', 'remove', 'list'] },
  broken: {
    faults: ['EIO'],
    operations: ['write', 'truncate', 'fdatasync', 'mkdir', 'rename', 'remove', 'fsync'],
  },
  sync: { faults: ['EIO', 'ENOSPC'], operations: ['fdatasync', 'fsync'] },
};

function episode(random: () => number): Episode {
  const [name = 'full'] = pick(random, 1, Object.keys(KINDS));
  const { faults, operations } = KINDS[name] as Kind;
  const [fault = 'EIO'] = pick(random, 1, faults);
  const chance = random() < 0.5 ? 1 : 0.3;
  const isOnce = name === 'broken' || name === 'sync';
  let calls = 1 + Math.floor(random() * 120);
  // A beginning of a refused write that is long may be all that differs: then it is final.
  const share = name === 'full' && random() < 0.5 ? random() : 0;
  const plan = ({ operation }: DiskCall): ReturnType<FaultPlan> => {
    if (calls <= 0) return undefined;
    calls--;
    if (!operations.includes(operation) || random() >= chance) return undefined;
    if (isOnce) calls = 0;
    return share > 0 && operation === 'write' ? { fault, share } : fault;
  };
  return {
    what: `${name}: ${fault} for ${calls} calls`,
    plan,
    isFinal: isOnce || share > 0.5,
    sparesReads: name === 'full' || name === 'readOnly',
  };
}

interface Tally {
  lives: number;
  promised: number;
  refused: number;
  unknown: number;
  pauses: number;
  ended: number;
  failedStarts: number;
  cuts: number;
  kills: number;
  failedCheckpoints: number;
  readMeanwhile: number;
}

class Ended extends Error {}

/** One run: servers on one disk, one after the other. */
class Run {
  readonly #random: () => number;
  /** Every other run keeps checksums: a fault at any of their calls may cost one, and raise no alarm. */
  readonly #options: { readonly checksums: boolean };
  readonly #tally: Tally;
  readonly #tell: (line: string) => void;
  #filesystem = new CrashFilesystem();
  /** What may be so: after an end in the middle of a start, still all beginnings. */
  #possible: Model[] = [{ buckets: new Map(), cursor: 0 }];
  /** The newest episode, which may have ended by itself. */
  #trouble: Episode | undefined;
  /** Something failed of which nobody knows what came of it. */
  #isFinal = false;

  constructor(seed: number, tally: Tally, tell: (line: string) => void) {
    this.#random = randomBy(seed);
    this.#options = { checksums: seed % 2 === 1 };
    this.#tally = tally;
    this.#tell = tell;
    restartValues();
    this.#filesystem.makeDirectory(ROOT);
    this.#filesystem.settle();
  }

  async all(): Promise<void> {
    for (let life = 0; life < LIVES; life++) {
      this.#tally.lives++;
      this.#isFinal = false;
      if (this.#random() < 0.5)
        this.#filesystem.crashAt(1 + Math.floor(this.#random() * CHANGES_BEFORE_CUT_MAX));
      if (this.#random() < 0.3) this.#fail();
      const server = await this.#start();
      if (server !== undefined) await this.#live(server);
      this.#next();
    }
    const server = await startSimulated(this.#filesystem, this.#options);
    await this.#recognize(server);
    await server.stop();
    const logs = this.#filesystem.files().filter((path) => path.includes('.wal'));
    expect(logs, 'a clean stop leaves no log').toEqual([]);
    const last = await startSimulated(this.#filesystem, this.#options);
    expect(sayable(await contents(last))).toBe(sayable(this.#possible[0] as Model));
    await last.stop();
    expectIntegrity(ROOT, this.#filesystem);
  }

  #fail(): void {
    this.#trouble = episode(this.#random);
    this.#tell(`  ${this.#trouble.what}`);
    this.#isFinal ||= this.#trouble.isFinal;
    this.#filesystem.fail(this.#trouble.plan);
  }

  #mend(): void {
    this.#trouble = undefined;
    this.#filesystem.fail(undefined);
  }

  get #mayRead(): boolean {
    return this.#trouble === undefined || this.#trouble.sparesReads;
  }

  /** The process ends, or the power goes. */
  #next(): void {
    const isCut = this.#filesystem.isOff || this.#random() < 0.4;
    this.#tally[isCut ? 'cuts' : 'kills']++;
    this.#tell(isCut ? 'the power goes' : 'the process is killed');
    this.#filesystem = isCut
      ? this.#filesystem.restart(Math.floor(this.#random() * 2 ** 32))
      : this.#filesystem.killed();
  }

  /** Undefined: a fault or a cut ended the start. */
  async #start(): Promise<SimulatedServer | undefined> {
    try {
      return await startSimulated(this.#filesystem, this.#options);
    } catch (error) {
      if (!this.#filesystem.isOff && !(error instanceof MktsError)) throw error;
      this.#tell(`the start fails: ${String(error)}`);
      this.#tally.failedStarts++;
      return undefined;
    }
  }

  /** The store is one of those that may be. */
  async #recognize(server: SimulatedServer): Promise<Model> {
    expect(server.reports.map(String).join('\n'), 'no damage').toBe('');
    this.#mend();
    const found = await contents(server);
    const match = this.#possible.find((model) => sayable(model) === sayable(found));
    if (match === undefined)
      expect(JSON.parse(sayable(found))).toEqual(JSON.parse(sayable(this.#possible[0] ?? found)));
    this.#possible = [copyOf(match ?? found)];
    return copyOf(match ?? found);
  }

  async #live(server: SimulatedServer): Promise<void> {
    let model: Model | undefined;
    let unknown: Work[] = [];
    try {
      model = await this.#recognize(server);
      const plugin = server.plugin('counter');
      expect(plugin.state.get('next') ?? 0).toBe(model.cursor);
      for (let round = 0; round < ROUNDS; round++) {
        const works = this.#works(model);
        unknown = works;
        for (const { what } of works) this.#tell(`  round ${round}: ${what}`);
        if (this.#random() < 0.4) this.#fail();
        else if (this.#random() < 0.5) this.#mend();
        const checkpoint = this.#random() < 0.3 ? server.checkpointer.run() : undefined;
        const isPlugin = works.some(({ what }) => what.startsWith('plugin'));
        const sent = Promise.allSettled(works.map((work) => work.send(server, plugin)));
        if (isPlugin && this.#mayRead) await this.#readMeanwhile(server, model);
        const outcomes = await this.#orEnd(sent, server);
        // Order: what is not known comes behind what is promised, and can be there in part.
        unknown = [];
        for (const [at, outcome] of outcomes.entries()) {
          const work = works[at] as Work;
          if (outcome.status === 'fulfilled') {
            work.apply(model);
            this.#tally.promised++;
          } else if (hasCode(outcome.reason, 'MKTS_WRITES_PAUSED')) this.#tally.refused++;
          else unknown.push(work);
        }
        if (this.#isOver(server)) throw new Ended();
        expect(unknown.map(({ what }) => what)).toEqual([]);
        if (checkpoint !== undefined && this.#random() < 0.5) {
          const isDone = await this.#orEnd(checkpoint, server);
          if (!isDone) this.#tally.failedCheckpoints++;
        }
        if (this.#mayRead)
          expect(sayable(await contents(server)), 'reads go on').toBe(sayable(model));
      }
      if (this.#random() < 0.5) {
        this.#mend();
        await this.#orEnd(server.stop(), server);
      }
    } catch (error) {
      if (!this.#isOver(server)) throw error;
      if (!this.#filesystem.isOff) {
        this.#tally.ended++;
        this.#tell(`the server ends: ${server.committer.stopped?.message}`);
        expect(this.#isFinal, `ended by ${server.committer.stopped?.message}`).toBe(true);
      }
    } finally {
      this.#tally.pauses += server.pauses;
      server.abandon();
    }
    if (model === undefined) return;
    this.#tally.unknown += unknown.length;
    this.#possible = [copyOf(model)];
    for (const work of unknown) {
      work.apply(model);
      this.#possible.push(copyOf(model));
    }
  }

  #works(model: Model): Work[] {
    const random = this.#random;
    const [victim] = random() < 0.15 ? pick(random, 1, [...model.buckets.keys()]) : [];
    if (victim !== undefined && victim !== FEED && model.buckets.get(victim)?.size !== 0)
      return [destroy(victim)];
    // Alone: frames and requests meet in a group in an order of their own.
    if (random() < 0.4) return [counted(model.cursor, 1 + Math.floor(random() * 25))];
    const works = Array.from({ length: 1 + Math.floor(random() * 4) }, () =>
      random() < 0.5 ? bars(random) : ticks(random),
    );
    const filled = [...model.buckets].flatMap(([path, { size }]) => (size > 0 ? path : []));
    const [reduced] = pick(random, 1, filled);
    if (reduced !== undefined && reduced !== FEED && random() < 0.3)
      works.push(deletion(random, reduced));
    return works;
  }

  /** While rows wait for the disk, what was promised before is read. */
  async #readMeanwhile(server: SimulatedServer, model: Model): Promise<void> {
    for (let turn = 0; turn < 20; turn++) {
      await new Promise<void>((resolve) => setImmediate(resolve));
      if (this.#isOver(server)) return;
      const { paused } = server.committer;
      if (paused === undefined) continue;
      const found = await contents(server);
      // Written after all while we read.
      if (server.committer.paused !== paused) continue;
      expect(sayable(found), 'reads go on').toBe(sayable(model));
      this.#tally.readMeanwhile++;
      return;
    }
  }

  #isOver(server: SimulatedServer): boolean {
    return this.#filesystem.isOff || server.committer.stopped !== undefined;
  }

  /** Work that hangs because the server ended never settles. */
  async #orEnd<T>(work: Promise<T>, server: SimulatedServer): Promise<T> {
    let isDone = false;
    const done = work.finally(() => {
      isDone = true;
    });
    done.catch(() => undefined);
    const endMs = performance.now() + HANG_MS;
    for (let turns = 0; !isDone; ) {
      await new Promise<void>((resolve) => setImmediate(resolve));
      // Whoever waits was told by then, if he is told at all.
      if (this.#isOver(server) && turns++ > 3) throw new Ended();
      if (performance.now() > endMs) throw new Error('it hangs');
    }
    return done;
  }
}

function hasCode(error: unknown, code: string): boolean {
  return error instanceof MktsError && error.code === code;
}

describe('the disk fails in every way', () => {
  const seeds = ONLY === undefined ? SEEDS : 1;
  test(`${seeds} seeds`, { timeout: 3_600_000 }, async ({ annotate }) => {
    const tally: Tally = {
      lives: 0,
      promised: 0,
      refused: 0,
      unknown: 0,
      pauses: 0,
      ended: 0,
      failedStarts: 0,
      cuts: 0,
      kills: 0,
      failedCheckpoints: 0,
      readMeanwhile: 0,
    };
    for (let at = 0; at < seeds; at++) {
      const seed = ONLY === undefined ? at : Number(ONLY);
      if (at % COLLECT_EVERY === 0)
        expect(collectGarbage(Committer), 'servers that are gone are gone').toBeLessThan(10);
      const story: string[] = [];
      try {
        await new Run(seed, tally, (line) => story.push(line)).all();
      } catch (error) {
        throw new Error(`seed ${seed}:\n${story.slice(-40).join('\n')}`, { cause: error });
      }
    }
    await annotate(JSON.stringify(tally));
    if (seeds > 20)
      for (const [what, count] of Object.entries(tally)) expect(count, what).toBeGreaterThan(0);
  });
});
