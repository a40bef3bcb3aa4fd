/** The table of settings in a plugin's README.md, between two comments. Pure. */

const SECTION = /(<!-- settings:[^>]*-->\n)[\s\S]*?(<!-- \/settings -->)/;

/** The README with `table` in its place; as it was, if it has no place for one. */
export function withSettings(readme: string, table: string): string {
  return readme.replace(
    SECTION,
    (_all, open: string, close: string) => `${open}\n${table}\n\n${close}`,
  );
}
