#!/usr/bin/env node
/**
 * Where the process begins: is this Node new enough, and if so, what does the command line ask for?
 * No logic of its own.
 *
 * Order: the check of Node's version comes before everything else is imported, since on an old Node
 * importing it is what fails. Static imports run first whatever their place, hence there is one only,
 * of a file that imports nothing; `test/tidy.test.ts` holds it.
 */

import { nodeProblem } from './cli/node-version.ts';

const problem = nodeProblem(process.versions.node, process.execPath);
if (problem === undefined) {
  const { runCommandLine } = await import('./cli/program.ts');
  // Exit, and not wait for the last handle: a plugin that will not end must not keep a server that
  // has stopped from leaving.
  process.exit(await runCommandLine(process.argv.slice(2)));
} else {
  process.stderr.write(`Error: ${problem}\n`);
  process.exitCode = 1;
}
