/**
 * Loads as averages over a sliding window of time, in fixed point: each sample counts for the share of the window that it
 * lasted, and the average so far for the rest. Of runqueues (units that run or wait) and of units (0 or 1).
 */
import { LOADAVG_GRANULARITY_SHIFT } from './parameters.ts';
import type { Runqueue } from './runqueue.ts';
import type { State } from './state.ts';
import type { Unit } from './unit.ts';

/** In the unit in which loads are sampled. */
export const loadTime = (now: number): number => Math.floor(now / 2 ** LOADAVG_GRANULARITY_SHIFT);

/** What a unit begins with: half. */
export const initialLoad = ({ parameters }: State): number => 2 ** (parameters.loadPrecisionShift - 1);

/** Before the unit's load changes by `change`: 1 when it begins to want a cpu, -1 when it ceases to, 0 for an account in between. */
export function updateLoad(state: State, runqueue: Runqueue, unit: Unit | undefined, change: number, now: number): void {
  updateRunqueueLoad(state, runqueue, change, now);
  if (unit !== undefined) updateUnitLoad(state, unit, change, now);
}

export function updateRunqueueLoad({ parameters }: State, runqueue: Runqueue, change: number, now: number): void {
  const time = loadTime(now);
  const window = 2 ** (parameters.loadWindowShift - LOADAVG_GRANULARITY_SHIFT);
  const sample = runqueue.load * 2 ** parameters.loadPrecisionShift;
  runqueue.avgload = average(runqueue.avgload, sample, time - runqueue.loadLastUpdate, window);
  runqueue.balanceAvgload = average(runqueue.balanceAvgload, sample, time - runqueue.loadLastUpdate, window);
  runqueue.load += change;
  runqueue.loadLastUpdate = time;
}

export function updateUnitLoad({ parameters }: State, unit: Unit, change: number, now: number): void {
  const time = loadTime(now);
  const window = 2 ** (parameters.loadWindowShift - LOADAVG_GRANULARITY_SHIFT);
  const load = change === 0 ? Number(unit.isRunnable) : change < 0 ? 1 : 0;
  const sample = load * 2 ** parameters.loadPrecisionShift;
  unit.avgload = average(unit.avgload, sample, time - unit.loadLastUpdate, window);
  unit.loadLastUpdate = time;
}

/** `sample` lasted for `span`; time that went backwards counts as none. */
function average(before: number, sample: number, span: number, window: number): number {
  if (span > window) return sample;
  if (span <= 0) return before;
  return before + share(span, sample, window) - share(span, before, window);
}

/** floor(span * value / window), exact although the product may have more than 53 bits. */
function share(span: number, value: number, window: number): number {
  const whole = Math.floor(value / window);
  return span * whole + Math.floor((span * (value - whole * window)) / window);
}
