/**
 * Somebody has begun to wait: which cpu should take it. Best an idle one, of those a core that is idle altogether, of those
 * where it ran last; then the busy one whose unit has the least right to go on.
 */
import { burnCredits } from './credit.ts';
import { CSCHED2_CREDIT_INIT, CSCHED2_RATELIMIT_TICKLE_TOLERANCE } from './parameters.ts';
import type { Cpu, State } from './state.ts';
import { CSFLAG_pinned, type Unit } from './unit.ts';

/** The cpu has to decide anew. */
export function tickleCpu({ host, cpus }: State, cpu: number): void {
  const { runqueue, siblings } = cpus[cpu]!;
  runqueue.markTickled(cpu, siblings);
  host.tickle(cpu);
}

/** `unit` was put into its queue. */
export function tickleFor(state: State, unit: Unit, now: number): void {
  const cpu = idleCpuFor(state, unit);
  const taker = cpu >= 0 ? cpu : busyCpuFor(state, unit, now);
  if (taker < 0) return;
  tickleCpu(state, taker);
  unit.tickledCpu = taker;
}

function idleCpuFor(state: State, unit: Unit): number {
  const { idle, tickled, smtIdle } = unit.runqueue!;
  const { cpu } = unit;
  if (idle.isEmpty) return -1;
  if ((unit.flags & CSFLAG_pinned) !== 0 && idle.has(cpu) && !tickled.has(cpu)) return cpu;
  const { maskScratch: mask } = state;
  for (let isSoft = unit.hasSoftAffinity; ; isSoft = false) {
    const affinity = isSoft ? state.affinityScratch.copy(unit.softAffinity).and(unit.hardAffinity) : unit.hardAffinity;
    if (state.parameters.smtPowerSavings) mask.copy(idle).andNot(smtIdle).and(affinity);
    else mask.copy(smtIdle).and(affinity);
    const core = mask.testOrCycle(cpu);
    if (core >= 0) return core;
    const thread = mask.copy(idle).andNot(tickled).and(affinity).testOrCycle(cpu);
    if (thread >= 0 || !isSoft) return thread;
  }
}

function busyCpuFor(state: State, unit: Unit, now: number): number {
  const { active, idle, tickled } = unit.runqueue!;
  const mask = state.maskScratch.select(active, idle, tickled, unit.hardAffinity);
  let best = -1;
  let bestScore = 0;
  if (mask.has(unit.cpu)) {
    const score = tickleScore(state, unit, state.cpus[unit.cpu]!, now);
    if (score > 0) {
      if (unit.softAffinity.has(unit.cpu)) return unit.cpu;
      best = unit.cpu;
      bestScore = score;
    }
    mask.delete(unit.cpu);
  }
  for (let cpu = mask.next(-1); cpu >= 0; cpu = mask.next(cpu)) {
    const score = tickleScore(state, unit, state.cpus[cpu]!, now);
    if (score > bestScore) {
      best = cpu;
      bestScore = score;
    }
  }
  return best;
}

/**
 * How much better it is that `unit` takes the cpu from who runs there, not above 0: not at all. What the soft affinities
 * say outweighs any credit.
 */
function tickleScore({ ratelimitNs, migrateResistance }: State, unit: Unit, cpu: Cpu, now: number): number {
  const { current } = cpu;
  if (current.isIdle || !isPreemptable(current, now, ratelimitNs)) return -1;
  burnCredits(cpu.runqueue, current, now);
  let score = unit.credit - current.credit - (unit.cpu === cpu.id ? 0 : migrateResistance);
  if (score > 0) {
    if (unit.softAffinity.has(cpu.id)) score += CSCHED2_CREDIT_INIT;
    if (!current.softAffinity.has(cpu.id)) score += CSCHED2_CREDIT_INIT;
  }
  return score;
}

const isPreemptable = (current: Unit, now: number, ratelimitNs: number): boolean =>
  ratelimitNs <= CSCHED2_RATELIMIT_TICKLE_TOLERANCE || now - current.stateEntryTime > ratelimitNs - CSCHED2_RATELIMIT_TICKLE_TOLERANCE;
