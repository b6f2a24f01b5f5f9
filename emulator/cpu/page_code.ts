/**
 * The code of a page as the second tier sees it: basic blocks that can be reached from where branches were seen to go,
 * through what the interpreter has run. Offsets are from the page's start.
 */
import type { Insn } from './decoder.ts';
import type { Op } from './ir.ts';

export const PAGE_SIZE = 4096;

/** An instruction and what it does to the block it is in: ends it 'after' or 'before', as only the interpreter can run it. */
export interface PageInsn {
  readonly insn: Insn;
  readonly ops: readonly Op[];
  readonly end: 'no' | 'after' | 'before';
}

export interface PageBlock {
  readonly offset: number;
  readonly insns: readonly PageInsn[];
  /** Of the instruction behind it. */
  readonly next: number;
}

const MAX_BLOCK = 60;

export interface PageCode {
  /** RIP of its first byte. */
  readonly rip: bigint;
  /** Where branches go, first. */
  readonly roots: readonly number[];
  /** Whether the interpreter has decoded an instruction there. */
  isKnown(offset: number): boolean;
  /** The instruction that starts there; undefined where none does that could be translated. */
  decode(offset: number): PageInsn | undefined;
}

/** In order of their addresses; about `limit` instructions at most. */
export function findBlocks(code: PageCode, limit: number): PageBlock[] {
  const found = new Map<number, PageInsn | undefined>();
  const at = (offset: number): PageInsn | undefined => {
    if (offset >= PAGE_SIZE || !code.isKnown(offset)) return undefined;
    if (!found.has(offset)) found.set(offset, code.decode(offset));
    return found.get(offset);
  };
  const leaders = findLeaders(code, at, () => found.size < limit);
  const blocks: PageBlock[] = [];
  for (const offset of [...leaders].sort((a, b) => a - b)) {
    const insns: PageInsn[] = [];
    let here = offset;
    for (let member = at(here); member && member.end !== 'before' && insns.length < MAX_BLOCK; member = at(here)) {
      insns.push(member);
      here += member.insn.length;
      if (member.end === 'after' || leaders.has(here)) break;
    }
    if (insns.length > 0) blocks.push({ offset, insns, next: here });
  }
  return blocks;
}

/**
 * Groups blocks that branches connect: roughly a function each. A call joins two groups as long as they stay small
 * together, so that leaves run with their callers.
 */
export function groupBlocks(blocks: readonly PageBlock[], page: bigint, smallSize: number): PageBlock[][] {
  const group = blocks.map((_, i) => i);
  const size = blocks.map(({ insns }) => insns.length);
  const find = (i: number): number => {
    let root = i;
    while (group[root] !== root) root = group[root]!;
    return root;
  };
  const join = (a: number, b: number | undefined, limit: number): void => {
    if (b === undefined) return;
    const [first, second] = [find(a), find(b)];
    if (first === second || size[first]! + size[second]! > limit) return;
    group[second] = first;
    size[first]! += size[second]!;
  };
  const blockAt = new Map(blocks.map(({ offset }, i) => [offset, i]));
  const edges = blocks.map((block) => {
    const last = block.insns.at(-1)!;
    const target = last.end === 'after' ? directTarget(last, page) : undefined;
    return {
      target: target === undefined ? undefined : blockAt.get(target),
      isCall: last.insn.row.mnemonic === 'call',
      next: blockAt.get(block.next),
      last,
    };
  });
  edges.forEach(({ target, isCall, next, last }, i) => {
    if (!isCall) join(i, target, Number.POSITIVE_INFINITY);
    if (last.end !== 'after' || comesBack(last)) join(i, next, Number.POSITIVE_INFINITY);
  });
  // Bytes that are code in two ways: what changes them must meet one region only.
  blocks.forEach(({ next }, i) => {
    for (let other = i + 1; other < blocks.length && blocks[other]!.offset < next; other++) join(i, other, Number.POSITIVE_INFINITY);
  });
  edges.forEach(({ target, isCall }, i) => {
    if (isCall) join(i, target, smallSize);
  });
  const groups = new Map<number, PageBlock[]>();
  blocks.forEach((block, i) => {
    const root = find(i);
    groups.set(root, [...(groups.get(root) ?? []), block]);
  });
  return [...groups.values()];
}

function findLeaders(code: PageCode, at: (offset: number) => PageInsn | undefined, hasRoom: () => boolean): ReadonlySet<number> {
  const leaders = new Set<number>();
  const work = [...code.roots];
  for (let root = work.pop(); root !== undefined && hasRoom(); root = work.pop()) {
    if (leaders.has(root)) continue;
    leaders.add(root);
    for (let here = root, member = at(here); member && member.end !== 'before'; member = at(here)) {
      const next = here + member.insn.length;
      if (member.end === 'after') {
        const target = directTarget(member, code.rip);
        if (target !== undefined) work.push(target);
        if (comesBack(member)) work.push(next);
        break;
      }
      here = next;
      if (leaders.has(here)) break;
      // A string instruction that repeats itself is a loop.
      const following = at(here);
      if (following && isRepeated(following.ops)) {
        work.push(here);
        break;
      }
    }
  }
  return leaders;
}

/** How an instruction ends the block that it is in. */
export function endOf({ row }: Insn, ops: readonly Op[]): PageInsn['end'] {
  if (row.attributes.has('system') || row.attributes.has('end') || ops.some((op) => op.k === 'system')) return 'before';
  const last = ops.at(-1);
  const isEnd = last?.k === 'jump' || (last?.k === 'fault' && !last.cond) || ops.some((op) => op.k === 'branch') || isRepeated(ops);
  return isEnd ? 'after' : 'no';
}

function isRepeated(ops: readonly Op[]): boolean {
  return ops.some(
    (op) => (op.k === 'jump' && op.target === 'self') || (op.k === 'if' && (isRepeated(op.ifTrue) || isRepeated(op.ifFalse))),
  );
}

/** Whether execution can reach the following address: behind a conditional branch, a repetition or a call. */
function comesBack({ insn, ops }: PageInsn): boolean {
  return insn.row.mnemonic === 'call' || isRepeated(ops) || ops.some((op) => op.k === 'branch');
}

function directTarget({ insn, ops }: PageInsn, page: bigint): number | undefined {
  if (!ops.some((op) => op.k === 'branch' || (op.k === 'jump' && op.target === 'imm'))) return undefined;
  const offset = insn.imm - page;
  return offset >= 0n && offset < PAGE_SIZE ? Number(offset) : undefined;
}
