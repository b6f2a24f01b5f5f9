/**
 * Loads as averages over a sliding window of time, in fixed point: each sample counts for the share of the window that it
 * lasted, and the average so far for the rest. Of runqueues (units that run or wait) and of units (0 or 1).
 */
import { LOADAVG_GRANULARITY } from './parameters.ts';
import type { Runqueue } from './runqueue.ts';
import type { State } from './state.ts';
import type { Unit } from './unit.ts';

/** In the unit in which loads are sampled. */
export const loadTime = (now: number): number => Math.floor(now / LOADAVG_GRANULARITY);

/** What a unit begins with: half. */
export const initialLoad = ({ loadOne }: State): number => loadOne / 2;

/** Before the unit's load changes by `change`: 1 when it begins to want a cpu, -1 when it ceases to, 0 for an account in between. */
export function updateLoad(state: State, runqueue: Runqueue, unit: Unit | undefined, change: number, now: number): void {
  const time = loadTime(now);
  // Mostly none has passed.
  if (time === runqueue.loadLastUpdate) runqueue.load += change;
  else updateRunqueueLoad(state, runqueue, change, time);
  if (unit !== undefined && time !== unit.loadLastUpdate) updateUnitLoad(state, unit, change, time);
}

/** `time`: as loads are sampled. */
export function updateRunqueueLoad({ loadOne, loadWindow }: State, runqueue: Runqueue, change: number, time: number): void {
  const sample = runqueue.load * loadOne;
  const span = time - runqueue.loadLastUpdate;
  runqueue.avgload = average(runqueue.avgload, sample, span, loadWindow);
  runqueue.balanceAvgload = average(runqueue.balanceAvgload, sample, span, loadWindow);
  runqueue.load += change;
  runqueue.loadLastUpdate = time;
}

export function updateUnitLoad({ loadOne, loadWindow }: State, unit: Unit, change: number, time: number): void {
  const wanted = change < 0 || (change === 0 && unit.isRunnable);
  unit.avgload = average(unit.avgload, wanted ? loadOne : 0, time - unit.loadLastUpdate, loadWindow);
  unit.loadLastUpdate = time;
}

/** `sample` lasted for `span`; time that went backwards counts as none. */
function average(before: number, sample: number, span: number, window: number): number {
  if (span > window) return sample;
  if (span <= 0) return before;
  const perWindow = 1 / window;
  return before + share(span, sample, window, perWindow) - share(span, before, window, perWindow);
}

/** floor(span * value / window), exact although the product may have more than 53 bits: the window is a power of two. */
function share(span: number, value: number, window: number, perWindow: number): number {
  const whole = Math.floor(value * perWindow);
  return span * whole + Math.floor(span * (value - whole * window) * perWindow);
}
