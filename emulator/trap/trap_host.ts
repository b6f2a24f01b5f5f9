/** What the trap layer asks of the machine beyond what hypercalls ask. */
import type { Caller } from '../../hypercalls/dispatch.ts';
import type { Observer } from '../../hypercalls/observer.ts';
import type { Host } from '../host.ts';
import type { Vcpu } from '../vcpu.ts';
import type { CpuidLeaf } from './cpuid.ts';

export interface TrapHost extends Host {
  /** `--trace traps`: one line a bounce or emulated instruction; undefined: nobody looks, and nothing is formatted. */
  readonly traceTrap: ((vcpu: Vcpu, line: string) => void) | undefined;
  /** Who is told of what guests do (`--check`). */
  readonly observer?: Observer | undefined;
  /** Makes a guest's page its hypercall page. */
  readonly fillHypercallPage: (page: Uint8Array) => void;
  /** What CPUID answers the current vCPU. */
  readonly cpuid: (leaf: number, subleaf: number) => CpuidLeaf;
}

/** What a system call within a run asks of the loop around the run. */
export interface RunHost extends TrapHost {
  /** Neither timers nor the scheduler have something for the loop to look at: who runs may spend its turn's instructions. */
  readonly isTurnValid: boolean;
  /** How many more exits, and system calls within runs, until the slice ends. */
  exitsLeft: number;
  /** Who made the last system call within a run. */
  caller: Caller;
  /** The turn is over: who has the next one goes on in this run if that is possible; else it stops. */
  turnWithinRun(): void;
}

// biome-ignore format: in the order of their numbers
const NAMES = ['#DE', '#DB', 'NMI', '#BP', '#OF', '#BR', '#UD', '#NM', '#DF', 'coprocessor overrun', '#TS', '#NP', '#SS', '#GP', '#PF', 'vector 15', '#MF', '#AC', '#MC', '#XM'];

/** `#GP`, or `vector 32`. */
export const vectorName = (vector: number): string => NAMES[vector] ?? `vector ${vector}`;

export const hex = (value: number | bigint): string => `0x${value.toString(16)}`;
