/**
 * Virtual time, in nanoseconds since ring -1 started. `InstructionClock` advances with executed instructions and jumps when
 * every vCPU is idle, so a run is a function of its inputs; `WallClock` follows the host's clock, for a person at a terminal.
 */
export interface VirtualClock {
  /** Nanoseconds since start, on the core that acts. */
  now(): bigint;
  /** The same as a number: exact for 104 days. */
  readonly ns: number;
  /** Nanoseconds since 1970 at `now() === 0n`. */
  readonly wallClockAtStart: bigint;
  /** The emulated TSC's rate. */
  readonly tscKhz: number;
  /** TSC value at virtual time `ns`. */
  tscAt(ns: number): number;
}

/** A clock that the run loop drives. */
export interface RunClock extends VirtualClock {
  /** Virtual time once `instructions` have retired; RDTSC asks in the middle of a run. */
  nowAt(instructions: number): number;
  /** About how many instructions take `ns` nanoseconds: at least 1. */
  instructionsFor(ns: number): number;
  /** Another core acts from here on, and it is `ns` there; a clock that follows the host's has one time for all: which it is. */
  turnTo(ns: number): number;
  /** Every core is idle until `deadline`: whether time is there now. False: the host must really wait. */
  idleUntil(deadline: number): boolean;
}

const TSC_PER_NS = 2;
const TSC_KHZ = TSC_PER_NS * 1_000_000;
const tscAt = (ns: number): number => ns * TSC_PER_NS;

/** What one instruction takes: 100 MIPS, about what the interpreter does, so that a guest's busy waits last as long as they say. */
export const NS_PER_INSTRUCTION = 10;

export class InstructionClock implements RunClock {
  readonly wallClockAtStart: bigint;
  readonly tscKhz = TSC_KHZ;
  readonly tscAt = tscAt;
  readonly #cpu: { readonly instructionCount: number };
  /** Time that no instruction took, and what the core that acts is ahead of (behind) the instructions of all. */
  #offset = 0;

  constructor(cpu: { readonly instructionCount: number }, wallClockAtStart: bigint) {
    this.#cpu = cpu;
    this.wallClockAtStart = wallClockAtStart;
  }

  get ns(): number {
    return this.#offset + this.#cpu.instructionCount * NS_PER_INSTRUCTION;
  }

  now(): bigint {
    return BigInt(this.ns);
  }

  nowAt(instructions: number): number {
    return this.#offset + instructions * NS_PER_INSTRUCTION;
  }

  instructionsFor(ns: number): number {
    return Math.min(0x7fff_ffff, Math.max(1, Math.ceil(ns / NS_PER_INSTRUCTION)));
  }

  turnTo(ns: number): number {
    this.#offset = ns - this.#cpu.instructionCount * NS_PER_INSTRUCTION;
    return ns;
  }

  idleUntil(deadline: number): boolean {
    if (deadline > this.ns) this.turnTo(deadline);
    return true;
  }
}

/** Instructions between two looks at the host's clock. */
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

  get ns(): number {
    return Number(this.now());
  }

  now(): bigint {
    return this.#hostNs() - this.#start;
  }

  nowAt(_instructions: number): number {
    return this.ns;
  }

  instructionsFor(_ns: number): number {
    return WALL_SLICE;
  }

  turnTo(_ns: number): number {
    return this.ns;
  }

  idleUntil(deadline: number): boolean {
    return this.ns >= deadline;
  }
}
