/** Basic blocks as the interpreter has them: records in linear memory, made from bytes of RAM for one RIP and one mode. */
import type { DecodeMode } from './decoder.ts';
import * as L from './layout.ts';
import { PAGE_SIZE } from './layout.ts';
import type { Region } from './regions.ts';
import type { Row } from './row.ts';

/** Everything that decoding a block depends on; `key` is distinct for distinct modes. */
export interface BlockMode extends DecodeMode {
  readonly key: number;
  /** Highest offset of an instruction byte; -1 in 64-bit code, which has none. */
  readonly codeLimit: number;
  /** CPL 3. */
  readonly isUser: boolean;
  /** Pages of RIP are not pages of linear addresses (CS's base), so nobody may link within one. */
  readonly isUnaligned: boolean;
  /** The row to run instead of this one (privilege, absent FPU), or undefined. */
  substitute(row: Row): Row | undefined;
}

/** A class, so that all blocks have one shape: the loops over a page's blocks are hot. */
export class CodeBlock {
  readonly rip: bigint;
  /** RIP's page number. */
  readonly ripPage: number;
  readonly modeKey: number;
  /** Bytes [start, end) of RAM on the first page, and the count on the second (0: none) at its maddr. */
  readonly start: number;
  end: number;
  secondStart = -1;
  secondSize = 0;
  readonly record: number;
  /** Records; those of instructions, and the GOTO at the end where it does not fall through into another block. */
  count = 0;
  instructions = 0;
  /** A branch was seen to go here; otherwise execution was only resumed here, in the middle of something. */
  isTarget = false;
  /** Execution was often found here although a region holds the block: it should be one of its entries. */
  isEntry = false;
  /** The region that its records enter. */
  region: Region | undefined = undefined;

  /** Without any instruction yet. */
  constructor(rip: bigint, modeKey: number, start: number, record: number) {
    this.rip = rip;
    this.ripPage = pageNumberOf(rip);
    this.modeKey = modeKey;
    this.start = start;
    this.end = start;
    this.record = record;
  }
}

export const pageNumberOf = (rip: bigint): number => Number(rip >> 12n);

/** Where SIDE has what belongs to a record. */
export function sideOf(record: number): number {
  return L.SIDE + ((record - L.RECORDS) >> 2);
}

/** The frames that have bytes of a block. */
export function framesOf(block: CodeBlock): number[] {
  const first = Math.floor(block.start / PAGE_SIZE);
  if (block.secondSize === 0) return [first];
  const second = Math.floor(block.secondStart / PAGE_SIZE);
  return second === first ? [first] : [first, second];
}
