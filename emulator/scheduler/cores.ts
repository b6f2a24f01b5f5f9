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

  /** When it can go on; Infinity: it idles until somebody wakes. */
  get readyAt(): number {
    return this.running === undefined ? Math.max(this.ns, this.decideAt) : this.ns;
  }
}

export interface CoresOptions<T> {
  readonly clock: RunClock;
  readonly timers: TimerQueue;
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
  readonly #options: CoresOptions<T>;
  /** Another number when somebody's `decideAt` has changed since. */
  revision = 0;
  /** What the turn was computed from, and until when it lasts if no timer is due before. */
  #turnRevision = -1;
  #turnTimers = -1;
  #turnEnd = 0;

  constructor(options: CoresOptions<T>) {
    const { clock, timers, topology } = options;
    this.#options = options;
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
    core.decideAt = Math.min(core.decideAt, this.#options.clock.ns);
    this.revision++;
  }

  /**
   * Who runs on the active core may not be able to go on: when that core acts next there is a decision, unless somebody on
   * another one has woken the vCPU at an earlier time.
   */
  endTurn(): void {
    this.revision++;
  }

  /** The core that runs `unit`, if one does. */
  coreOf(unit: Unit<T>): Core<T> | undefined {
    const core = this.list[unit.cpu]!;
    return core.running === unit ? core : undefined;
  }

  /** Nothing has changed since `takeTurn`: as far as its time goes, the core may go on. */
  get isTurnValid(): boolean {
    return this.#turnRevision === this.revision && this.#turnTimers === this.#options.timers.revision;
  }

  /**
   * Finds the core that acts next; what is due before, happens. How far it may run: nanoseconds of its time, -1 when every
   * core idles.
   */
  takeTurn(): number {
    const { clock, timers } = this.#options;
    const { ns } = clock;
    if (this.#turnRevision !== this.revision || ns >= Math.min(this.#turnEnd, timers.next())) {
      this.active.ns = ns;
      if (!this.#chooseCore()) return -1;
      this.#turnEnd = this.#strideEnd(this.active);
    }
    this.#turnRevision = this.revision;
    this.#turnTimers = timers.revision;
    return Math.min(timers.next(), this.#turnEnd);
  }

  #chooseCore(): boolean {
    const { timers } = this.#options;
    for (;;) {
      const core = this.#behind();
      if (core === undefined) return false;
      this.#act(core, core.readyAt);
      if (timers.next() <= core.ns) timers.fireDue(core.ns);
      else if (core.decideAt <= core.ns || !core.running!.isRunnable) this.#decide(core);
      else return true;
    }
  }

  /** Who runs on `core` runs no longer from now on. */
  vacate(core: Core<T>): void {
    const { active } = this;
    active.ns = this.#options.clock.ns;
    this.#act(core, core.ns);
    this.#decide(core);
    this.#act(active, active.ns);
  }

  #act(core: Core<T>, ns: number): void {
    this.active = core;
    core.ns = this.#options.clock.turnTo(ns);
  }

  /** The core that is furthest behind, of those that are not idle. */
  #behind(): Core<T> | undefined {
    let behind: Core<T> | undefined;
    let least = Number.POSITIVE_INFINITY;
    for (const core of this.list) {
      const at = core.readyAt;
      if (at >= least) continue;
      behind = core;
      least = at;
    }
    return behind;
  }

  #strideEnd(core: Core<T>): number {
    let end = core.decideAt;
    for (const other of this.list) {
      if (other !== core) end = Math.min(end, other.readyAt + STRIDE_NS);
    }
    return end;
  }

  #decide(core: Core<T>): void {
    const { enter, leave } = this.#options;
    const previous = core.running;
    core.decideAt = Number.POSITIVE_INFINITY;
    const { unit: next, time } = this.scheduler.schedule(core.id);
    if (next !== previous) {
      if (previous !== undefined) {
        previous.owner.runnableSince = core.ns;
        leave(previous.owner);
      }
      core.running = next;
      if (previous !== undefined) this.scheduler.contextSaved(previous);
      if (next !== undefined) {
        this.#act(core, Math.max(core.ns, next.owner.runnableSince));
        enter(next.owner);
      }
    }
    if (time >= 0) core.decideAt = Math.min(core.decideAt, core.ns + time);
    this.revision++;
  }
}
