/** The six kernels on both tiers, in alternation with QEMU. */
import { type BenchOptions, type Figure, geometricMean, median } from '../figure.ts';
import { hasQemu, type Kernel, QEMU_IS_MISSING, requireSame, runHere, runQemu } from '../kernels.ts';

interface CpuKernel extends Kernel {
  /** Rounds of the interpreter's run and of the short ones; of the long runs. */
  readonly short: number;
  readonly long: number;
}

/** In the order of kernels.c; an interpreted short run takes about a second, as does a long one. */
// biome-ignore format: one a line
export const cpuKernels: readonly CpuKernel[] = [
  { name: 'integer loop',    short: 12,  long: 500 },
  { name: 'sieve',           short: 12,  long: 120 },
  { name: 'CRC32',           short: 16,  long: 200 },
  { name: 'quicksort',       short: 4,   long: 25 },
  { name: 'recursive calls', short: 100, long: 700 },
  { name: 'SSE2 doubles',    short: 60,  long: 360 },
].map((kernel, number) => ({ ...kernel, number, image: 'kernels' }));

export async function benchCpu({ rounds, note }: BenchOptions): Promise<Figure[]> {
  if (!hasQemu) note(QEMU_IS_MISSING);
  const figures: Figure[] = [];
  const ratios = new Map<string, number>();
  for (const kernel of cpuKernels) {
    const { interpreted, translated, qemu } = await measure(kernel, rounds);
    figures.push(
      { name: `${kernel.name}, interpreted`, unit: 'MIPS', values: interpreted },
      { name: `${kernel.name}, translated`, unit: 'MIPS', values: translated },
    );
    if (!hasQemu) continue;
    const values = translated.map((mips, i) => mips / qemu[i]!);
    const bounds = kernel.name === 'SSE2 doubles' ? { goal: 2, floor: 1 } : { goal: 1, floor: 0.5 };
    figures.push(
      { name: `${kernel.name}, QEMU TCG`, unit: 'MIPS', values: qemu },
      { name: `${kernel.name}, translated / QEMU`, unit: 'x', values, ...bounds },
    );
    ratios.set(kernel.name, median(values));
  }
  ratios.delete('SSE2 doubles');
  if (ratios.size > 0) {
    figures.push({
      name: 'geometric mean of the five integer kernels / QEMU',
      unit: 'x',
      values: [geometricMean([...ratios.values()])],
      goal: 1,
      floor: 0.75,
    });
  }
  return figures;
}

/** MIPS. Translated and on QEMU they are of the difference of a long and a short run: the start is left out. */
async function measure(kernel: CpuKernel, rounds: number): Promise<Record<'interpreted' | 'translated' | 'qemu', number[]>> {
  const mips = { interpreted: [] as number[], translated: [] as number[], qemu: [] as number[] };
  for (let i = 0; i < rounds; i++) {
    const interpreted = runHere(kernel, kernel.short, 'interpret');
    mips.interpreted.push(interpreted.instructions / interpreted.seconds / 1e6);
    const [short, long] = [runHere(kernel, kernel.short, 'translate'), runHere(kernel, kernel.long, 'translate')];
    const instructions = long.instructions - short.instructions;
    mips.translated.push(instructions / (long.seconds - short.seconds) / 1e6);
    if (short.checksum !== interpreted.checksum) throw new Error(`${kernel.name}: the tiers disagree`);
    if (!hasQemu) continue;
    const [theirShort, theirLong] = [await runQemu(kernel, kernel.short), await runQemu(kernel, kernel.long)];
    requireSame(kernel, short, theirShort);
    requireSame(kernel, long, theirLong);
    mips.qemu.push(instructions / (theirLong.seconds - theirShort.seconds) / 1e6);
  }
  return mips;
}
