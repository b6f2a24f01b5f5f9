/**
 * The control flow of a region: its blocks, where they lead, which of them are loops and where it can be entered.
 */
import type { Insn } from './decoder.ts';
import type { Op } from './ir.ts';

export interface RegionInsn {
  readonly insn: Insn;
  readonly ops: readonly Op[];
  readonly record: number;
}

export interface RegionBlock {
  readonly rip: bigint;
  readonly record: number;
  readonly insns: readonly RegionInsn[];
  /** Where execution goes on after the last instruction, unless that jumps. */
  readonly next: bigint;
  /** Wanted as an entry although branches inside the region lead to it. */
  readonly isEntry: boolean;
}

/** Header to last block, properly nested: an interval that crosses another is widened to hold it. */
export function findLoops(edges: readonly [number, number][]): Map<number, number> {
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
  edges: readonly [number, number][],
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

/** Where a block leads, as far as that is known at translation. */
export function successors({ insns, next, rip }: Pick<RegionBlock, 'insns' | 'next' | 'rip'>): bigint[] {
  const last = insns.at(-1);
  if (!last) return [next];
  const end = last.ops.at(-1);
  const targets = end?.k === 'jump' || (end?.k === 'fault' && !end.cond) ? [] : [next];
  const walk = (ops: readonly Op[]): void => {
    for (const op of ops) {
      if (op.k === 'branch' || (op.k === 'jump' && op.target === 'imm')) targets.push(last.insn.imm);
      else if (op.k === 'jump' && op.target === 'self') targets.push(rip);
      else if (op.k === 'jump' && op.target === 'next') targets.push(next);
      else if (op.k === 'if') {
        walk(op.ifTrue);
        walk(op.ifFalse);
      }
    }
  };
  walk(last.ops);
  return targets;
}
