/** Who should have a cpu that decides: whoever runs there, the first in the queue who may and deserves it, or nobody. */
import { grabBudget } from './cap.ts';
import type { Cpu, State } from './state.ts';
import { CSFLAG_unit_yield, type Unit } from './unit.ts';

/** Nobody is the cpu's idle unit. */
export function candidate(state: State, cpu: Cpu, now: number): Unit {
  const { current, runqueue } = cpu;
  let best = current;
  let isYielding = false;
  if (!current.isIdle) {
    isYielding = (current.flags & CSFLAG_unit_yield) !== 0;
    current.flags &= ~CSFLAG_unit_yield;
    if (!isYielding && current.isRunnable && now - current.stateEntryTime < state.ratelimitNs) return current;
    if (!current.isRunnable || isBetterElsewhere(state, cpu)) best = cpu.idle;
  }
  const resistance = state.migrateResistance;
  for (let unit = runqueue.first, next: Unit | undefined; unit !== undefined; unit = next) {
    // A unit without budget is parked, and leaves the queue.
    next = unit.next;
    if (!isYielding && unit.credit <= best.credit) break;
    if (!unit.isRunnable || !unit.hardAffinity.has(cpu.id)) continue;
    // It is left for the cpu that was told to take it and will be there in a moment.
    if (unit.tickledCpu !== -1 && unit.tickledCpu !== cpu.id && runqueue.tickled.has(unit.tickledCpu)) continue;
    if (unit.cpu !== cpu.id && best.credit + resistance > unit.credit) continue;
    if (grabBudget(state, unit)) return unit;
  }
  return best;
}

/** Who runs prefers other cpus, one of which is free for it. */
function isBetterElsewhere({ maskScratch }: State, { id, current, runqueue }: Cpu): boolean {
  if (!current.hasSoftAffinity || current.softAffinity.has(id)) return false;
  maskScratch.copy(current.softAffinity).and(current.hardAffinity).andNot(runqueue.tickled);
  return maskScratch.intersects(runqueue.idle);
}
