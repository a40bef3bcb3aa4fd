/**
 * Which settings are secrets, and how they look when printed. Pure.
 *
 * Two nets: by name (`api_key: …` prints as ***) where a configuration is shown, and by value where
 * text of unknown origin is written (a log line, an URL in an error), see `hideSecrets`.
 */

/** A bare `key` names a bucket here, not a credential. */
const SECRET_NAME = /[a-z0-9_-]key|token|secret|password|auth/i;
export const MASK = '***';

/** Shorter values are not hidden in text: they would blot out half of every line. */
const HIDDEN_CHARACTERS_MIN = 6;

export function isSecretName(name: string): boolean {
  return SECRET_NAME.test(name);
}

/** A copy of plain data in which every text or number under a secret's name is `***`. */
export function maskSecrets(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(maskSecrets);
  if (typeof value !== 'object' || value === null) return value;
  const masked: Record<string, unknown> = {};
  for (const [name, inner] of Object.entries(value))
    masked[name] = isSecretName(name) ? maskLeaves(inner) : maskSecrets(inner);
  return masked;
}

/** The texts under a secret's name, anywhere in plain data. */
export function secretValues(value: unknown): readonly string[] {
  const found = new Set<string>();
  collect(value, false, found);
  return [...found];
}

/** Makes a function that replaces the given values wherever a text holds them. */
export function hideSecrets(values: readonly string[]): (text: string) => string {
  // Longest first: a value may be the beginning of another.
  const hidden = values
    .filter((value) => value.length >= HIDDEN_CHARACTERS_MIN)
    .flatMap((value) => [value, JSON.stringify(value).slice(1, -1), encodeURIComponent(value)])
    .sort((a, b) => b.length - a.length);
  const distinct = [...new Set(hidden)];
  return (text) => distinct.reduce((rest, value) => rest.replaceAll(value, MASK), text);
}

function maskLeaves(value: unknown): unknown {
  if (value === null || value === undefined || typeof value === 'boolean') return value;
  if (Array.isArray(value)) return value.map(maskLeaves);
  if (typeof value !== 'object') return MASK;
  return Object.fromEntries(
    Object.entries(value).map(([name, inner]) => [name, maskLeaves(inner)]),
  );
}

function collect(value: unknown, isSecret: boolean, found: Set<string>): void {
  if (typeof value === 'object' && value !== null) {
    for (const [name, inner] of Object.entries(value))
      collect(inner, isSecret || (!Array.isArray(value) && isSecretName(name)), found);
  } else if (isSecret && (typeof value === 'string' || typeof value === 'number')) {
    found.add(String(value));
  }
}
