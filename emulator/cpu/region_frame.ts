/** What the writer of a region and those who put its instructions into it share. */
import type { SharedAccesses } from './region_access.ts';
import type { InlinePart } from './region_inline.ts';
import type { BlockNumbers } from './region_shape.ts';
import type { FrameLocals } from './region_steps.ts';
import type { FunctionBody } from './wasm_writer.ts';

/** What the instructions of a region share; one serves all regions. */
export interface Frame extends FrameLocals {
  readonly f: FunctionBody;
  /** Address of the TLB set in use: the privilege cannot change inside a region. */
  tlbSet: number;
  /** By register, its local, or -1 for those that lie in the register file. */
  readonly gpr: Int32Array;
  readonly xmm: Int32Array;
  /** Those whose local something has changed, as bits: exits put them back. */
  writtenGpr: number;
  writtenXmm: number;
  /** Of any instruction so far: what its template says. */
  hasSteps: boolean;
  imports: number;
  /** The page that the region lies in. */
  pageLow: number;
  pageHigh: number;
  readonly blockAt: BlockNumbers;
  /** Index of this region's function, as its ENTER records name it. */
  functionIndex: number;
  /** The open block behind which everything is put back, and the loop that goes to the block that `entry` names. */
  exitLabel: number;
  outerLabel: number;
  /** The open block to go to when an access misses, with the count of instructions left in `out`; -1: there is none. */
  missLabel: number;
  /** Of the block: which accesses ask the TLB together, and where the next instruction is in it; locals of those that lead. */
  readonly accesses: SharedAccesses;
  index: number;
  readonly leaders: number[];
  /** A call that ends the block: what it calls as a part of the region, and the block that it returns to; its RIP. */
  inlined: readonly InlinePart[] | undefined;
  returnBlock: number;
  returnLow: number;
  returnHigh: number;
  /** Writes what is inlined. */
  putInlined(): void;
  /** Branches to a block from the code of another. */
  goTo(block: number): void;
}
