/** A trigger that throws whenever it is told of its own bucket, and says so for the others. */

import { defineTrigger, type Trigger, z } from '../../plugins/sdk.ts';

const trigger: Trigger = defineTrigger({
  name: 'culprit-trigger',
  version: '1.0.0',
  api: 1,
  config: z.object({}),
  async fire({ log }, { key }) {
    log.info('begins', { key });
    throw new Error('boom');
  },
});

export default trigger;
