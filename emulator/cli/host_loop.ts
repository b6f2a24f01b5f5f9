/**
 * Drives a host's machine beside everything else that this process does: slices of a few milliseconds, and between them the
 * event loop. While all wait it sleeps, until the next timer or until somebody comes. Virtual time keeps to real time: it is
 * never ahead for longer than a slice, and where this computer is too slow for that it does not try to catch up. A
 * deterministic host knows nothing of real time: its slices are all alike, and its time jumps.
 */
import type { Machine } from '../machine.ts';
import { runSlice } from '../run.ts';
import { DETERMINISTIC_SLICE } from './deterministic.ts';

const FIRST_SLICE = 50_000;
const MAX_SLICE = 50_000_000;
const SLICE_MS = 4;
/** The longest sleep of an idle host: setTimeout has 31 bits. */
const MAX_SLEEP_MS = 0x7fff_ffff;

export class HostLoop {
  readonly #machine: Machine;
  readonly #afterSlice: () => void;
  readonly #isDeterministic: boolean;
  #isOver = false;
  #failure: { readonly error: unknown } | undefined;
  /** Real time at which virtual time was 0, had it always kept to it. */
  #realMsAtStart = performance.now();
  #wake: (() => void) | undefined;
  /** While it sleeps. */
  #passTime: (() => void) | undefined;
  /** Somebody came while nobody slept. */
  #isAwaited = false;

  /** `afterSlice` looks at what has happened. */
  constructor(machine: Machine, afterSlice: () => void, isDeterministic = false) {
    this.#machine = machine;
    this.#afterSlice = afterSlice;
    this.#isDeterministic = isDeterministic;
  }

  /** Somebody changed something: it may not sleep on. */
  wake(): void {
    this.#isAwaited = true;
    this.#wake?.();
  }

  /** Somebody is about to act on the machine: what has been slept so far has passed. */
  catchUp(): void {
    this.#passTime?.();
  }

  /** A bug came up somewhere else: the loop ends with it. */
  fail(error: unknown): void {
    this.#failure = { error };
    this.stop();
  }

  stop(): void {
    this.#isOver = true;
    this.wake();
  }

  /** Until it is stopped. */
  async run(): Promise<void> {
    await (this.#isDeterministic ? this.#runDeterministic() : this.#runInRealTime());
    if (this.#failure) throw this.#failure.error;
  }

  async #runDeterministic(): Promise<void> {
    const { timers, clock } = this.#machine;
    while (!this.#isOver) {
      this.#isAwaited = false;
      const { kind } = runSlice(this.#machine, DETERMINISTIC_SLICE);
      this.#afterSlice();
      await new Promise(setImmediate);
      if (kind === 'running') continue;
      // Without a domain that could run, there may still be a timer of the host's own.
      if (timers.next() === Number.POSITIVE_INFINITY) await this.#wait(MAX_SLEEP_MS);
      else clock.idleUntil(timers.next());
    }
  }

  async #runInRealTime(): Promise<void> {
    let size = FIRST_SLICE;
    while (!this.#isOver) {
      this.#isAwaited = false;
      const before = performance.now();
      const slice = runSlice(this.#machine, size, false);
      this.#afterSlice();
      const ms = performance.now() - before;
      if (slice.kind === 'running') {
        size = fit(size, ms);
        await new Promise(setImmediate);
        const ahead = this.#msAhead();
        if (ahead > SLICE_MS) await this.#wait(ahead);
      } else {
        await this.#sleep(this.#machine.timers.next());
      }
    }
  }

  /** By how much virtual time is ahead of real time; one that is behind gives the lost time up. */
  #msAhead(): number {
    const ahead = this.#machine.clock.ns / 1e6 - performance.now() + this.#realMsAtStart;
    if (ahead < 0) this.#realMsAtStart -= ahead;
    return Math.max(0, ahead);
  }

  /** Sleeps, and lets the time that it took pass for the machine, up to `deadline` (nanoseconds of virtual time, or Infinity). */
  async #sleep(deadline: number): Promise<void> {
    const { clock } = this.#machine;
    const { ns } = clock;
    const ahead = this.#msAhead();
    const began = performance.now() + ahead;
    this.#passTime = () => {
      const passed = Math.max(0, performance.now() - began);
      clock.idleUntil(Math.min(deadline, ns + Math.ceil(passed * 1e6)));
    };
    await this.#wait(Math.max(0, Math.ceil(ahead + (deadline - ns) / 1e6)));
    this.catchUp();
    this.#passTime = undefined;
  }

  #wait(ms: number): Promise<void> {
    if (this.#isAwaited) return Promise.resolve();
    return new Promise((resolve) => {
      const done = (): void => {
        clearTimeout(timer);
        this.#wake = undefined;
        resolve();
      };
      const timer = setTimeout(done, Math.min(ms, MAX_SLEEP_MS));
      this.#wake = done;
    });
  }
}

/** The size of the next slice, after one that took `ms`. */
function fit(size: number, ms: number): number {
  if (ms > SLICE_MS * 1.25) return Math.max(1000, Math.floor(size * Math.max(0.25, SLICE_MS / ms)));
  return ms < SLICE_MS * 0.75 ? Math.min(MAX_SLICE, size * 2) : size;
}
