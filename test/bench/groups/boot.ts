/**
 * Boot-like code: many regions, page-table switches, TLB pressure, faults, patched code. Whole runs are compared, from the
 * first instruction: translating code that will not be hot for long is part of it.
 */
import type { BenchOptions, Figure } from '../figure.ts';
import { hasQemu, type Kernel, QEMU_IS_MISSING, requireSame, runHere, runQemu } from '../kernels.ts';

export const bootKernel: Kernel = { name: 'boot', image: 'boot', number: 0 };
const ROUNDS = 100;

export async function benchBoot({ rounds, note }: BenchOptions): Promise<Figure[]> {
  if (!hasQemu) note(QEMU_IS_MISSING);
  const mips = { translated: [] as number[], qemu: [] as number[] };
  for (let i = 0; i < rounds; i++) {
    const run = runHere(bootKernel, ROUNDS, 'translate');
    mips.translated.push(run.instructions / run.seconds / 1e6);
    if (!hasQemu) continue;
    const theirs = await runQemu(bootKernel, ROUNDS);
    requireSame(bootKernel, run, theirs);
    mips.qemu.push(run.instructions / theirs.seconds / 1e6);
  }
  const ours: Figure = { name: 'translated', unit: 'MIPS', values: mips.translated };
  if (!hasQemu) return [ours];
  const ratios = mips.translated.map((value, i) => value / mips.qemu[i]!);
  return [
    ours,
    { name: 'QEMU TCG', unit: 'MIPS', values: mips.qemu },
    { name: 'translated / QEMU', unit: 'x', values: ratios, goal: 0.7, floor: 0.35 },
  ];
}
