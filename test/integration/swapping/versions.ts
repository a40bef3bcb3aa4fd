/** Texts of the plugins of the swap test: a feeder in many versions, some of them broken. */

/** Messages a second, each with a number; the rows of a second are one bucket's ticks. */
export const MESSAGES_PER_SECOND = 10_000;
export const FED_KEY = 'FED/1Sec/TICK';
export const STEADY_KEY = 'STEADY/1Sec/TICK';

/** In which ways a version is broken. */
export const BREAKAGES = [
  'does not parse',
  'imports what is not there',
  'throws at import',
  'refuses its settings',
  'throws in start',
  'dies in its probation',
] as const;
export type Breakage = (typeof BREAKAGES)[number];

/** Those that are found before anything is handed over. */
export function isFoundBefore(breakage: Breakage): boolean {
  return breakage !== 'throws in start' && breakage !== 'dies in its probation';
}

/**
 * A feed that numbers its messages by the clock, ten a millisecond, and lets a reader begin where it
 * likes: whoever starts catches up with what was due meanwhile. The cursor is in `ctx.state`.
 */
export function feederText(version: number, breakage?: Breakage): string {
  const start = feederStart(breakage);
  return `import { defineBgWorker, z } from 'mkts/sdk';
${breakage === 'imports what is not there' ? "import { gone } from './gone.ts'; gone();" : ''}
${breakage === 'throws at import' ? "throw new Error('broken at import');" : ''}
${breakage === 'does not parse' ? 'export const = ;' : ''}
export default defineBgWorker({
  name: 'fed', version: '${version}', api: 1,
  config: z.object({ originMs: z.number()${breakage === 'refuses its settings' ? ', more: z.string()' : ''} }),
  async start(ctx) {
    ${start}
  },
});
`;
}

function feederStart(breakage: Breakage | undefined): string {
  if (breakage === 'throws in start') return "throw new Error('broken in start');";
  const dies = breakage === 'dies in its probation';
  return `
    let next = Number(ctx.state.get('next') ?? 0);
    ${dies ? 'const endMs = ctx.clock.now() + 10;' : ''}
    for (;;) {
      const due = Math.floor((ctx.clock.now() - ctx.config.originMs) * ${MESSAGES_PER_SECOND / 1000});
      for (; next < due && !ctx.signal.aborted; next++) {
        const second = Math.floor(next / ${MESSAGES_PER_SECOND});
        await ctx.write('${FED_KEY}', {
          Epoch: [ctx.config.originMs / 1000 + second],
          Nanoseconds: [(next % ${MESSAGES_PER_SECOND}) * ${1e9 / MESSAGES_PER_SECOND}],
          Number: new Int32Array([next]),
        }, { variable: true, state: { next: next + 1 } });
      }
      ${dies ? "if (ctx.clock.now() > endMs) throw new Error('broken in probation');" : ''}
      await ctx.clock.sleep(1);
    }`;
}

/** Writes one row after the other, waits until it is committed, and notes how long the last one took. */
export const STEADY_TEXT: string = `import { defineBgWorker, z } from 'mkts/sdk';
export default defineBgWorker({
  name: 'steady', version: '1', api: 1, config: z.object({}),
  async start(ctx) {
    let micros = 0;
    for (;;) {
      const now = ctx.clock.now();
      const startedMs = performance.now();
      await ctx.write('${STEADY_KEY}', {
        Epoch: [Math.floor(now / 1000)], Nanoseconds: [(now % 1000) * 1e6], Micros: new Int32Array([micros]),
      }, { variable: true });
      await ctx.flush();
      micros = Math.round(1000 * (performance.now() - startedMs));
      await ctx.clock.sleep(1);
    }
  },
});
`;
