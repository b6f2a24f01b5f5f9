/**
 * Who gets the core: those who can run stand in a row, the first has it, and goes to the end when its turn is over while
 * others wait. A turn is a span of virtual time, so that the order is a function of what the guests do.
 */

/** How long one runs while others wait, in nanoseconds. */
const TURN_NS = 1_000_000n;

export class RoundRobin<T> {
  readonly #row: T[] = [];
  /** Whose turn it is, and until when. */
  #running: T | undefined;
  #turnEnd = 0n;
  /** Another number when who stands where has changed since. */
  revision = 0;

  /** Can run from now on: last in the row, unless it stands there already. */
  add(one: T): void {
    if (this.#row.includes(one)) return;
    this.#row.push(one);
    this.revision++;
  }

  remove(one: T): void {
    const index = this.#row.indexOf(one);
    if (index < 0) return;
    this.#row.splice(index, 1);
    this.revision++;
  }

  /** Others first. */
  yield(one: T): void {
    if (this.#row[0] !== one || this.#row.length === 1) return;
    this.#row.push(this.#row.shift()!);
    this.revision++;
  }

  /** Who runs at `now`; undefined: nobody can. */
  pick(now: bigint): T | undefined {
    const first = this.#row[0];
    if (first === undefined) this.#running = undefined;
    else if (this.#row.length > 1 && first === this.#running && now >= this.#turnEnd) this.yield(first);
    else if (first === this.#running) return first;
    return this.#begin(now);
  }

  #begin(now: bigint): T | undefined {
    this.#running = this.#row[0];
    this.#turnEnd = now + TURN_NS;
    return this.#running;
  }

  /** When the turn of whoever runs is over; undefined: nobody waits for it. */
  get turnEnd(): bigint | undefined {
    return this.#row.length > 1 ? this.#turnEnd : undefined;
  }
}
