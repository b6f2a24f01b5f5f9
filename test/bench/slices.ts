/** How long a machine's guests take for what they do again and again: the median of the slices in which they run. */
import type { Machine } from '../../emulator/machine.ts';
import { runSlice } from '../../emulator/run.ts';
import { median } from './figure.ts';

/** The first ones, in which code is translated and compiled, do not count. */
const WARM_UP = 0.2;
const SLICE = 200_000;

/** Runs them to their end: nanoseconds for each of the `count` times, which take as many instructions as any other. */
export function nanosecondsEach(machine: Machine, count: number): number {
  const slices: { readonly instructions: number; readonly ms: number }[] = [];
  for (let isRunning = true, instructions = 0, ms = performance.now(); isRunning; ) {
    isRunning = runSlice(machine, SLICE).kind === 'running';
    const now = { instructions: machine.cpu.instructionCount, ms: performance.now() };
    slices.push({ instructions: now.instructions - instructions, ms: now.ms - ms });
    ({ instructions, ms } = now);
  }
  const perTime = machine.cpu.instructionCount / count;
  const counted = slices.slice(Math.ceil(slices.length * WARM_UP), -1);
  return median(counted.map(({ instructions, ms }) => (ms * 1e6 * perTime) / instructions));
}
