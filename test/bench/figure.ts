/** What a bench measures: figures with their goals, as a table for people and as JSON. */

export interface Figure {
  readonly name: string;
  readonly unit: string;
  /** One a round. */
  readonly values: readonly number[];
  /** What it shall be, and what it must be; higher is better where the goal is above the floor, less is where there is none. */
  readonly goal?: number;
  readonly floor?: number;
}

/** What a group is told: how often to measure, and where to say what is missing. */
export interface BenchOptions {
  readonly rounds: number;
  readonly note: (line: string) => void;
}

export type Group = (options: BenchOptions) => Promise<Figure[]>;

export const median = (values: readonly number[]): number => values.toSorted((a, b) => a - b)[values.length >> 1]!;

export const geometricMean = (values: readonly number[]): number =>
  Math.exp(values.reduce((sum, value) => sum + Math.log(value), 0) / values.length);

type Verdict = 'goal' | 'floor' | 'BELOW' | '';

function verdictOf({ values, goal, floor }: Figure): Verdict {
  if (goal === undefined && floor === undefined) return '';
  // With a goal alone, it is a time.
  const isHigherBetter = floor !== undefined && goal !== undefined && goal > floor;
  const value = median(values);
  const reaches = (bound: number | undefined): boolean => bound !== undefined && (isHigherBetter ? value >= bound : value <= bound);
  return reaches(goal) ? 'goal' : reaches(floor) ? 'floor' : 'BELOW';
}

export const asJson = (figure: Figure): object => ({ ...figure, median: median(figure.values), verdict: verdictOf(figure) });

const written = (value: number | undefined): string =>
  value === undefined ? '' : value >= 100 || Number.isInteger(value) ? value.toFixed(0) : value.toPrecision(3);

export function printTable(title: string, figures: readonly Figure[]): string {
  const rows = [
    [title, 'median', '', 'goal', 'floor', 'reached'],
    ...figures.map((figure) => [
      figure.name,
      written(median(figure.values)),
      figure.unit,
      written(figure.goal),
      written(figure.floor),
      verdictOf(figure),
    ]),
  ];
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  const isNumber = [false, true, false, true, true, false];
  const line = (row: readonly string[]): string =>
    row
      .map((cell, column) => (isNumber[column] ? cell.padStart(widths[column]!) : cell.padEnd(widths[column]!)))
      .join('  ')
      .trimEnd();
  return `${rows.map(line).join('\n')}\n`;
}
