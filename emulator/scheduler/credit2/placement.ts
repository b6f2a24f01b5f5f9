/** Which runqueue a unit should belong to, and which of its cpus first: the least loaded, of those that it prefers if it can. */
import type { Runqueue } from './runqueue.ts';
import type { State } from './state.ts';
import { CSFLAG_runq_migrate_request, type Unit } from './unit.ts';

export function pickCpu(state: State, unit: Unit): number {
  const { hardAffinity } = unit;
  const { maskScratch: mask } = state;
  if ((unit.flags & CSFLAG_runq_migrate_request) !== 0) {
    unit.flags &= ~CSFLAG_runq_migrate_request;
    const target = unit.migrateTo!;
    if (hardAffinity.intersects(target.active)) return nextCpuOf(state, unit, target);
  }
  let least: Runqueue | undefined;
  let leastLoad = Number.POSITIVE_INFINITY;
  let leastPreferred: Runqueue | undefined;
  let leastPreferredLoad = Number.POSITIVE_INFINITY;
  for (const runqueue of state.runqueues) {
    if (!hardAffinity.intersects(runqueue.active)) continue;
    const own = runqueue === unit.runqueue ? unit.avgload : 0;
    const load = Math.max(runqueue.balanceAvgload - own, 0);
    if (unit.hasSoftAffinity && load < leastPreferredLoad) {
      if (mask.copy(hardAffinity).and(runqueue.active).intersects(unit.softAffinity)) {
        leastPreferred = runqueue;
        leastPreferredLoad = load;
      }
    }
    if (load < leastLoad) {
      least = runqueue;
      leastLoad = load;
    }
  }
  mask.copy(hardAffinity);
  if (leastPreferred !== undefined) mask.and(unit.softAffinity).and(leastPreferred.active);
  else mask.and(least!.active);
  // As Xen does it: the cpu may be of the preferred runqueue, the bias is the least loaded one's.
  least!.pickBias = mask.cycle(least!.pickBias);
  return least!.pickBias;
}

/** The cpu of `runqueue` that comes next, of those that the unit may use. */
export function nextCpuOf({ maskScratch }: State, unit: Unit, runqueue: Runqueue): number {
  runqueue.pickBias = maskScratch.copy(unit.hardAffinity).and(runqueue.active).cycle(runqueue.pickBias);
  return runqueue.pickBias;
}
