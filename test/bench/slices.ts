/**
 * How long a machine's guests take for what they do again and again, by the slices in which they run: the median, and what
 * the quietest ones say, in which nobody else seems to have had the processor.
 */
import type { Machine } from '../../emulator/machine.ts';
import { runSlice } from '../../emulator/run.ts';
import { median } from './figure.ts';

/** The first ones, in which code is translated and compiled, do not count. */
const WARM_UP = 0.2;
const SLICE = 100_000;
/** The quietest are one of so many. */
const QUIETEST = 16;

export interface Nanoseconds {
  readonly median: number;
  /** The longest of the quietest slices. */
  readonly quietest: number;
}

/** Runs them to their end: nanoseconds for each of the `count` times, which take as many instructions as any other. */
export function nanosecondsEach(machine: Machine, count: number): Nanoseconds {
  const slices: { readonly instructions: number; readonly ms: number }[] = [];
  for (let isRunning = true, instructions = 0, ms = performance.now(); isRunning; ) {
    isRunning = runSlice(machine, SLICE).kind === 'running';
    const now = { instructions: machine.cpu.instructionCount, ms: performance.now() };
    slices.push({ instructions: now.instructions - instructions, ms: now.ms - ms });
    ({ instructions, ms } = now);
  }
  const perTime = machine.cpu.instructionCount / count;
  const counted = slices.slice(Math.ceil(slices.length * WARM_UP), -1);
  const values = counted.map(({ instructions, ms }) => (ms * 1e6 * perTime) / instructions).sort((a, b) => a - b);
  return { median: median(values), quietest: values[Math.floor(values.length / QUIETEST)]! };
}

/** As figures have it. */
export const inRounds = (runs: readonly Nanoseconds[]): { values: number[]; quietest: number[] } => ({
  values: runs.map(({ median }) => median),
  quietest: runs.map(({ quietest }) => quietest),
});
