/** Plugins that take all of the processor, the memory or the log: see fault-tests.ts. */

import { GREEDY, testFaults } from './fault-tests.ts';

testFaults((group) => GREEDY.has(group));
