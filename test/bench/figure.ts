/** What a bench measures: figures with their goals, as a table for people and as JSON. */

export interface Figure {
  readonly name: string;
  readonly unit: string;
  /** One a round. */
  readonly values: readonly number[];
  /** The same in the quietest slices of each round, where a run is looked at by slices. */
  readonly quietest?: readonly number[];
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

const least = (values: readonly number[] | undefined): number | undefined => values && Math.min(...values);

/** 'quiet': the goal in the quietest slices only. */
type Verdict = 'goal' | 'quiet' | 'floor' | 'BELOW' | '';

function verdictOf({ values, quietest, goal, floor }: Figure): Verdict {
  if (goal === undefined && floor === undefined) return '';
  // With a goal alone, it is a time.
  const isHigherBetter = floor !== undefined && goal !== undefined && goal > floor;
  const reaches = (value: number | undefined, bound: number | undefined): boolean =>
    value !== undefined && bound !== undefined && (isHigherBetter ? value >= bound : value <= bound);
  if (reaches(median(values), goal)) return 'goal';
  return reaches(least(quietest), goal) ? 'quiet' : reaches(median(values), floor) ? 'floor' : 'BELOW';
}

export const asJson = (figure: Figure): object => ({ ...figure, median: median(figure.values), verdict: verdictOf(figure) });

const written = (value: number | undefined): string =>
  value === undefined ? '' : value >= 100 || Number.isInteger(value) ? value.toFixed(0) : value.toPrecision(3);

const isNumber = (heading: string): boolean => ['median', 'quietest', 'goal', 'floor'].includes(heading);

export function printTable(title: string, figures: readonly Figure[]): string {
  const rows = [
    [title, 'median', 'quietest', '', 'goal', 'floor', 'reached'],
    ...figures.map((figure) => [
      figure.name,
      written(median(figure.values)),
      written(least(figure.quietest)),
      figure.unit,
      written(figure.goal),
      written(figure.floor),
      verdictOf(figure),
    ]),
  ];
  if (figures.every(({ quietest }) => quietest === undefined)) for (const row of rows) row.splice(2, 1);
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  const line = (row: readonly string[]): string =>
    row
      .map((cell, column) => (isNumber(rows[0]![column]!) ? cell.padStart(widths[column]!) : cell.padEnd(widths[column]!)))
      .join('  ')
      .trimEnd();
  return `${rows.map(line).join('\n')}\n`;
}
