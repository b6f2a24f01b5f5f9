/**
 * When code is hot: programs from their first instruction to their last, with other numbers of instructions between two
 * looks at what runs. A page is translated after some looks (regions.ts), so seldom ones translate late and often ones in
 * vain; the default is SAMPLE_INSTRUCTIONS.
 */
import { type BenchOptions, type Figure, geometricMean } from '../figure.ts';
import { runHere } from '../kernels.ts';
import { bootKernel } from './boot.ts';
import { cpuKernels } from './cpu.ts';

const INTERVALS = [1000, 3000, 10_000, 30_000, 100_000];
/** Of a run that ends before much of it is hot. */
const BOOT_ROUNDS = 30,
  KERNEL_ROUNDS = 1;

export async function benchHotness({ rounds }: BenchOptions): Promise<Figure[]> {
  const figures = INTERVALS.map((interval) => ({ interval, boot: [] as number[], kernels: [] as number[] }));
  for (let i = 0; i < rounds; i++) {
    for (const { interval, boot, kernels } of figures) {
      const mips = (run: { instructions: number; seconds: number }): number => run.instructions / run.seconds / 1e6;
      boot.push(mips(runHere(bootKernel, BOOT_ROUNDS, 'translate', interval)));
      kernels.push(geometricMean(cpuKernels.map((kernel) => mips(runHere(kernel, KERNEL_ROUNDS, 'translate', interval)))));
    }
  }
  const unit = 'MIPS';
  return [
    ...figures.map(({ interval, boot }): Figure => ({ name: `boot-like code, a look every ${interval} instructions`, unit, values: boot })),
    ...figures.map(({ interval, kernels }): Figure => ({ name: `one round of each kernel, every ${interval}`, unit, values: kernels })),
  ];
}
