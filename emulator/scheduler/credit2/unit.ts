/**
 * What Credit2 schedules: a unit is one vCPU, and belongs to a domain, which has the weight and the cap. The fields of the
 * first group are what scheduler and run loop share; the rest is the scheduler's own.
 */
import type { CpuMask } from './cpu_mask.ts';
import type { HostTimer } from './host.ts';
import type { Runqueue } from './runqueue.ts';

/** Bits of Unit.flags, as debug key `r` prints them. */
export const CSFLAG_scheduled = 1 << 1;
export const CSFLAG_delayed_runq_add = 1 << 2;
export const CSFLAG_runq_migrate_request = 1 << 3;
export const CSFLAG_unit_yield = 1 << 4;
export const CSFLAG_pinned = 1 << 5;

/** Bits of what keeps a unit from running. */
const NOT_READY = 1,
  PARKED = 2,
  MIGRATING = 4;

/** Of a domain without a cap, Xen's STIME_MAX. */
export const NO_BUDGET_LIMIT = Number.POSITIVE_INFINITY;

export class CreditDomain {
  readonly id: number;
  readonly units: Unit[] = [];
  weight: number;
  /** Percent of one cpu; 0: none. */
  cap = 0;
  /** Nanoseconds for all units in a period; what is left for them to take; when the next period begins. */
  totalBudget = 0;
  budget = 0;
  nextReplenishment = 0;
  replenishTimer: HostTimer | undefined;
  /** Units that wait for budget, the last one to be parked first. */
  parked: Unit[] = [];

  constructor(id: number, weight: number) {
    this.id = id;
    this.weight = weight;
  }
}

export class Unit<Owner = unknown> {
  /** The run loop's vCPU. */
  readonly owner: Owner;
  readonly domain: CreditDomain;
  readonly id: number;
  #obstacles = NOT_READY;
  /** On a cpu, from the decision for it until contextSaved. */
  isRunning = false;
  /** Where it runs, ran last or is to run first. */
  cpu = 0;
  /** Since when it has run, if it runs. */
  stateEntryTime = 0;
  readonly hardAffinity: CpuMask;
  readonly softAffinity: CpuMask;
  /** Its soft affinity says more than its hard one and can be followed. */
  hasSoftAffinity = false;

  credit: number;
  weight: number;
  /** Of the last burn's division. */
  residual = 0;
  flags = 0;
  budget = NO_BUDGET_LIMIT;
  budgetQuota = 0;
  /** Until when its running is paid. */
  startTime = 0;
  avgload = 0;
  loadLastUpdate = 0;
  /** The cpu that was told to take it, -1: none. */
  tickledCpu = -1;
  runqueue: Runqueue | undefined;
  /** Where CSFLAG_runq_migrate_request wants it. */
  migrateTo: Runqueue | undefined;
  isQueued = false;
  /** Its neighbours in the queue. */
  previous: Unit | undefined;
  next: Unit | undefined;

  constructor(owner: Owner, domain: CreditDomain, id: number, affinity: CpuMask, softAffinity: CpuMask, credit: number) {
    this.owner = owner;
    this.domain = domain;
    this.id = id;
    this.hardAffinity = affinity;
    this.softAffinity = softAffinity;
    this.credit = credit;
    this.weight = domain.weight;
  }

  get isRunnable(): boolean {
    return this.#obstacles === 0;
  }

  /** As far as guest and toolstack go it may run: up, not blocked, not paused. Changed by wake, sleep and block only. */
  get isReady(): boolean {
    return (this.#obstacles & NOT_READY) === 0;
  }
  set isReady(value: boolean) {
    this.#set(NOT_READY, !value);
  }

  /** It waits for its domain's budget, or to be moved to another runqueue: not runnable either, so `offline` when switched out. */
  get isParked(): boolean {
    return (this.#obstacles & PARKED) !== 0;
  }
  set isParked(value: boolean) {
    this.#set(PARKED, value);
  }
  get isMigrating(): boolean {
    return (this.#obstacles & MIGRATING) !== 0;
  }
  set isMigrating(value: boolean) {
    this.#set(MIGRATING, value);
  }

  #set(obstacle: number, isThere: boolean): void {
    this.#obstacles = isThere ? this.#obstacles | obstacle : this.#obstacles & ~obstacle;
  }

  get isIdle(): boolean {
    return this.weight === 0;
  }

  get hasCap(): boolean {
    return this.budget !== NO_BUDGET_LIMIT;
  }
}
