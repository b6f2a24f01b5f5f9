/**
 * The control flow of a region: its blocks, where they lead, which of them are loops and where it can be entered. Offsets
 * are from the start of the page that it lies in.
 */
import type { Flow } from './region_flow.ts';

/** An offset that is none. */
export const NOWHERE = -1;

/** A basic block. */
export class RegionBlock {
  readonly offset: number;
  /** Of the instruction behind it. */
  readonly next: number;
  /** Its instructions, among those of all blocks of the page (page_code.ts). */
  readonly first: number;
  readonly count: number;
  /** Where it leads within the page, as far as that is known at translation: offsets, or NOWHERE. */
  readonly toNext: number;
  readonly toTarget: number;
  /** What repeats itself is a block of its own. */
  readonly toSelf: boolean;
  readonly isCall: boolean;
  /** The interpreter's. */
  record = 0;
  /** Wanted as an entry although branches inside the region lead to it. */
  isEntry = false;
  /** Numbers in the region of the blocks that it leads to, or -1. */
  nextBlock = -1;
  targetBlock = -1;
  /** The one behind a call, or -1. */
  returnBlock = -1;
  /** The last block of the loop whose head it is, or -1. */
  loopEnd = -1;
  /** The number by which the region is entered here, or -1. */
  entry = -1;
  /** How many instructions may run from here on until a block asks the budget, and whether this one does without being an entry. */
  stretch = 0;
  asks = false;

  /** `flow`: of its last instruction. */
  constructor(offset: number, next: number, first: number, count: number, flow: Flow, target: number) {
    this.offset = offset;
    this.next = next;
    this.first = first;
    this.count = count;
    this.toNext = flow.toNext ? next : NOWHERE;
    this.toTarget = target;
    this.toSelf = flow.toSelf;
    this.isCall = flow.isCall;
  }
}

/** By offset, which block of a region starts there, or -1. */
export type BlockNumbers = Int16Array;

/** Finds where the blocks of a region lead, its loops and its entries. */
export function shapeRegion(blocks: readonly RegionBlock[], blockAt: BlockNumbers, maxStretch: number): void {
  for (let i = 0; i < blocks.length; i++) {
    const block = blocks[i]!;
    block.nextBlock = numberAt(blockAt, block.toNext);
    block.targetBlock = numberAt(blockAt, block.toTarget);
    block.returnBlock = block.isCall ? numberAt(blockAt, block.next) : -1;
  }
  findLoops(blocks);
  findEntries(blocks);
  findStretches(blocks, maxStretch);
}

function numberAt(blockAt: BlockNumbers, offset: number): number {
  return offset < 0 || offset >= blockAt.length ? -1 : blockAt[offset]!;
}

/** Loops are nested: one that crosses another is widened to hold it. A call back is none: what it calls returns, past all heads. */
function findLoops(blocks: readonly RegionBlock[]): void {
  let heads = 0;
  for (let i = 0; i < blocks.length; i++) {
    const { nextBlock, targetBlock, toSelf, isCall } = blocks[i]!;
    if (toSelf) heads += closeLoop(blocks, i, i);
    if (nextBlock >= 0 && nextBlock <= i) heads += closeLoop(blocks, nextBlock, i);
    if (!isCall && targetBlock >= 0 && targetBlock <= i) heads += closeLoop(blocks, targetBlock, i);
  }
  for (let isStable = heads < 2; !isStable; ) {
    isStable = true;
    for (let i = 0; i < blocks.length; i++) {
      const head = blocks[i]!;
      for (let j = i + 1; j <= head.loopEnd; j++) {
        if (blocks[j]!.loopEnd <= head.loopEnd) continue;
        head.loopEnd = blocks[j]!.loopEnd;
        isStable = false;
      }
    }
  }
}

/** How many heads that makes more. */
function closeLoop(blocks: readonly RegionBlock[], head: number, end: number): number {
  const block = blocks[head]!;
  const isNew = block.loopEnd < 0;
  if (block.loopEnd < end) block.loopEnd = end;
  return isNew ? 1 : 0;
}

/**
 * Blocks that can be entered from outside: heads of loops, blocks that no other leads to, blocks inside a loop that
 * something outside it leads to, those behind calls, and those that were asked for. All others are only reached by their
 * neighbours, which leaves the code between them free of joins.
 */
function findEntries(blocks: readonly RegionBlock[]): void {
  const { length } = blocks;
  for (let i = 0; i < length; i++) {
    const block = blocks[i]!;
    block.entry = block.isEntry || block.loopEnd >= 0 ? 0 : NOT_REACHED;
  }
  for (let i = 0; i < length; i++) {
    const { returnBlock } = blocks[i]!;
    if (returnBlock >= 0) blocks[returnBlock]!.entry = 0;
  }
  for (let i = 0; i < length; i++) {
    const { nextBlock, targetBlock, isCall } = blocks[i]!;
    if (nextBlock >= 0 && nextBlock !== i) reach(blocks, i, nextBlock);
    if (isCall && targetBlock >= 0 && targetBlock <= i) blocks[targetBlock]!.entry = 0;
    else if (targetBlock >= 0 && targetBlock !== i) reach(blocks, i, targetBlock);
  }
  let count = 0;
  for (let i = 0; i < length; i++) {
    const block = blocks[i]!;
    block.entry = block.entry === REACHED ? -1 : count++;
  }
}

const NOT_REACHED = -1,
  REACHED = -2;

function reach(blocks: readonly RegionBlock[], from: number, to: number): void {
  const block = blocks[to]!;
  if (block.entry === NOT_REACHED) block.entry = REACHED;
  for (let head = 0; head < to; head++) {
    const end = blocks[head]!.loopEnd;
    if (end >= to && (from < head || from > end)) block.entry = 0;
  }
}

/**
 * Entries ask the budget for the longest way from them to others that do, so what lies between need not; and so does a block
 * from which that would become too long. Whatever is no entry lies ahead of what leads to it.
 */
function findStretches(blocks: readonly RegionBlock[], maxStretch: number): void {
  for (let i = blocks.length - 1; i >= 0; i--) {
    const { nextBlock, targetBlock, count } = blocks[i]!;
    const stretch = count + Math.max(stretchOf(blocks, nextBlock), stretchOf(blocks, targetBlock));
    blocks[i]!.stretch = stretch;
    if (stretch <= maxStretch) continue;
    blocks[i]!.stretch = count;
    if (nextBlock >= 0) blocks[nextBlock]!.asks = true;
    if (targetBlock >= 0) blocks[targetBlock]!.asks = true;
  }
}

function stretchOf(blocks: readonly RegionBlock[], number: number): number {
  if (number < 0) return 0;
  const block = blocks[number]!;
  return block.entry >= 0 || block.asks ? 0 : block.stretch;
}
