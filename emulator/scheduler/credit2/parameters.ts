/** What Credit2 can be told, as Xen's command line does, and the constants that it cannot (xen:common/sched/credit2.c). */

const US = 1000;
const MS = 1000 * US;

export const CSCHED2_DEFAULT_WEIGHT = 256;
/** Shortest and longest time until the next decision. */
export const CSCHED2_MIN_TIMER = 500 * US;
export const CSCHED2_MAX_TIMER = 10 * MS;
/** One credit is what a unit of the greatest weight in its runqueue burns in a nanosecond. */
export const CSCHED2_CREDIT_INIT = 10 * MS;
export const CSCHED2_CREDIT_MIN = -CSCHED2_CREDIT_INIT;
export const CSCHED2_IDLE_CREDIT = CSCHED2_CREDIT_MIN - 1;
/** How much of what was saved survives a reset. */
export const CSCHED2_CARRYOVER_MAX = CSCHED2_MIN_TIMER;
/** Given to a unit that another cpu than its last takes over. */
export const CSCHED2_MIGRATE_COMPENSATION = 50 * US;
export const CSCHED2_RATELIMIT_TICKLE_TOLERANCE = 50 * US;
export const CSCHED2_CREDIT_RESET = 0;
export const LOADAVG_GRANULARITY_SHIFT = 10;
/** Loads are sampled in units of so many nanoseconds. */
export const LOADAVG_GRANULARITY = 2 ** LOADAVG_GRANULARITY_SHIFT;
const LOADAVG_PRECISION_SHIFT_MIN = 4;

/** Limits of what setRatelimit takes besides 0 (xen:public/sysctl.h). */
export const XEN_SYSCTL_SCHED_RATELIMIT_MIN = 100;
export const XEN_SYSCTL_SCHED_RATELIMIT_MAX = 500_000;

/** Which cpus share a runqueue: each alone, or all of a core, socket, node or host. */
export type Arrangement = 'cpu' | 'core' | 'socket' | 'node' | 'all';

export interface Parameters {
  /** sched_ratelimit_us: how long a unit runs before another may take its cpu; 0: not limited. */
  readonly ratelimitUs: number;
  /** credit2_runqueue. */
  readonly runqueue: Arrangement;
  /** sched_credit2_max_cpus_runqueue. */
  readonly maxCpusRunqueue: number;
  /** credit2_load_precision_shift: fraction bits of loads. */
  readonly loadPrecisionShift: number;
  /** credit2_load_window_shift: loads are averages over 2^shift ns. */
  readonly loadWindowShift: number;
  /** credit2_balance_under, credit2_balance_over: move units when loads differ by 2^this, below and above full use. */
  readonly balanceUnder: number;
  readonly balanceOver: number;
  /** sched_credit2_migrate_resist: how many microseconds of credit keep a unit where it ran last. */
  readonly migrateResistUs: number;
  /** credit2_cap_period_ms: how often a capped domain gets its budget. */
  readonly capPeriodMs: number;
  /** sched_smt_power_savings: fill the threads of busy cores before idle cores. */
  readonly smtPowerSavings: boolean;
}

export const DEFAULT_PARAMETERS: Parameters = {
  ratelimitUs: 1000,
  runqueue: 'socket',
  maxCpusRunqueue: 16,
  loadPrecisionShift: 18,
  loadWindowShift: 30,
  balanceUnder: 0,
  balanceOver: -3,
  migrateResistUs: 500,
  capPeriodMs: 10,
  smtPowerSavings: false,
};

/** With the defaults where nothing is said; what is too small is raised or reset as Xen does at boot. */
export function completeParameters(given: Partial<Parameters>): Parameters {
  const parameters = { ...DEFAULT_PARAMETERS, ...given };
  const { loadPrecisionShift, loadWindowShift, capPeriodMs } = parameters;
  return {
    ...parameters,
    loadPrecisionShift: Math.max(loadPrecisionShift, LOADAVG_PRECISION_SHIFT_MIN),
    loadWindowShift: loadWindowShift <= LOADAVG_GRANULARITY_SHIFT ? DEFAULT_PARAMETERS.loadWindowShift : loadWindowShift,
    capPeriodMs: capPeriodMs * MS < CSCHED2_MIN_TIMER ? DEFAULT_PARAMETERS.capPeriodMs : capPeriodMs,
  };
}
