/**
 * Where a worker thread's entry is: `.ts` in a checkout, `.js` in the published package. The
 * compiler rewrites import specifiers, but not the strings of `new URL(…)`.
 */

/**
 * `entry` is `new URL('./name.ts', import.meta.url)`. The caller's own file, to which it is
 * relative, tells the layout: compiled code starts compiled workers.
 */
export function workerEntry(entry: URL, caller: string): URL {
  return caller.endsWith('.ts') ? entry : new URL(entry.href.replace(/\.ts$/, '.js'));
}
