/** Plugins that throw, reach for what they have not, or scribble over their ring: see fault-tests.ts. */

import { GREEDY, testFaults } from './fault-tests.ts';

testFaults((group) => !GREEDY.has(group));
