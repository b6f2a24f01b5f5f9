/**
 * The code of a page as the second tier sees it: basic blocks that can be reached from where branches were seen to go,
 * through what the interpreter has run. Offsets are from the page's start.
 */
import { PAGE_SIZE } from './layout.ts';
import { type PageBlock, type RegionInsn, successors } from './region_shape.ts';

const MAX_BLOCK = 60;

interface PageCode {
  /** Where branches go, first. */
  readonly roots: readonly number[];
  /** The instruction that the interpreter has decoded there; undefined where there is none, or none that could be translated. */
  decode(offset: number): RegionInsn | undefined;
}

/** In order of their addresses; about `limit` instructions at most. */
export function findBlocks(code: PageCode, limit: number): PageBlock[] {
  const found = new Map<number, RegionInsn>();
  const at = (offset: number): RegionInsn | undefined => {
    let member = found.get(offset);
    if (member || offset >= PAGE_SIZE) return member;
    member = code.decode(offset);
    if (member) found.set(offset, member);
    return member;
  };
  const leaders = findLeaders(code, at, () => found.size < limit);
  const blocks: PageBlock[] = [];
  for (const offset of [...leaders].sort((a, b) => a - b)) {
    const insns: RegionInsn[] = [];
    let here = offset;
    for (let member = at(here); member && member.template.flow.end !== 'before' && insns.length < MAX_BLOCK; member = at(here)) {
      insns.push(member);
      here += member.insn.length;
      if (member.template.flow.end === 'after' || leaders.has(here)) break;
    }
    if (insns.length > 0) blocks.push({ offset, insns, next: here });
  }
  return blocks;
}

/**
 * Groups blocks that branches connect: roughly a function each. A call joins two groups as long as they stay small
 * together, so that leaves run with their callers.
 */
export function groupBlocks(blocks: readonly PageBlock[], smallSize: number): PageBlock[][] {
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
  const isCall = blocks.map(({ insns }) => insns.at(-1)!.template.flow.isCall);
  blocks.forEach((block, i) => {
    if (isCall[i]) join(i, blockAt.get(block.next), Number.POSITIVE_INFINITY);
    else for (const offset of successors(block)) join(i, blockAt.get(offset), Number.POSITIVE_INFINITY);
  });
  // Bytes that are code in two ways: what changes them must meet one region only.
  blocks.forEach(({ next }, i) => {
    for (let other = i + 1; other < blocks.length && blocks[other]!.offset < next; other++) join(i, other, Number.POSITIVE_INFINITY);
  });
  blocks.forEach(({ insns }, i) => {
    if (isCall[i]) join(i, blockAt.get(insns.at(-1)!.target), smallSize);
  });
  const groups = new Map<number, PageBlock[]>();
  blocks.forEach((block, i) => {
    const root = find(i);
    const members = groups.get(root);
    if (members) members.push(block);
    else groups.set(root, [block]);
  });
  return [...groups.values()];
}

function findLeaders({ roots }: PageCode, at: (offset: number) => RegionInsn | undefined, hasRoom: () => boolean): ReadonlySet<number> {
  const leaders = new Set<number>();
  const work = [...roots];
  for (let root = work.pop(); root !== undefined && hasRoom(); root = work.pop()) {
    if (leaders.has(root)) continue;
    leaders.add(root);
    for (let here = root, member = at(here); member && member.template.flow.end !== 'before'; member = at(here)) {
      const { flow } = member.template;
      const next = here + member.insn.length;
      if (flow.end === 'after') {
        if (member.target >= 0) work.push(member.target);
        if (flow.toNext || flow.isCall) work.push(next);
        break;
      }
      here = next;
      if (leaders.has(here)) break;
      // A string instruction that repeats itself is a loop.
      if (at(here)?.template.flow.toSelf) {
        work.push(here);
        break;
      }
    }
  }
  return leaders;
}
