/** The recorded scenarios, and how two transcripts differ. */
import { readFileSync } from 'node:fs';

export interface Scenario {
  readonly name: string;
  readonly script: readonly string[];
  /** What the C library answered. */
  readonly transcript: readonly string[];
}

const golden = new URL('../../../test/golden/unicorn/', import.meta.url);
const read = (name: string): unknown => JSON.parse(readFileSync(new URL(name, golden), 'utf8'));

export const scenarios = read('scenarios.json') as readonly Scenario[];
/** By scenario, the lines in which ours is different: `-` theirs, `+` ours. */
export const readDifferences = (): Record<string, string[]> => read('differences.json') as Record<string, string[]>;
export const differencesFile = new URL('differences.json', golden);

/** Lines of `theirs` that `ours` lacks, and the other way round, in order (longest common subsequence). */
export function differ(theirs: readonly string[], ours: readonly string[]): string[] {
  const common = Array.from({ length: theirs.length + 1 }, () => new Array<number>(ours.length + 1).fill(0));
  for (let i = theirs.length - 1; i >= 0; i--)
    for (let j = ours.length - 1; j >= 0; j--)
      common[i]![j] = theirs[i] === ours[j] ? common[i + 1]![j + 1]! + 1 : Math.max(common[i + 1]![j]!, common[i]![j + 1]!);
  const lines: string[] = [];
  for (let i = 0, j = 0; i < theirs.length || j < ours.length; ) {
    if (theirs[i] !== undefined && theirs[i] === ours[j]) {
      i++;
      j++;
    } else if (j >= ours.length || (i < theirs.length && common[i + 1]![j]! >= common[i]![j + 1]!)) lines.push(`-${theirs[i++]}`);
    else lines.push(`+${ours[j++]}`);
  }
  return lines;
}
