/** The interpreter alone: the kernels, and cold mixes of instructions with unpredictable branches. */
import { runColdMix } from '../cold_mix.ts';
import { type BenchOptions, type Figure, geometricMean } from '../figure.ts';
import { runHere } from '../kernels.ts';
import { cpuKernels } from './cpu.ts';

const KERNEL_BOUNDS = { goal: 400, floor: 200 };
const MIX_BOUNDS = { goal: 150, floor: 80 };

export async function benchInterpreter({ rounds }: BenchOptions): Promise<Figure[]> {
  const byKernel = cpuKernels.map(({ name }): { name: string; values: number[] } => ({ name, values: [] }));
  const mixes = [2000, 20_000].map((count) => ({ count, values: [] as number[] }));
  // V8 compiles the loop once more in the background while it runs: these runs do not count.
  for (const kernel of cpuKernels.slice(0, 2)) runHere(kernel, kernel.short, 'interpret');
  for (const { count } of mixes) runColdMix(count);
  for (let i = 0; i < rounds; i++) {
    for (const [number, kernel] of cpuKernels.entries()) {
      const { instructions, seconds } = runHere(kernel, kernel.short, 'interpret');
      byKernel[number]!.values.push(instructions / seconds / 1e6);
    }
    for (const mix of mixes) mix.values.push(runColdMix(mix.count));
  }
  const means = Array.from({ length: rounds }, (_, i) => geometricMean(byKernel.map(({ values }) => values[i]!)));
  return [
    ...byKernel.map((kernel): Figure => ({ ...kernel, unit: 'MIPS' })),
    { name: 'geometric mean of the kernels', unit: 'MIPS', values: means, ...KERNEL_BOUNDS },
    ...mixes.map(({ count, values }): Figure => ({ name: `cold mix of ${count} instructions`, unit: 'MIPS', values, ...MIX_BOUNDS })),
  ];
}
