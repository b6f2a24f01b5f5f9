/**
 * The control flow of a region: its blocks, where they lead, which of them are loops and where it can be entered. Offsets
 * are from the start of the page that it lies in.
 */
import type { Insn } from './decoder.ts';
import type { RegionTemplate } from './region_template.ts';

export interface RegionInsn {
  readonly insn: Insn;
  readonly template: RegionTemplate;
  readonly record: number;
  /** Where its immediate leads, if it is a direct branch within the page; else -1. */
  readonly target: number;
}

/** A basic block. */
export interface PageBlock {
  readonly offset: number;
  readonly insns: readonly RegionInsn[];
  /** Of the instruction behind it. */
  readonly next: number;
}

export interface RegionBlock extends PageBlock {
  /** The interpreter's. */
  readonly record: number;
  /** Wanted as an entry although branches inside the region lead to it. */
  readonly isEntry: boolean;
}

/** Where a block leads within the page, as far as that is known at translation. */
export function successors({ insns, offset, next }: PageBlock): number[] {
  const { target, template } = insns.at(-1)!;
  const targets: number[] = [];
  if (template.flow.toNext) targets.push(next);
  if (target >= 0) targets.push(target);
  // What repeats itself is a block of its own.
  if (template.flow.toSelf) targets.push(offset);
  return targets;
}

/** Header to last block, properly nested: an interval that crosses another is widened to hold it. */
export function findLoops(edges: readonly (readonly [number, number])[]): Map<number, number> {
  const ends = new Map<number, number>();
  for (const [from, to] of edges) if (to <= from) ends.set(to, Math.max(ends.get(to) ?? 0, from));
  for (let isStable = false; !isStable; ) {
    isStable = true;
    for (const [a, b] of ends) {
      for (const [c, d] of ends) {
        if (a < c && c <= b && b < d) {
          ends.set(a, d);
          isStable = false;
        }
      }
    }
  }
  return ends;
}

/**
 * Blocks that can be entered from outside: heads of loops, blocks that no other leads to, blocks inside a loop that
 * something outside it leads to, and those that were asked for. All others are only reached by their neighbours, which
 * leaves the code between them free of joins.
 */
export function findEntries(
  blocks: readonly RegionBlock[],
  edges: readonly (readonly [number, number])[],
  loopEnds: ReadonlyMap<number, number>,
): ReadonlySet<number> {
  const entries = new Set<number>(loopEnds.keys());
  const reached = new Set<number>();
  for (const [from, to] of edges) {
    if (from !== to) reached.add(to);
    for (const [head, end] of loopEnds) if (head < to && to <= end && (from < head || from > end)) entries.add(to);
  }
  blocks.forEach(({ isEntry }, i) => {
    if (isEntry || !reached.has(i)) entries.add(i);
  });
  return entries;
}
