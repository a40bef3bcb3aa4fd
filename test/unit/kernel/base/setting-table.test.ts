import { expect, test } from 'vitest';
import { settingRows, settingTable } from '../../../../kernel/base/setting-table.ts';
import { z } from '../../../../plugins/sdk.ts';

function rowsOf(schema: z.ZodType): readonly (readonly string[])[] {
  const json: unknown = z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' });
  return settingRows(json).map((row) => [
    row.name,
    row.type,
    row.isRequired ? 'required' : (row.default ?? ''),
    row.meaning,
  ]);
}

test('the settings of a schema are its keys, with type, default and description', () => {
  const schema = z.object({
    symbols: z.array(z.string()).describe('What to follow.'),
    live: z.enum(['poll', 'stream']).default('poll'),
    count: z.int().min(1).max(300).optional(),
    rate: z.number().positive().default(5),
    any: z.int().default(0),
    url: z.url().default('https://a.example'),
    either: z.union([z.string(), z.array(z.string()), z.literal(3)]),
    deep: z.object({ a: z.boolean() }).optional(),
    parsed: z.unknown().transform(String).optional(),
  });
  expect(rowsOf(schema)).toEqual([
    ['symbols', 'list of text', 'required', 'What to follow.'],
    ['live', '`"poll"` or `"stream"`', '"poll"', ''],
    ['count', 'whole number, 1 to 300', '', ''],
    ['rate', 'number, more than 0', '5', ''],
    ['any', 'whole number', '0', ''],
    ['url', 'URL', '"https://a.example"', ''],
    ['either', 'text or list of text or `3`', 'required', ''],
    ['deep', 'map', '', ''],
    ['parsed', '', '', ''],
  ]);
});

test('a table is Markdown whatever stands in it; without settings it is a sentence', () => {
  const rows = [
    {
      name: 'a',
      type: 'text',
      isRequired: false,
      default: undefined,
      meaning: 'this | that\nor none',
    },
  ];
  expect(settingTable(rows)).toBe(
    '| setting | type | default | meaning |\n|---|---|---|---|\n| `a` | text |  | this \\| that or none |',
  );
  expect(settingTable(settingRows(undefined))).toBe('It has no settings.');
  expect(settingTable(settingRows({ type: 'string' }))).toBe('It has no settings.');
});
