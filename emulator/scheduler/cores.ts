/**
 * The physical cores, each with its own time. One CPU engine stands in for all of them: whichever core is furthest behind
 * acts next, so that the same inputs give the same run, and no core gets more than STRIDE_NS ahead of another that is busy.
 * Who runs on a core, and until when, is Credit2's decision (credit2/).
 */
import type { RunClock } from './clock.ts';
import { Credit2 } from './credit2/credit2.ts';
import type { Parameters } from './credit2/parameters.ts';
import type { Topology } from './credit2/topology.ts';
import type { Unit } from './credit2/unit.ts';
import type { TimerQueue } from './timers.ts';
import type { Turn } from './turn.ts';

/** How far a core may get ahead: long enough that changing registers and TLB between cores costs little. */
export const STRIDE_NS = 100_000;

/** What runs on a core: a vCPU. */
export interface Schedulable {
  /** Cores' times differ: since when it could run. It does not run before. */
  runnableSince: number;
}

export class Core<T> {
  readonly id: number;
  /** Its own time in nanoseconds, as of when it acted last. */
  ns = 0;
  /** Who is on it; undefined: it idles. */
  running: Unit<T> | undefined;
  /** When the scheduler has to decide anew. */
  decideAt = Number.POSITIVE_INFINITY;

  constructor(id: number) {
    this.id = id;
  }

  /** When it, which nobody is on, can go on; Infinity: when somebody wakes. */
  get idleUntil(): number {
    return Math.max(this.ns, this.decideAt);
  }
}

export interface CoresOptions<T> {
  readonly clock: RunClock;
  readonly timers: TimerQueue;
  readonly turn: Turn;
  readonly topology: Topology;
  readonly parameters?: Partial<Parameters>;
  /** `one` runs on the core that acts from now on, or runs no longer. */
  readonly enter: (one: T) => void;
  readonly leave: (one: T) => void;
}

export class Cores<T extends Schedulable> {
  readonly scheduler: Credit2<T>;
  readonly list: readonly Core<T>[];
  /** Which one acts, or did last. */
  active: Core<T>;
  readonly #clock: RunClock;
  readonly #timers: TimerQueue;
  readonly #turn: Turn;
  readonly #enter: (one: T) => void;
  readonly #leave: (one: T) => void;
  /** Somebody's `decideAt` has changed since the turn began, or a decision may be due. */
  #hasNews = true;
  /** Until when the turn lasts if no timer is due before. */
  #turnEnd = 0;

  constructor(options: CoresOptions<T>) {
    const { clock, timers, topology } = options;
    this.#clock = clock;
    this.#timers = timers;
    this.#turn = options.turn;
    this.#enter = options.enter;
    this.#leave = options.leave;
    this.list = Array.from({ length: topology.cpuCount }, (_, id) => new Core<T>(id));
    this.active = this.list[0]!;
    const host = {
      now: () => clock.ns,
      tickle: (id: number) => this.decideSoon(this.list[id]!),
      setTimer: (deadline: number, fire: () => void) => timers.set(deadline, fire),
      cancelTimer: timers.cancel.bind(timers) as (timer: { readonly deadline: unknown }) => void,
    };
    this.scheduler = new Credit2<T>(topology, host, options.parameters);
  }

  /** The scheduler has to decide for `core` now, or as soon as it gets there. */
  decideSoon(core: Core<T>): void {
    core.decideAt = Math.min(core.decideAt, this.#clock.ns);
    this.endTurn();
  }

  /**
   * Who runs on the active core may not be able to go on: when that core acts next there is a decision, unless somebody on
   * another one has woken the vCPU at an earlier time.
   */
  endTurn(): void {
    this.#hasNews = true;
    this.#turn.isValid = false;
  }

  /** The core that runs `unit`, if one does. */
  coreOf(unit: Unit<T>): Core<T> | undefined {
    const core = this.list[unit.cpu]!;
    return core.running === unit ? core : undefined;
  }

  /**
   * Finds the core that acts next, it being `ns` on the one that did; what is due before, happens. How far it may run:
   * nanoseconds of its time, which `active` has, -1 when every core idles.
   */
  takeTurn(ns: number): number {
    const timers = this.#timers;
    this.active.ns = ns;
    if (this.#hasNews === true || ns >= this.#turnEnd || ns >= timers.next()) {
      if (this.#chooseCore() === undefined) return -1;
      this.#hasNews = false;
    }
    this.#turn.isValid = true;
    return Math.min(timers.next(), this.#turnEnd);
  }

  /** The core that is furthest behind, of those that are not idle, acts next, once it has decided and timers have fired. */
  #chooseCore(): Core<T> | undefined {
    const { list } = this;
    const timers = this.#timers;
    for (;;) {
      let core: Core<T> | undefined;
      let least = Number.POSITIVE_INFINITY;
      let second = Number.POSITIVE_INFINITY;
      for (let i = 0; i < list.length; i++) {
        const one = list[i]!;
        const at = one.running === undefined ? one.idleUntil : one.ns;
        if (at < least) {
          core = one;
          second = least;
          least = at;
        } else if (at < second) {
          second = at;
        }
      }
      if (core === undefined) return undefined;
      this.#act(core, least);
      const { ns } = core;
      if (timers.next() <= ns) {
        timers.fireDue(ns);
      } else if (core.decideAt <= ns || !core.running!.isRunnable) {
        this.#decide(core);
      } else {
        this.#turnEnd = Math.min(core.decideAt, second + STRIDE_NS);
        return core;
      }
    }
  }

  /** Who runs on `core` runs no longer from now on. */
  vacate(core: Core<T>): void {
    const { active } = this;
    active.ns = this.#clock.ns;
    this.#act(core, core.ns);
    this.#decide(core);
    this.#act(active, active.ns);
  }

  /** On the one that did it is what it says. */
  #act(core: Core<T>, ns: number): void {
    if (core === this.active && core.ns === ns) return;
    this.active = core;
    core.ns = this.#clock.turnTo(ns);
  }

  #decide(core: Core<T>): void {
    const { scheduler } = this;
    const previous = core.running;
    core.decideAt = Number.POSITIVE_INFINITY;
    const { unit: next, time } = scheduler.schedule(core.id, core.ns);
    if (next !== previous) {
      if (previous !== undefined) {
        previous.owner.runnableSince = core.ns;
        this.#leave(previous.owner);
      }
      core.running = next;
      if (previous !== undefined) scheduler.contextSaved(previous, core.ns);
      if (next !== undefined) {
        this.#act(core, Math.max(core.ns, next.owner.runnableSince));
        this.#enter(next.owner);
      }
    }
    if (time >= 0) core.decideAt = Math.min(core.decideAt, core.ns + time);
    this.endTurn();
  }
}
