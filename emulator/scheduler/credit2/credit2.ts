/**
 * Credit2, Xen 4.17's default scheduler (xen:common/sched/credit2.c, docs/scheduler.md), as pure code: it knows units and
 * cpus, and of the machine only what SchedulerHost offers. The run loop's part of the bargain:
 *
 * - `schedule(cpu)` whenever the cpu was tickled, the time of its last decision is over, or its unit yielded, or blocked and
 *   was not woken before its cpu came to that;
 * - when another unit ran there before, `contextSaved` of that one once its registers are saved, at the same instant;
 * - a unit's runstate as it is switched out is blocked, or else runnable if `isRunnable` says so, or else offline.
 */
import { type Affinity, changeAffinity, finishMigration } from './affinity.ts';
import { arrangeRunqueues } from './arrangement.ts';
import { balanceLoad } from './balance.ts';
import { candidate } from './candidate.ts';
import { grabBudget, returnBudget, setCap, stopReplenishing, unpark } from './cap.ts';
import { burnCredits, resetCredit, runtime } from './credit.ts';
import { dump } from './dump.ts';
import type { SchedulerHost } from './host.ts';
import { initialLoad, loadTime, updateLoad } from './load.ts';
import {
  CSCHED2_CREDIT_INIT,
  CSCHED2_CREDIT_RESET,
  CSCHED2_DEFAULT_WEIGHT,
  CSCHED2_MIGRATE_COMPENSATION,
  type Parameters,
  XEN_SYSCTL_SCHED_RATELIMIT_MAX,
  XEN_SYSCTL_SCHED_RATELIMIT_MIN,
} from './parameters.ts';
import { pickCpu } from './placement.ts';
import type { Runqueue } from './runqueue.ts';
import { type Cpu, createState, type State } from './state.ts';
import { tickleCpu, tickleFor } from './tickle.ts';
import type { Topology } from './topology.ts';
import { CreditDomain, CSFLAG_delayed_runq_add, CSFLAG_scheduled, CSFLAG_unit_yield, Unit } from './unit.ts';

/** What a cpu does next. */
export interface Decision<Owner> {
  /** Undefined: it is idle. */
  unit: Unit<Owner> | undefined;
  /** Nanoseconds until it has to decide again at the latest; -1: no need before it is tickled. */
  time: number;
  /** The unit ran on another cpu before. */
  migrated: boolean;
}

export class Credit2<Owner = unknown> {
  readonly topology: Topology;
  readonly #state: State;
  /** The answer to every question: a decision costs no allocation. */
  readonly #decision: Decision<Owner> = { unit: undefined, time: -1, migrated: false };

  constructor(topology: Topology, host: SchedulerHost, parameters: Partial<Parameters> = {}) {
    this.topology = topology;
    this.#state = createState(host, topology, parameters, arrangeRunqueues);
  }

  get parameters(): Parameters {
    return this.#state.parameters;
  }

  /** Without a cap, which `adjust` can give it once it has units. */
  addDomain(id: number, weight = CSCHED2_DEFAULT_WEIGHT): CreditDomain {
    const domain = new CreditDomain(id, weight);
    this.#state.domains.push(domain);
    return domain;
  }

  /** Its units are gone. */
  removeDomain(domain: CreditDomain): void {
    if (domain.units.length > 0) throw new Error(`bug: domain ${domain.id} leaves the scheduler with units`);
    stopReplenishing(this.#state, domain);
    this.#state.domains.splice(this.#state.domains.indexOf(domain), 1);
  }

  /** The unit does not run before `wake`. It may run everywhere unless `affinity` says otherwise. */
  addUnit(domain: CreditDomain, id: number, owner: Owner, affinity: Affinity = {}): Unit<Owner> {
    const state = this.#state;
    const { allCpus } = state;
    const unit = new Unit(owner, domain, id, allCpus.clone(), allCpus.clone(), CSCHED2_CREDIT_INIT);
    unit.avgload = initialLoad(state);
    unit.loadLastUpdate = loadTime(state.host.now());
    changeAffinity(state, unit, { hard: allCpus, ...affinity });
    domain.units.push(unit);
    unit.cpu = pickCpu(state, unit);
    state.cpus[unit.cpu]!.runqueue.assign(unit);
    return unit;
  }

  /** It runs nowhere: after `sleep` its cpu has decided anew. */
  removeUnit(unit: Unit<Owner>): void {
    if (unit.isRunning || unit.isQueued) throw new Error(`bug: unit ${unit.domain.id}.${unit.id} leaves the scheduler while it can run`);
    const { domain } = unit;
    domain.parked = domain.parked.filter((parked) => parked !== unit);
    domain.units.splice(domain.units.indexOf(unit), 1);
    unit.runqueue!.deassign(unit);
  }

  /** It has become ready to run: up, not blocked, not paused. */
  wake(unit: Unit<Owner>): void {
    unit.isReady = true;
    this.#wake(unit);
  }

  #wake(unit: Unit): void {
    const state = this.#state;
    if (!unit.isRunnable || unit.isQueued || state.cpus[unit.cpu]!.current === unit) return;
    if ((unit.flags & CSFLAG_scheduled) !== 0) {
      unit.flags |= CSFLAG_delayed_runq_add;
      return;
    }
    const now = state.host.now();
    updateLoad(state, unit.runqueue!, unit, 1, now);
    unit.runqueue!.insert(unit);
    tickleFor(state, unit, now);
  }

  /** It blocks itself on its cpu, which then calls `schedule` unless it is woken first. */
  block(unit: Unit<Owner>): void {
    unit.isReady = false;
  }

  /** Something else stops it: paused, taken down, destroyed. If it runs, its cpu is tickled. */
  sleep(unit: Unit<Owner>): void {
    unit.isReady = false;
    this.#sleep(unit);
  }

  #sleep(unit: Unit): void {
    const state = this.#state;
    if (state.cpus[unit.cpu]!.current === unit) {
      tickleCpu(state, unit.cpu);
    } else if (unit.isQueued) {
      updateLoad(state, unit.runqueue!, unit, -1, state.host.now());
      unit.runqueue!.remove(unit);
    } else {
      unit.flags &= ~CSFLAG_delayed_runq_add;
    }
  }

  /** It lets others go first, once, on its cpu, which then calls `schedule`. */
  yield(unit: Unit<Owner>): void {
    unit.flags |= CSFLAG_unit_yield;
  }

  /** Who runs on `cpu` from now on, in an object that the next decision overwrites. */
  schedule(cpuId: number, now: number): Decision<Owner> {
    const state = this.#state;
    const cpu = state.cpus[cpuId]!;
    const { runqueue, current, siblings } = cpu;
    runqueue.clearTickled(cpuId, siblings);
    burnCredits(runqueue, current, now);
    if (current.budget <= 0) grabBudget(state, current);

    const next = candidate(state, cpu, now);
    let inflightCredit = 0;
    if (next !== current && !current.isIdle && current.isRunnable) {
      current.flags |= CSFLAG_delayed_runq_add;
      inflightCredit = current.credit;
    }
    let migrated = false;
    if (next.isIdle) {
      runqueue.markIdle(cpuId, siblings);
      updateLoad(state, runqueue, undefined, 0, now);
    } else {
      migrated = this.#takeOver(cpu, next, now);
    }
    const decision = this.#decision;
    decision.unit = next.isIdle ? undefined : (next as Unit<Owner>);
    decision.time = runtime(state, runqueue, next, inflightCredit, now);
    decision.migrated = migrated;
    if (next !== current) {
      next.isRunning = true;
      next.stateEntryTime = now;
      cpu.current = next;
    }
    return decision;
  }

  /** `next` runs on `cpu`: whether it ran elsewhere before. */
  #takeOver(cpu: Cpu, next: Unit, now: number): boolean {
    const state = this.#state;
    const { runqueue } = cpu;
    if (next === cpu.current) {
      updateLoad(state, runqueue, next, 0, now);
    } else {
      runqueue.remove(next);
      next.flags |= CSFLAG_scheduled;
    }
    runqueue.clearIdle(cpu.id, cpu.siblings);
    const { first } = runqueue;
    if (next.credit <= CSCHED2_CREDIT_RESET && (first === undefined || first.credit <= CSCHED2_CREDIT_RESET)) {
      resetCredit(state, runqueue, next, now);
      balanceLoad(state, runqueue, now);
    }
    next.startTime = now;
    next.tickledCpu = -1;
    if (next.cpu === cpu.id) return false;
    next.credit += CSCHED2_MIGRATE_COMPENSATION;
    next.cpu = cpu.id;
    return true;
  }

  /** The unit has left its cpu: it may be queued and run elsewhere. */
  contextSaved(unit: Unit<Owner>, now: number): void {
    const state = this.#state;
    unit.isRunning = false;
    unit.flags &= ~CSFLAG_scheduled;
    const mayUnpark = returnBudget(unit);
    const isWanted = (unit.flags & CSFLAG_delayed_runq_add) !== 0 && unit.isRunnable;
    unit.flags &= ~CSFLAG_delayed_runq_add;
    if (isWanted) {
      unit.runqueue!.insert(unit);
      tickleFor(state, unit, now);
    } else {
      updateLoad(state, unit.runqueue!, unit, -1, now);
    }
    if (mayUnpark) unpark(state, unit.domain);
    if (finishMigration(state, unit)) this.#wake(unit);
  }

  /** EINVAL: the hard affinity has no cpu that exists. */
  setAffinity(unit: Unit<Owner>, affinity: Affinity): 'EINVAL' | undefined {
    const state = this.#state;
    if (affinity.hard !== undefined && !affinity.hard.intersects(state.allCpus)) return 'EINVAL';
    changeAffinity(state, unit, affinity);
    unit.isMigrating = true;
    this.#sleep(unit);
    if (finishMigration(state, unit)) this.#wake(unit);
    return undefined;
  }

  /** What is left out stays. EINVAL: a cap beyond what the domain's units could use; the weight is set all the same. */
  adjust(domain: CreditDomain, { weight = domain.weight, cap = domain.cap }: { weight?: number; cap?: number }): 'EINVAL' | undefined {
    const oldWeight = domain.weight;
    domain.weight = weight;
    for (const unit of domain.units) {
      unit.weight = weight;
      unit.runqueue!.updateMaxWeight(weight, oldWeight);
    }
    return setCap(this.#state, domain, cap);
  }

  get ratelimitUs(): number {
    return this.#state.ratelimitNs / 1000;
  }

  /** 0: no limit. EINVAL: neither that nor in what XEN_SYSCTL_scheduler_op allows. */
  setRatelimit(us: number): 'EINVAL' | undefined {
    if (us !== 0 && (us < XEN_SYSCTL_SCHED_RATELIMIT_MIN || us > XEN_SYSCTL_SCHED_RATELIMIT_MAX)) return 'EINVAL';
    this.#state.ratelimitNs = us * 1000;
    return undefined;
  }

  /** Who runs on `cpu`; undefined: nobody. */
  current(cpu: number): Unit<Owner> | undefined {
    const { current } = this.#state.cpus[cpu]!;
    return current.isIdle ? undefined : (current as Unit<Owner>);
  }

  /** To look at. */
  get runqueues(): readonly Runqueue[] {
    return this.#state.runqueues;
  }

  /** What debug key `r` prints. */
  dump(): string[] {
    return dump(this.#state);
  }
}
