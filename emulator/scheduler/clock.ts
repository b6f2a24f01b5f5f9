/**
 * Virtual time. It advances with executed instructions and jumps when every vCPU is idle, so a run is a function of its
 * inputs; a host at a terminal may let it follow the wall clock instead. Nanoseconds since ring -1 started, as bigint.
 */
export interface VirtualClock {
  /** Nanoseconds since start; never goes back. */
  now(): bigint;
  /** Nanoseconds since 1970 at `now() === 0n`. */
  readonly wallClockAtStart: bigint;
  /** The emulated TSC's rate. */
  readonly tscKhz: number;
  /** TSC value at virtual time `ns`. */
  tscAt(ns: bigint): bigint;
}
