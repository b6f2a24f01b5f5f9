/**
 * Credits: a unit burns them as it runs, the faster the less its weight is against the greatest in its runqueue; when who
 * should run next has none left, everybody in the runqueue gets new ones.
 */
import { CSCHED2_CARRYOVER_MAX, CSCHED2_CREDIT_INIT, CSCHED2_CREDIT_MIN, CSCHED2_MAX_TIMER, CSCHED2_MIN_TIMER } from './parameters.ts';
import type { Runqueue } from './runqueue.ts';
import type { State } from './state.ts';
import { tickleCpu } from './tickle.ts';
import type { Unit } from './unit.ts';

/** Beyond this span the product with a weight of 16 bits has more than 53. */
const EXACT_SPAN = 2 ** 36;

/** The unit, which runs, pays for the time since it last did. */
export function burnCredits(runqueue: Runqueue, unit: Unit, now: number): void {
  const span = now - unit.startTime;
  if (unit.isIdle || span <= 0) return;
  const { weight } = unit;
  const { maxWeight } = runqueue;
  if (span < EXACT_SPAN) {
    let burnt = span;
    // Of the greatest weight it burns as many as nanoseconds, and leaves the residual as it is.
    if (weight !== maxWeight || unit.residual >= weight) {
      const value = span * maxWeight + unit.residual;
      burnt = Math.floor(value / weight);
      unit.residual = value - burnt * weight;
    }
    unit.credit = Math.max(unit.credit - burnt, CSCHED2_CREDIT_MIN);
  } else {
    unit.residual = ((span % weight) * maxWeight + unit.residual) % weight;
    unit.credit = CSCHED2_CREDIT_MIN;
  }
  unit.budget -= span;
  unit.startTime = now;
}

/** An epoch is over: `next` is to run and nobody who waits has credit left. The order of the queue stays. */
export function resetCredit(state: State, runqueue: Runqueue, next: Unit, now: number): void {
  const given = next.credit === CSCHED2_CREDIT_MIN ? 2 * CSCHED2_CREDIT_INIT : CSCHED2_CREDIT_INIT;
  const { units } = runqueue;
  for (let i = 0; i < units.length; i++) {
    const unit = units[i]!;
    if (state.cpus[unit.cpu]!.current === unit) {
      burnCredits(runqueue, unit, now);
      if (unit.budget <= 0) tickleCpu(state, unit.cpu);
    }
    unit.credit = Math.min(unit.credit + given, CSCHED2_CREDIT_INIT + CSCHED2_CARRYOVER_MAX);
    unit.startTime = now;
  }
}

/**
 * How long `next` may run until the next decision, -1: for ever, being idle. Until it has no more credit than the first who
 * waits, or who was just taken off the cpu with `inflightCredit` and is about to wait, or none at all.
 */
export function runtime({ ratelimitNs }: State, runqueue: Runqueue, next: Unit, inflightCredit: number, now: number): number {
  if (next.isIdle) return -1;
  const { first, maxWeight } = runqueue;
  const limit = next.isRunning ? next.stateEntryTime + ratelimitNs - now : ratelimitNs;
  const least = ratelimitNs > 0 && limit > CSCHED2_MIN_TIMER ? limit : CSCHED2_MIN_TIMER;
  let waiting = Math.max(inflightCredit, 0);
  if (first !== undefined && first.credit > waiting) waiting = first.credit;
  const credit = next.credit - waiting;
  const { weight, budget } = next;
  const span = credit <= 0 ? 0 : weight === maxWeight ? credit : Math.floor((credit * weight) / maxWeight);
  // As Xen does it: a rate limit above the longest time is not cut down to that.
  const affordable = Math.min(span, budget);
  return affordable < least ? least : Math.min(affordable, CSCHED2_MAX_TIMER);
}
