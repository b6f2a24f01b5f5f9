/**
 * Moving units between runqueues: at each end of an epoch a runqueue compares itself with the one whose load is farthest
 * from its own, and gives it a unit, takes one, or swaps two, whatever makes the loads most alike.
 */
import { loadTime, updateLoad, updateRunqueueLoad, updateUnitLoad } from './load.ts';
import { nextCpuOf } from './placement.ts';
import type { Runqueue } from './runqueue.ts';
import type { State } from './state.ts';
import { tickleCpu, tickleFor } from './tickle.ts';
import { CSFLAG_runq_migrate_request, CSFLAG_scheduled, type Unit } from './unit.ts';

export function balanceLoad(state: State, own: Runqueue, now: number): void {
  const time = loadTime(now);
  updateRunqueueLoad(state, own, 0, time);
  const { runqueues } = state;
  let other: Runqueue | undefined;
  let difference = 0;
  for (const runqueue of runqueues) {
    if (runqueue === own) continue;
    updateRunqueueLoad(state, runqueue, 0, time);
    const distance = Math.abs(own.balanceAvgload - runqueue.balanceAvgload);
    if (distance > difference) {
      difference = distance;
      other = runqueue;
    }
  }
  if (other === undefined || difference < tolerance(state, own, runqueues[runqueues.length - 1]!)) return;
  const { push, pull } = bestSwap(state, own, other, difference, time);
  if (push !== undefined) migrate(state, push, other, now);
  if (pull !== undefined) migrate(state, pull, own, now);
}

/** As Xen does it: whether cpus are in full use is asked of the last runqueue, whichever the load is farthest from. */
function tolerance({ parameters, loadOne }: State, own: Runqueue, last: Runqueue): number {
  const { loadPrecisionShift, balanceUnder, balanceOver } = parameters;
  const load = Math.max(own.balanceAvgload, last.balanceAvgload);
  const isUnderUse = load < Math.max(own.cpuCount, last.cpuCount) * loadOne;
  return 2 ** (loadPrecisionShift + (isUnderUse ? balanceUnder : balanceOver));
}

/** The first of those that leave the smallest difference, which is below `difference`. */
function bestSwap(state: State, own: Runqueue, other: Runqueue, difference: number, time: number) {
  let push: Unit | undefined;
  let pull: Unit | undefined;
  let least = difference;
  const consider = (given: Unit | undefined, taken: Unit | undefined) => {
    const moved = (given?.avgload ?? 0) - (taken?.avgload ?? 0);
    const distance = Math.abs(own.balanceAvgload - other.balanceAvgload - 2 * moved);
    if (distance >= least) return;
    least = distance;
    push = given;
    pull = taken;
  };
  let areOthersUpdated = false;
  for (const given of own.units) {
    updateUnitLoad(state, given, 0, time);
    if (!canMigrate(given, other)) continue;
    for (const taken of other.units) {
      if (!areOthersUpdated) updateUnitLoad(state, taken, 0, time);
      if (canMigrate(taken, own)) consider(given, taken);
    }
    areOthersUpdated = true;
    consider(given, undefined);
  }
  for (const taken of other.units) if (canMigrate(taken, own)) consider(undefined, taken);
  return { push, pull };
}

const canMigrate = (unit: Unit, to: Runqueue): boolean =>
  (unit.flags & CSFLAG_runq_migrate_request) === 0 && unit.hardAffinity.intersects(to.active);

/** One that runs is moved once it has left its cpu. */
export function migrate(state: State, unit: Unit, to: Runqueue, now: number): void {
  if ((unit.flags & CSFLAG_scheduled) !== 0) {
    unit.migrateTo = to;
    unit.isMigrating = true;
    unit.flags |= CSFLAG_runq_migrate_request;
    tickleCpu(state, unit.cpu);
    return;
  }
  const from = unit.runqueue!;
  const isWaiting = unit.isQueued;
  if (isWaiting) {
    from.remove(unit);
    updateLoad(state, from, undefined, -1, now);
  }
  from.deassign(unit);
  unit.cpu = nextCpuOf(state, unit, to);
  to.assign(unit);
  if (isWaiting) {
    updateLoad(state, to, undefined, 1, now);
    to.insert(unit);
    tickleFor(state, unit, now);
  }
}
