/**
 * The conformance suite's lines (guests/conformance/conform.h): read, compared with what the real Xen printed, counted by
 * hypercall. A difference that docs/differences.md lists is a listed one; conform_command.ts runs the guests and prints.
 */

/** One line of a suite's TAP: `ok 17 - call.sub_op: question -> answer`. */
export interface Check {
  /** `event_channel_op.send` */
  readonly call: string;
  /** `event_channel_op.send: port 9` */
  readonly question: string;
  readonly answer: string;
}

export type Verdict = 'agree' | 'listed' | 'differ';

export interface Comparison extends Omit<Check, 'answer'> {
  /** `memory as domU` */
  readonly where: string;
  readonly verdict: Verdict;
  /** undefined: it is not asked there. */
  readonly real: string | undefined;
  readonly here: string | undefined;
  /** Of a listed difference. */
  readonly reason?: string;
}

/** A row of docs/differences.md. */
export interface KnownDifference {
  /** `*` stands for any text. */
  readonly question: RegExp;
  readonly real: string;
  readonly here: string;
  readonly reason: string;
}

const CHECK = /^ok \d+ - (([\w.]+): .*) -> (.*)$/;

export function parseChecks(tap: string): Check[] {
  const checks: Check[] = [];
  for (const line of tap.split('\n')) {
    const match = CHECK.exec(line);
    if (match !== null) checks.push({ call: match[2]!, question: match[1]!, answer: match[3]! });
  }
  return checks;
}

/** The rows `| question | real Xen | here | reason |` whose first column is code. */
export function parseDifferences(markdown: string): KnownDifference[] {
  const known: KnownDifference[] = [];
  for (const line of markdown.split('\n')) {
    const cells = line.split('|').map((cell) => cell.trim());
    if (cells.length !== 6 || !cells[1]!.startsWith('`')) continue;
    const [question, real, here] = cells.slice(1, 4).map((cell) => cell.replace(/^`|`$/g, ''));
    const pattern = question!.split('*').map((text) => text.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&'));
    known.push({ question: new RegExp(`^${pattern.join('.*')}$`), real: real!, here: here!, reason: cells[4]! });
  }
  return known;
}

/** Check by check, in the order of the real Xen's; what only one of the two asks is a difference. */
export function compare(where: string, real: readonly Check[], here: readonly Check[], known: readonly KnownDifference[]): Comparison[] {
  const comparisons: Comparison[] = [];
  const asked = bySequence(here);
  const keys = sequence(real);
  for (const [i, { call, question, answer }] of real.entries()) {
    const other = asked.get(keys[i]!);
    asked.delete(keys[i]!);
    const row = { where, call, question, real: answer, here: other?.answer };
    if (answer === other?.answer) {
      comparisons.push({ ...row, verdict: 'agree' });
      continue;
    }
    const listed = known.find((difference) => difference.question.test(question) && isSame(difference, answer, other?.answer));
    comparisons.push(listed ? { ...row, verdict: 'listed', reason: listed.reason } : { ...row, verdict: 'differ' });
  }
  for (const { call, question, answer } of asked.values()) {
    comparisons.push({ where, call, question, verdict: 'differ', real: undefined, here: answer });
  }
  return comparisons;
}

const isSame = (known: KnownDifference, real: string, here: string | undefined): boolean => known.real === real && known.here === here;

/** The questions made unique: the same one may be asked again. */
function sequence(checks: readonly Check[]): string[] {
  const counts = new Map<string, number>();
  return checks.map(({ question }) => {
    const count = (counts.get(question) ?? 0) + 1;
    counts.set(question, count);
    return `${question}#${count}`;
  });
}

function bySequence(checks: readonly Check[]): Map<string, Check> {
  const keys = sequence(checks);
  return new Map(checks.map((check, i) => [keys[i]!, check]));
}

export interface Tally {
  calls: number;
  agree: number;
  listed: number;
  differ: number;
}

/** How many of each verdict, by hypercall, and all in all. */
export function tally(comparisons: readonly Comparison[]): { readonly hypercalls: ReadonlyMap<string, Tally>; readonly all: Tally } {
  const hypercalls = new Map<string, Tally>();
  const all = emptyTally();
  for (const { call, verdict } of comparisons) {
    const name = call.split('.')[0]!;
    const row = hypercalls.get(name) ?? emptyTally();
    hypercalls.set(name, row);
    for (const counts of [row, all]) {
      counts.calls++;
      counts[verdict]++;
    }
  }
  return { hypercalls: new Map([...hypercalls].sort(([a], [b]) => (a < b ? -1 : 1))), all };
}

const emptyTally = (): Tally => ({ calls: 0, agree: 0, listed: 0, differ: 0 });
