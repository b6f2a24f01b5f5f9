/**
 * Virtual time, in nanoseconds since ring -1 started. `InstructionClock` advances with executed instructions and jumps when
 * every vCPU is idle, so a run is a function of its inputs; `WallClock` follows the host's clock, for a person at a terminal.
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

/** A clock that the run loop drives. */
export interface RunClock extends VirtualClock {
  /** Virtual time once `instructions` have retired on the core; RDTSC asks in the middle of a run. */
  nowAt(instructions: bigint): bigint;
  /** About how many instructions fit before `deadline`, which is not over: at least 1. */
  instructionsUntil(deadline: bigint): number;
  /** Every vCPU is idle until `deadline`: whether time is there now. False: the host must really wait. */
  idleUntil(deadline: bigint): boolean;
}

const TSC_KHZ = 2_000_000;
const tscAt = (ns: bigint): bigint => (ns * BigInt(TSC_KHZ)) / 1_000_000n;

/** What one instruction takes: 100 MIPS, about what the interpreter does, so that a guest's busy waits last as long as they say. */
export const NS_PER_INSTRUCTION = 10n;

export class InstructionClock implements RunClock {
  readonly wallClockAtStart: bigint;
  readonly tscKhz = TSC_KHZ;
  readonly tscAt = tscAt;
  readonly #instructions: () => bigint;
  /** Time jumped over. */
  #idle = 0n;

  /** `instructions`: how many the core has retired. */
  constructor(instructions: () => bigint, wallClockAtStart: bigint) {
    this.#instructions = instructions;
    this.wallClockAtStart = wallClockAtStart;
  }

  now(): bigint {
    return this.nowAt(this.#instructions());
  }

  nowAt(instructions: bigint): bigint {
    return this.#idle + instructions * NS_PER_INSTRUCTION;
  }

  instructionsUntil(deadline: bigint): number {
    const left = (deadline - this.now() + NS_PER_INSTRUCTION - 1n) / NS_PER_INSTRUCTION;
    return left < 1n ? 1 : left > 0x7fff_ffffn ? 0x7fff_ffff : Number(left);
  }

  idleUntil(deadline: bigint): boolean {
    const now = this.now();
    if (deadline > now) this.#idle += deadline - now;
    return true;
  }
}

/** Instructions between two looks at the host's clock when a timer is close. */
const WALL_SLICE = 20_000;

export class WallClock implements RunClock {
  readonly wallClockAtStart: bigint;
  readonly tscKhz = TSC_KHZ;
  readonly tscAt = tscAt;
  readonly #hostNs: () => bigint;
  readonly #start: bigint;

  /** `hostNs`: the host's monotonic clock. */
  constructor(hostNs: () => bigint, wallClockAtStart: bigint) {
    this.#hostNs = hostNs;
    this.#start = hostNs();
    this.wallClockAtStart = wallClockAtStart;
  }

  now(): bigint {
    return this.#hostNs() - this.#start;
  }

  nowAt(_instructions: bigint): bigint {
    return this.now();
  }

  instructionsUntil(_deadline: bigint): number {
    return WALL_SLICE;
  }

  idleUntil(deadline: bigint): boolean {
    return this.now() >= deadline;
  }
}
