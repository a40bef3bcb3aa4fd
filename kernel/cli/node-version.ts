/**
 * Which Node this program needs. Imports nothing, and is written in the JavaScript of old Nodes: it
 * has to run where the rest does not load.
 */

const NEEDED_MAJOR = 22;
const NEEDED_MINOR = 18;

/** What is wrong with Node `version`, in one line; undefined if nothing. */
export function nodeProblem(version: string, executable: string): string | undefined {
  const parts = version.split('.').map(Number);
  const major = parts[0] || 0;
  const minor = parts[1] || 0;
  if (major > NEEDED_MAJOR || (major === NEEDED_MAJOR && minor >= NEEDED_MINOR)) return undefined;
  const needed = `${NEEDED_MAJOR}.${NEEDED_MINOR}`;
  return `mkts needs Node ${needed} or newer; this is Node ${version} (${executable}) (MKTS_NODE_TOO_OLD)`;
}
