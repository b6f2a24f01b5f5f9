/**
 * Nested translation: where guest-physical pages lie in RAM, as the host says (SDM 3C 29.3, APM2 15.25), and the report
 * of accesses to pages that the host watches. The MMU asks at TLB fills and for every page-table entry of a walk.
 */
import type { NestedFaultExit, StoppedExit } from './exit.ts';

/** A guest-physical page: its 4 KiB frame in `PhysicalMemory`, and what may be done to it. */
export interface NestedPage {
  readonly frame: number;
  readonly read: boolean;
  readonly write: boolean;
  readonly execute: boolean;
  /** Each data access is told to `onAccess`. Such a page is slow: it never enters the TLB. */
  readonly watched?: boolean;
}

export interface NestedPaging {
  /** The page of a guest frame number below 2^52, or undefined. After a change: `cpu.flushTlb({ global: true })`. */
  translate(gfn: number): NestedPage | undefined;
}

/**
 * A data access that touches a watched page. 'read' comes before a load, 'readAfter' when its value is known, 'write' when
 * the value of a store is known and memory is unchanged. RIP is the instruction's.
 */
export interface MemoryAccess {
  readonly kind: 'read' | 'readAfter' | 'write';
  readonly vaddr: bigint;
  readonly gpa: bigint;
  readonly size: number;
  /** The value, little-endian; empty for 'read'. */
  readonly bytes: Uint8Array;
}

/**
 * Returning false for a 'write' keeps memory as it was; for the others it ends the run at this instruction, which has
 * changed nothing ('stopped').
 */
export type AccessListener = (access: MemoryAccess) => boolean | undefined;

/** The nested tables or the listener refuse an access: thrown by the MMU, an Exit of `Cpu.run`. */
export class NestedFault {
  readonly exit: NestedFaultExit | StoppedExit;

  constructor(exit: NestedFaultExit | StoppedExit) {
    this.exit = exit;
  }
}

/** An access to a watched page among instructions that run in one go: thrown to run its instruction alone. */
export const WATCHED = Symbol('watched');
