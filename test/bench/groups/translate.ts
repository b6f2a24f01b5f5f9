/**
 * What hot code costs before it pays: translating a region and running it for the first time, per guest instruction in it.
 * The boot kernel runs in small slices, once interpreted and once translated; what the slices took longer in which
 * something was translated, and those right behind them, is the price.
 */
import type { BenchOptions, Figure } from '../figure.ts';
import { type EngineKind, loadKernel } from '../kernels.ts';
import { bootKernel } from './boot.ts';

const SLICE = 5000;
const SLICES = 2400;

interface Slice {
  readonly ns: number;
  /** Instructions translated so far. */
  readonly translated: number;
}

function runInSlices(engine: EngineKind): Slice[] {
  const cpu = loadKernel(bootKernel, 1000, engine);
  return Array.from({ length: SLICES }, () => {
    const start = performance.now();
    cpu.run(SLICE);
    return { ns: (performance.now() - start) * 1e6, translated: cpu.statistics().instructionsInTranslations };
  });
}

function nsPerInstruction(): number {
  const interpreted = runInSlices('interpret');
  const translated = runInSlices('translate');
  const translates = (i: number): boolean => i >= 0 && translated[i]!.translated > (translated[i - 1]?.translated ?? 0);
  let ns = 0;
  for (const [i, slice] of translated.entries()) if (translates(i) || translates(i - 1)) ns += slice.ns - interpreted[i]!.ns;
  return ns / translated.at(-1)!.translated;
}

export async function benchTranslate({ rounds }: BenchOptions): Promise<Figure[]> {
  const values = Array.from({ length: rounds }, nsPerInstruction);
  return [{ name: 'translation and first run, per instruction', unit: 'ns', values, goal: 5000, floor: 10_000 }];
}
