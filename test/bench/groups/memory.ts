/**
 * The engine's memory after a long run, in a process of its own: the boot kernel and, where it is installed, GRUB, both
 * translated and still there. What is resident, less the guests' RAM, which is all touched beforehand.
 */
import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { PhysicalMemory } from '../../../emulator/cpu/interface.ts';
import { GRUB, grubIsMissing } from '../../support/grub.ts';
import { GuestRun } from '../../support/guest_run.ts';
import type { BenchOptions, Figure } from '../figure.ts';
import { loadKernel } from '../kernels.ts';
import { bootKernel } from './boot.ts';

/** The argument with which the bench calls itself. */
export const MEMORY_RUN = 'memory-run';
const BOOT_ROUNDS = 60;
const GRUB_INSTRUCTIONS = 150_000_000;

export async function benchMemory({ rounds, note }: BenchOptions): Promise<Figure[]> {
  if (grubIsMissing) note(`${grubIsMissing}; the boot kernel runs alone`);
  const values = Array.from({ length: rounds }, () => {
    const printed = execFileSync(process.execPath, [fileURLToPath(import.meta.url), MEMORY_RUN], { encoding: 'utf8' });
    return Number(printed) / 1024 / 1024;
  });
  return [{ name: 'beside guest RAM', unit: 'MiB', values, goal: 150, floor: 300 }];
}

/** The bytes. */
export function memoryAfterLongRun(): number {
  const boot = loadKernel(bootKernel, BOOT_ROUNDS, 'translate');
  touch(boot.memory);
  while (boot.run(1e8).kind === 'budget');
  const held = [boot.memory.size];
  if (!grubIsMissing) {
    const grub = GuestRun.bootFile(GRUB, { engine: 'translate' });
    touch(grub.machine.cpu.memory);
    grub.trace.length = 0;
    for (let i = 0; grub.instructions < GRUB_INSTRUCTIONS; i++) {
      grub.type(i % 2 ? 'help\n' : 'ls; set; echo $prefix\n');
      grub.run({ limit: 5_000_000 });
      grub.trace.length = 0;
    }
    held.push(grub.machine.cpu.memory.size);
  }
  return process.memoryUsage.rss() - held.reduce((sum, size) => sum + size, 0);
}

function touch({ bytes }: PhysicalMemory): void {
  for (let i = 0; i < bytes.length; i += 4096) bytes[i] = bytes[i]!;
}
