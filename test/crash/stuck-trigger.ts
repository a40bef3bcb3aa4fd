/** A trigger that never comes to an end of anything it is told. */

import { defineTrigger, type Trigger, z } from '../../plugins/sdk.ts';

const stuck: Trigger = defineTrigger({
  name: 'stuck-trigger',
  version: '1.0.0',
  api: 1,
  config: z.unknown(),
  fire(ctx, { key }) {
    ctx.log.info('told', { key });
    return new Promise(() => {});
  },
});

export default stuck;
