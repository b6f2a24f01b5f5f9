/**
 * Caps. A capped domain has a budget of running time for each period; its units take what they need from it in portions,
 * give back what they do not use, and are parked while there is none.
 */
import { burnCredits } from './credit.ts';
import { updateLoad } from './load.ts';
import { CSCHED2_MIN_TIMER } from './parameters.ts';
import type { State } from './state.ts';
import { tickleFor } from './tickle.ts';
import { type CreditDomain, CSFLAG_delayed_runq_add, CSFLAG_scheduled, NO_BUDGET_LIMIT, type Unit } from './unit.ts';

/** Whether the unit has budget to run; one that can get none is parked. */
export function grabBudget(state: State, unit: Unit): boolean {
  if (unit.budget > 0) return true;
  const { domain } = unit;
  // What it ran too long counts against the whole domain.
  domain.budget += unit.budget;
  if (domain.budget > 0) {
    unit.budget = Math.min(unit.budgetQuota, domain.budget);
    domain.budget -= unit.budget;
    return true;
  }
  unit.budget = 0;
  unit.isParked = true;
  if (unit.isQueued) {
    unit.runqueue!.remove(unit);
    updateLoad(state, unit.runqueue!, unit, -1, state.host.now());
  }
  domain.parked.unshift(unit);
  return false;
}

/** The unit stops running; who waits for budget may then be able to run: call `unpark` once the unit has left its cpu. */
export function returnBudget(unit: Unit): boolean {
  if (!unit.hasCap || unit.budget <= 0) return false;
  unit.domain.budget += unit.budget;
  unit.budget = 0;
  return unit.domain.budget > 0 && unit.domain.parked.length > 0;
}

/** Back into their queues, to compete for budget. */
export function unpark(state: State, domain: CreditDomain): void {
  const { parked } = domain;
  domain.parked = [];
  for (const unit of parked) {
    unit.isParked = false;
    if ((unit.flags & CSFLAG_scheduled) !== 0) {
      unit.flags |= CSFLAG_delayed_runq_add;
    } else if (unit.isRunnable) {
      const now = state.host.now();
      updateLoad(state, unit.runqueue!, unit, 1, now);
      unit.runqueue!.insert(unit);
      tickleFor(state, unit, now);
    }
  }
}

/** EINVAL: more than all of the domain's units could use. */
export function setCap(state: State, domain: CreditDomain, cap: number): 'EINVAL' | undefined {
  if (cap === 0) {
    if (domain.cap !== 0) removeCap(state, domain);
    return undefined;
  }
  if (cap > 100 * domain.units.length) return 'EINVAL';
  domain.totalBudget = Math.floor((state.capPeriodNs * cap) / 100);
  const quota = Math.max(Math.floor(domain.totalBudget / domain.units.length), CSCHED2_MIN_TIMER);
  for (const unit of domain.units) unit.budgetQuota = quota;
  if (domain.cap === 0) startCap(state, domain);
  domain.cap = cap;
  return undefined;
}

export function stopReplenishing({ host }: State, domain: CreditDomain): void {
  if (domain.replenishTimer !== undefined) host.cancelTimer(domain.replenishTimer);
  domain.replenishTimer = undefined;
}

function startCap(state: State, domain: CreditDomain): void {
  const now = state.host.now();
  domain.budget = domain.totalBudget;
  domain.nextReplenishment = now + state.capPeriodNs;
  setReplenishTimer(state, domain);
  for (const unit of domain.units) {
    if (unit.isRunning) {
      // What it has run so far was free.
      const { runqueue } = state.cpus[unit.cpu]!;
      burnCredits(runqueue, unit, now);
      runqueue.tickled.add(unit.cpu);
      state.host.tickle(unit.cpu);
    }
    unit.budget = 0;
  }
}

function removeCap(state: State, domain: CreditDomain): void {
  stopReplenishing(state, domain);
  for (const unit of domain.units) {
    unit.budget = NO_BUDGET_LIMIT;
    unit.budgetQuota = 0;
  }
  domain.cap = 0;
  unpark(state, domain);
}

function replenish(state: State, domain: CreditDomain): void {
  const now = state.host.now();
  do {
    domain.nextReplenishment += state.capPeriodNs;
    domain.budget += domain.totalBudget;
  } while (domain.nextReplenishment <= now);
  if (domain.budget > 0) {
    domain.budget = Math.min(domain.budget, domain.totalBudget);
    unpark(state, domain);
  }
  setReplenishTimer(state, domain);
}

function setReplenishTimer(state: State, domain: CreditDomain): void {
  domain.replenishTimer = state.host.setTimer(domain.nextReplenishment, () => replenish(state, domain));
}
