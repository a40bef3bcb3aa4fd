/**
 * `npm run faults`: runs every fault in both tiers, one after the other, prints what happened, and
 * writes it as a table into README.md between the two marks. Takes ten minutes; the machine
 * should have nothing else to do.
 */

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { FAULTS, type Fault, TIERS, type Tier } from './faults.ts';
import { type Observation, runFault } from './run-fault.ts';

const README = resolve(import.meta.dirname, '../../README.md');
const BEGIN = '<!-- faults: made by npm run faults -->';
const END = '<!-- faults: end -->';
const RUN = { quietMs: 1_000, faultMs: 1_500, clients: 4 };

interface Row {
  readonly fault: Fault;
  readonly tier: Tier;
  readonly seen: Observation | Error;
}

const only = process.argv[2];
const rows: Row[] = [];
for (const fault of FAULTS.filter(({ name }) => only === undefined || name.includes(only)))
  for (const tier of TIERS) {
    const seen = await observe(fault, tier);
    rows.push({ fault, tier, seen });
    process.stdout.write(`${lineOf({ fault, tier, seen })}\n`);
  }
if (only === undefined) {
  const text = readFileSync(README, 'utf8');
  const [head, rest] = text.split(BEGIN);
  const tail = rest?.split(END)[1];
  if (tail === undefined) throw new Error(`README.md has no ${BEGIN} … ${END}`);
  writeFileSync(README, `${head}${BEGIN}\n\n${table(rows)}\n\n${END}${tail}`);
}
process.exitCode = rows.some(({ seen }) => seen instanceof Error) ? 1 : 0;

async function observe(fault: Fault, tier: Tier): Promise<Observation | Error> {
  const directory = mkdtempSync(join(tmpdir(), 'mkts-faults-'));
  try {
    return await runFault(fault, tier, directory, RUN);
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error));
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

function table(all: readonly Row[]): string {
  return [
    '| behaviour | tier | what came of it | the kernel | ended after | works again after | query p99, quiet → during | commit p99 |',
    '|---|---|---|---|---|---|---|---|',
    ...all.map(lineOf),
  ].join('\n');
}

function lineOf({ fault, tier, seen }: Row): string {
  if (seen instanceof Error)
    return `| ${fault.name} | ${tier} | **not as promised**: ${seen.message.split('\n')[0]} | | | | | |`;
  const { code, kernelBackMs, endedMs, recoveredMs, quiet, during } = seen;
  const isEnded = fault.outcome === 'restarted' || fault.outcome === 'not started';
  const kernel =
    kernelBackMs === undefined
      ? 'unharmed'
      : `ended by V8, back after ${kernelBackMs.toFixed()} ms`;
  return `| ${[
    fault.name,
    tier,
    code === '' ? fault.outcome : `${fault.outcome}: ${code}`,
    kernel,
    isEnded ? milliseconds(endedMs) : '',
    fault.outcome === 'restarted' ? milliseconds(recoveredMs) : '',
    `${quiet.queryP99.toFixed(1)} → ${during.queryP99.toFixed(1)} ms`,
    `${quiet.commitP99.toFixed(1)} → ${during.commitP99.toFixed(1)} ms`,
  ].join(' | ')} |`;
}

function milliseconds(value: number | undefined): string {
  return value === undefined ? '' : `${value.toFixed()} ms`;
}
