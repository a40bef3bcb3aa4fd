/** A trigger that says what it is told of. */

import { defineTrigger, type Trigger, z } from '../../../plugins/sdk.ts';

const trigger: Trigger = defineTrigger({
  name: 'telling-trigger',
  version: '1.0.0',
  api: 1,
  config: z.object({}),
  async fire(ctx, { key }) {
    ctx.log.info('told', { key });
  },
});

export default trigger;
