/**
 * The control flow of a region: its blocks, where they lead, which of them are loops and where it can be entered. Offsets
 * are from the start of the page that it lies in.
 */
import type { Flow } from './region_template.ts';

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

/** Branches between blocks of a region, by their numbers: from and to of each, one behind another. */
export type Edges = readonly number[];

export function findEdges(blocks: readonly RegionBlock[], blockAt: ReadonlyMap<number, number>): number[] {
  const edges: number[] = [];
  for (let from = 0; from < blocks.length; from++) {
    const { toNext, toTarget, toSelf } = blocks[from]!;
    const next = blockAt.get(toNext);
    const target = blockAt.get(toTarget);
    if (next !== undefined) edges.push(from, next);
    if (target !== undefined) edges.push(from, target);
    if (toSelf) edges.push(from, from);
  }
  return edges;
}

/** By block, the last block of the loop whose head it is, or -1. Loops are nested: one that crosses another is widened to hold it. */
export function findLoops(edges: Edges, count: number): number[] {
  const ends = new Array<number>(count).fill(-1);
  const heads: number[] = [];
  for (let i = 0; i < edges.length; i += 2) {
    const from = edges[i]!;
    const to = edges[i + 1]!;
    if (to > from) continue;
    if (ends[to]! < 0) heads.push(to);
    if (ends[to]! < from) ends[to] = from;
  }
  for (let isStable = false; !isStable; ) {
    isStable = true;
    for (const head of heads) {
      for (const other of heads) {
        if (head < other && other <= ends[head]! && ends[head]! < ends[other]!) {
          ends[head] = ends[other]!;
          isStable = false;
        }
      }
    }
  }
  return ends;
}

/**
 * Whether a block can be entered from outside, by block: heads of loops, blocks that no other leads to, blocks inside a loop
 * that something outside it leads to, and those that were asked for. All others are only reached by their neighbours, which
 * leaves the code between them free of joins.
 */
export function findEntries(blocks: readonly RegionBlock[], edges: Edges, loopEnds: readonly number[]): boolean[] {
  const isReached = new Array<boolean>(blocks.length).fill(false);
  const isEntry = blocks.map((block, i) => block.isEntry || loopEnds[i]! >= 0);
  for (let i = 0; i < edges.length; i += 2) {
    const from = edges[i]!;
    const to = edges[i + 1]!;
    if (from !== to) isReached[to] = true;
    for (let head = 0; head < to; head++) {
      const end = loopEnds[head]!;
      if (end >= to && (from < head || from > end)) isEntry[to] = true;
    }
  }
  for (let i = 0; i < blocks.length; i++) if (!isReached[i]) isEntry[i] = true;
  return isEntry;
}
