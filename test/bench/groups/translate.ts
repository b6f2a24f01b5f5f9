/**
 * What hot code costs before it pays: finding the blocks of a region, translating and compiling them and running them for
 * the first time, per guest instruction translated. Pages of functions turn hot one after the other; what counts is the
 * whole time of the slices in which something was translated, and of those right behind them, in which all of it has run.
 * Each series has a process of its own: in the first pages the engine's own code is still cold, and is told apart.
 */
import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { makeFunctionPages } from '../cold_mix.ts';
import { type BenchOptions, type Figure, median } from '../figure.ts';

/** The argument with which the bench calls itself. */
export const TRANSLATE_RUN = 'translate-run';
const PAGES = 64;
/** Until so many regions have been made, the engine's own code is cold. */
const COLD_REGIONS = 100;
/** Instructions of a slice, about a round through a page; and slices of a page. */
const SLICE = 3000;
const SLICES = 640;

/** Of a page. */
interface Cost {
  ns: number;
  instructions: number;
}

export interface Series {
  readonly cold: readonly Cost[];
  readonly warm: readonly Cost[];
  readonly regions: number;
}

export function translateInPages(): Series {
  const { cpu, starts } = makeFunctionPages(PAGES, 'translate');
  const cold: Cost[] = [];
  const warm: Cost[] = [];
  for (const start of starts) {
    const cost: Cost = { ns: 0, instructions: 0 };
    (cpu.statistics().translations < COLD_REGIONS ? cold : warm).push(cost);
    let wasTranslating = false;
    cpu.rip = start;
    for (let i = 0; i < SLICES; i++) {
      const before = cpu.statistics().instructionsInTranslations;
      const begin = performance.now();
      const exit = cpu.run(SLICE);
      const ns = (performance.now() - begin) * 1e6;
      if (exit.kind !== 'budget') throw new Error(`functions ended with ${JSON.stringify(exit)} at ${cpu.rip.toString(16)}`);
      const made = cpu.statistics().instructionsInTranslations - before;
      if (made > 0 || wasTranslating) cost.ns += ns;
      cost.instructions += made;
      wasTranslating = made > 0;
    }
  }
  return { cold, warm, regions: cpu.statistics().translations };
}

export async function benchTranslate({ rounds, note }: BenchOptions): Promise<Figure[]> {
  const series = Array.from({ length: rounds }, (): Series => {
    return JSON.parse(execFileSync(process.execPath, [fileURLToPath(import.meta.url), TRANSLATE_RUN], { encoding: 'utf8' })) as Series;
  });
  const { cold, warm, regions } = series[0]!;
  note(`${regions} regions, ${instructionsOf(cold)} instructions in the first ${COLD_REGIONS}, ${instructionsOf(warm)} in the others`);
  return [
    {
      name: 'translation and first run, per instruction, median of pages',
      unit: 'ns',
      values: series.map((one) => median(one.warm.map((cost) => cost.ns / cost.instructions))),
      goal: 5000,
      floor: 10_000,
    },
    { name: 'mean of the same pages', unit: 'ns', values: series.map((one) => mean(one.warm)) },
    { name: `mean of the first ${COLD_REGIONS} regions of a process`, unit: 'ns', values: series.map((one) => mean(one.cold)) },
  ];
}

const instructionsOf = (pages: readonly Cost[]): number => pages.reduce((sum, { instructions }) => sum + instructions, 0);

const mean = (pages: readonly Cost[]): number => pages.reduce((sum, { ns }) => sum + ns, 0) / instructionsOf(pages);
