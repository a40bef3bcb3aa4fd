import { expect, test } from 'vitest';
import { nodeProblem } from '../../../../kernel/cli/node-version.ts';

test('an old Node is answered in one line that names what is needed, what it is, and where', () => {
  const problem = nodeProblem('20.20.2', '/usr/bin/node');
  expect(problem).toBe(
    'mkts needs Node 22.18 or newer; this is Node 20.20.2 (/usr/bin/node) (MKTS_NODE_TOO_OLD)',
  );
});

test.each(['22.18.0', '22.19.3', '23.0.0', '24.21.0'])('Node %s will do', (version) => {
  expect(nodeProblem(version, 'node')).toBeUndefined();
});

test.each(['22.17.9', '18.0.0', '9.1.0', 'garbage'])('Node %s will not', (version) => {
  expect(nodeProblem(version, 'node')).toBeDefined();
});
