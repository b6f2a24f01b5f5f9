/**
 * A host without guests for Credit2: cpus that have each a clock, of which the one that is behind always goes on, and tasks
 * that are busy or run and sleep in turns. It keeps the runstates as the run loop does.
 */
import { Credit2 } from '../../emulator/scheduler/credit2/credit2.ts';
import type { Parameters } from '../../emulator/scheduler/credit2/parameters.ts';
import { Topology, type TopologyShape } from '../../emulator/scheduler/credit2/topology.ts';
import type { CreditDomain, Unit } from '../../emulator/scheduler/credit2/unit.ts';

export const US = 1000;
export const MS = 1000 * US;
export const SECOND = 1000 * MS;

export type Runstate = 'running' | 'runnable' | 'blocked' | 'offline';

/** What a task does when it runs; without `sleepFor` it is always busy. */
export interface Work {
  readonly runFor: () => number;
  readonly sleepFor?: () => number;
}
export const BUSY: Work = { runFor: () => Number.POSITIVE_INFINITY };
/** The same over and over. */
export const interactive = (runFor: number, sleepFor: number): Work => ({ runFor: () => runFor, sleepFor: () => sleepFor });

/** In turns that are half as long to half as long again, as those of guests/spin. */
export function spinning(runFor: number, sleepFor: number): Work {
  let seed = 0;
  const about = (time: number) => {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    return Math.floor(time / 2 + (time * (seed >>> 16)) / 65536);
  };
  return { runFor: () => about(runFor), sleepFor: () => about(sleepFor) };
}

export class Task {
  readonly work: Work;
  unit!: Unit<Task>;
  /** What is left of its work until it sleeps. */
  left = 0;
  state: Runstate = 'offline';
  readonly time: Record<Runstate, number> = { running: 0, runnable: 0, blocked: 0, offline: 0 };
  entryTime = 0;
  readonly startTime: number;
  isBlocked = false;
  isPaused = false;
  isGone = false;
  wokenAt: number | undefined;
  /** From waking to running. */
  readonly latencies: number[] = [];

  constructor(work: Work, now: number) {
    this.work = work;
    this.startTime = now;
    this.entryTime = now;
  }

  enter(state: Runstate, now: number): void {
    this.time[this.state] += now - this.entryTime;
    this.entryTime = now;
    this.state = state;
  }
}

interface SimulatedTimer {
  readonly deadline: number;
  readonly fire: () => void;
}

export class Simulator {
  readonly scheduler: Credit2<Task>;
  readonly tasks: Task[] = [];
  readonly clocks: number[];
  /** Of each cpu: when its last decision is over, and since when it has been tickled. */
  readonly #decideAt: number[];
  readonly #tickledAt: number[];
  readonly #timers: SimulatedTimer[] = [];
  /** How long a cpu runs before others that are behind have their turn. */
  readonly slice: number;
  #now = 0;
  #domains = 0;
  decisions = 0;

  constructor(shape: TopologyShape, parameters: Partial<Parameters> = {}, slice = Number.POSITIVE_INFINITY) {
    const topology = new Topology(shape);
    this.slice = slice;
    this.clocks = Array(topology.cpuCount).fill(0);
    this.#decideAt = Array(topology.cpuCount).fill(Number.POSITIVE_INFINITY);
    this.#tickledAt = Array(topology.cpuCount).fill(Number.POSITIVE_INFINITY);
    this.scheduler = new Credit2(
      topology,
      {
        now: () => this.#now,
        tickle: (cpu) => {
          this.#tickledAt[cpu] = Math.min(this.#tickledAt[cpu]!, this.#now);
          // An idle cpu's clock may have gone ahead: nothing happened there.
          if (this.scheduler.current(cpu) === undefined) this.clocks[cpu] = Math.min(this.clocks[cpu]!, this.#now);
        },
        setTimer: (deadline, fire) => this.#setTimer(deadline, fire),
        cancelTimer: (timer) => this.#cancelTimer(timer as SimulatedTimer),
      },
      parameters,
    );
  }

  get now(): number {
    return this.#now;
  }

  isTickled(cpu: number): boolean {
    return this.#tickledAt[cpu] !== Number.POSITIVE_INFINITY;
  }

  addDomain({ weight = 256, cap = 0, work }: { weight?: number; cap?: number; work: readonly Work[] }): CreditDomain {
    const domain = this.scheduler.addDomain(++this.#domains, weight);
    for (const one of work) this.addTask(domain, one);
    this.scheduler.adjust(domain, { cap });
    return domain;
  }

  addTask(domain: CreditDomain, work: Work): Task {
    const task = new Task(work, this.#now);
    task.unit = this.scheduler.addUnit(domain, domain.units.length, task);
    this.tasks.push(task);
    task.left = work.runFor();
    this.#wake(task);
    return task;
  }

  tasksOf(domain: CreditDomain): Task[] {
    return this.tasks.filter(({ unit }) => unit.domain === domain);
  }

  /** Time that a domain's tasks have run, until now. */
  ran(domain: CreditDomain): number {
    return this.tasksOf(domain).reduce((sum, task) => sum + this.ranTask(task), 0);
  }

  ranTask(task: Task): number {
    return task.time.running + (task.state === 'running' ? Math.max(this.clocks[task.unit.cpu]! - task.entryTime, 0) : 0);
  }

  pause(task: Task): void {
    task.isPaused = true;
    this.scheduler.sleep(task.unit);
    if (task.state === 'runnable') task.enter('offline', this.#now);
  }

  unpause(task: Task): void {
    task.isPaused = false;
    if (!task.isBlocked) this.#wake(task);
  }

  yield(task: Task): void {
    this.scheduler.yield(task.unit);
    this.#decideAt[task.unit.cpu] = 0;
  }

  /** A domain whose tasks are all paused and off their cpus goes. */
  removeDomain(domain: CreditDomain): void {
    for (const task of this.tasksOf(domain)) {
      this.scheduler.removeUnit(task.unit);
      this.tasks.splice(this.tasks.indexOf(task), 1);
      task.isGone = true;
    }
    this.scheduler.removeDomain(domain);
  }

  run(until: number, afterStep?: () => void): void {
    while (this.#step(until)) afterStep?.();
  }

  #step(until: number): boolean {
    const { clocks } = this;
    let cpu = 0;
    for (let other = 1; other < clocks.length; other++) if (clocks[other]! < clocks[cpu]!) cpu = other;
    const now = clocks[cpu]!;
    this.#now = now;
    if (now >= until) return false;
    const timer = this.#timers[0];
    if (timer !== undefined && timer.deadline <= now) {
      this.#timers.shift();
      timer.fire();
      return true;
    }
    const unit = this.scheduler.current(cpu);
    if (unit !== undefined && unit.owner.left <= 0) this.#block(unit.owner);
    if (this.#tickledAt[cpu]! <= now || this.#decideAt[cpu]! <= now || (unit !== undefined && !unit.isReady)) {
      this.#decide(cpu);
      return true;
    }
    let horizon = Math.min(until, this.#tickledAt[cpu]!, this.#decideAt[cpu]!, timer?.deadline ?? until);
    if (unit !== undefined) {
      horizon = Math.min(horizon, now + unit.owner.left, now + this.slice);
      unit.owner.left -= horizon - now;
    }
    clocks[cpu] = horizon;
    return true;
  }

  #decide(cpu: number): void {
    const now = this.#now;
    const { scheduler } = this;
    const before = scheduler.current(cpu);
    this.#tickledAt[cpu] = Number.POSITIVE_INFINITY;
    const { unit, time } = scheduler.schedule(cpu, now);
    this.decisions++;
    this.#decideAt[cpu] = time < 0 ? Number.POSITIVE_INFINITY : now + time;
    if (unit === before) return;
    if (before !== undefined) {
      before.owner.enter(before.owner.isBlocked ? 'blocked' : before.isRunnable ? 'runnable' : 'offline', now);
    }
    if (unit !== undefined) {
      const task = unit.owner;
      task.enter('running', now);
      if (task.wokenAt !== undefined) task.latencies.push(now - task.wokenAt);
      task.wokenAt = undefined;
    }
    if (before !== undefined) scheduler.contextSaved(before, now);
    if (before?.isRunnable && before.owner.state === 'offline') before.owner.enter('runnable', now);
  }

  #block(task: Task): void {
    task.isBlocked = true;
    this.scheduler.block(task.unit);
    this.#setTimer(this.#now + task.work.sleepFor!(), () => {
      if (task.isGone) return;
      task.isBlocked = false;
      task.left = task.work.runFor();
      if (task.isPaused) task.enter('offline', this.#now);
      else this.#wake(task);
    });
  }

  #wake(task: Task): void {
    task.wokenAt = this.#now;
    this.scheduler.wake(task.unit);
    if (task.state !== 'running') task.enter(task.unit.isRunnable ? 'runnable' : 'offline', this.#now);
  }

  #setTimer(deadline: number, fire: () => void): SimulatedTimer {
    const timer = { deadline, fire };
    const index = this.#timers.findIndex((other) => other.deadline > deadline);
    this.#timers.splice(index < 0 ? this.#timers.length : index, 0, timer);
    return timer;
  }

  #cancelTimer(timer: SimulatedTimer): void {
    const index = this.#timers.indexOf(timer);
    if (index >= 0) this.#timers.splice(index, 1);
  }
}
