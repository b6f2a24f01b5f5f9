/** Where a unit may run (hard affinity) and would rather run (soft affinity), and moving it when that changes. */
import { migrate } from './balance.ts';
import type { CpuMask } from './cpu_mask.ts';
import { pickCpu } from './placement.ts';
import type { State } from './state.ts';
import { CSFLAG_pinned, type Unit } from './unit.ts';

export interface Affinity {
  readonly hard?: CpuMask;
  readonly soft?: CpuMask;
}

export function changeAffinity(state: State, unit: Unit, { hard, soft }: Affinity): void {
  if (hard !== undefined) {
    unit.hardAffinity.copy(hard).and(state.allCpus);
    if (hard.count === 1) unit.flags |= CSFLAG_pinned;
    else unit.flags &= ~CSFLAG_pinned;
  }
  if (soft !== undefined) unit.softAffinity.copy(soft);
  unit.hasSoftAffinity = isWorthFollowing(state, unit);
}

/** A soft affinity to all that it may use, or to none of it, says nothing. */
const isWorthFollowing = ({ allCpus }: State, { hardAffinity: hard, softAffinity: soft }: Unit): boolean =>
  !hard.isSubsetOf(soft) && soft.intersects(hard) && !allCpus.isSubsetOf(soft);

/** The unit, which was set aside to be moved, has left its cpu: it gets a new one, perhaps the same. False: nothing to do. */
export function finishMigration(state: State, unit: Unit): boolean {
  if (unit.isRunning || !unit.isMigrating) return false;
  const cpu = pickCpu(state, unit);
  const { runqueue } = state.cpus[cpu]!;
  if (runqueue === unit.runqueue) unit.cpu = cpu;
  else migrate(state, unit, runqueue, state.host.now());
  unit.isMigrating = false;
  return true;
}
