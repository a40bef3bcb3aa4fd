/**
 * The known word a misspelt one was meant to be: for keys of mkts.yml, names of commands, values of
 * a closed set. Pure.
 */

/** Edits (insert, remove, replace, swap of neighbours) past which a word is no longer "near". */
const DISTANCE_MAX = 3;

/**
 * The word of `known` that takes the fewest edits from `word`, if that is few for its length;
 * otherwise undefined. Case does not count.
 */
export function nearestWord(word: string, known: Iterable<string>): string | undefined {
  let nearest: string | undefined;
  // A short word is near to everything: at most a third of it may differ.
  let bound = Math.min(DISTANCE_MAX, Math.max(1, Math.floor(word.length / 3))) + 1;
  for (const candidate of known) {
    const distance = editDistance(word.toLowerCase(), candidate.toLowerCase());
    if (distance < bound) {
      bound = distance;
      nearest = candidate;
    }
  }
  return nearest;
}

/** `, did you mean 'x'?` or nothing. */
export function suggestion(word: string, known: Iterable<string>): string {
  const nearest = nearestWord(word, known);
  return nearest === undefined ? '' : `, did you mean '${nearest}'?`;
}

/** Edits that make `a` into `b`; two swapped neighbours count as one. */
export function editDistance(a: string, b: string): number {
  // Three rows of the table: the swap looks two rows back.
  let before: number[] = [];
  let above = Array.from({ length: b.length + 1 }, (_, column) => column);
  for (let row = 1; row <= a.length; row++) {
    const current = [row];
    for (let column = 1; column <= b.length; column++) {
      const replaced = at(above, column - 1) + (a[row - 1] === b[column - 1] ? 0 : 1);
      let least = Math.min(replaced, at(above, column) + 1, at(current, column - 1) + 1);
      const isSwap =
        row > 1 && column > 1 && a[row - 1] === b[column - 2] && a[row - 2] === b[column - 1];
      if (isSwap) least = Math.min(least, at(before, column - 2) + 1);
      current.push(least);
    }
    before = above;
    above = current;
  }
  return at(above, b.length);
}

function at(row: readonly number[], column: number): number {
  return row[column] ?? 0;
}
