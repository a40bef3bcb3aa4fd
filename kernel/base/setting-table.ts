/**
 * The settings of a plugin as a table, from the JSON Schema of its `config`: what `inspect` prints
 * and what stands in a plugin's README. Pure. The descriptions of the schema are the documentation.
 */

export interface SettingRow {
  readonly name: string;
  /** 'list of text', '`a` or `b`', 'whole number, 1 to 300'. */
  readonly type: string;
  readonly isRequired: boolean;
  /** JSON; undefined: none. */
  readonly default: string | undefined;
  readonly meaning: string;
}

type JsonSchema = Readonly<Record<string, unknown>>;

const TYPES: Readonly<Record<string, string>> = {
  string: 'text',
  integer: 'whole number',
  number: 'number',
  boolean: 'true or false',
  object: 'map',
  null: 'nothing',
};

/** None for what is no JSON Schema of an object. */
export function settingRows(given: unknown): readonly SettingRow[] {
  const schema = schemaOf(given);
  const required = Array.isArray(schema.required) ? schema.required : [];
  return Object.entries(schemaOf(schema.properties)).map(([name, inner]) => {
    const property = schemaOf(inner);
    const hasDefault = Object.hasOwn(property, 'default');
    return {
      name,
      type: typeText(property),
      isRequired: required.includes(name) && !hasDefault,
      default: hasDefault ? JSON.stringify(property.default) : undefined,
      meaning: typeof property.description === 'string' ? property.description : '',
    };
  });
}

/** The rows as a Markdown table; without any, a sentence. */
export function settingTable(rows: readonly SettingRow[]): string {
  if (rows.length === 0) return 'It has no settings.';
  const cell = (text: string): string => text.replaceAll('|', '\\|').replaceAll('\n', ' ');
  return [
    '| setting | type | default | meaning |',
    '|---|---|---|---|',
    ...rows.map(({ name, type, isRequired, default: value, meaning }) => {
      const fallback = value === undefined ? '' : `\`${value}\``;
      const cells = [type, isRequired ? 'required' : fallback, meaning].map(cell);
      return `| \`${name}\` | ${cells.join(' | ')} |`;
    }),
  ].join('\n');
}

function typeText(schema: JsonSchema): string {
  if (Array.isArray(schema.enum)) return schema.enum.map(code).join(' or ');
  if ('const' in schema) return code(schema.const);
  const choices = schema.anyOf ?? schema.oneOf;
  if (Array.isArray(choices)) {
    const texts = choices.map((choice) => typeText(schemaOf(choice))).filter((text) => text !== '');
    return [...new Set(texts)].join(' or ');
  }
  if (schema.type === 'array') {
    const items = typeText(schemaOf(schema.items));
    return items === '' ? 'list' : `list of ${items}`;
  }
  const name = TYPES[String(schema.type)] ?? '';
  const format = schema.format === 'uri' ? 'URL' : name;
  return [format, boundsText(schema)].filter((text) => text !== '').join(', ');
}

function boundsText({ minimum, maximum, exclusiveMinimum, type }: JsonSchema): string {
  // zod bounds every whole number by what is exact; nobody needs to be told.
  const most = type === 'integer' && maximum === Number.MAX_SAFE_INTEGER ? undefined : maximum;
  const least = type === 'integer' && minimum === Number.MIN_SAFE_INTEGER ? undefined : minimum;
  if (least !== undefined && most !== undefined) return `${least} to ${most}`;
  if (least !== undefined) return `${least} or more`;
  if (exclusiveMinimum !== undefined) return `more than ${exclusiveMinimum}`;
  return most === undefined ? '' : `at most ${most}`;
}

function code(value: unknown): string {
  return `\`${JSON.stringify(value)}\``;
}

function schemaOf(value: unknown): JsonSchema {
  return typeof value === 'object' && value !== null ? (value as JsonSchema) : {};
}
