/**
 * The code of a page as the second tier sees it: basic blocks that can be reached from where branches were seen to go,
 * through what the interpreter has run. It is read from the interpreter's records, and nothing is made for an instruction;
 * one object serves one page after the other. Offsets are from the page's start.
 */
import type { CodeBlock } from './code_block.ts';
import * as L from './layout.ts';
import { PAGE_SIZE } from './layout.ts';
import { NOWHERE, RegionBlock } from './region_shape.ts';
import type { RegionTemplate } from './region_template.ts';

const MAX_BLOCK = 60;
/** Marks of an offset: a block starts there; it has been walked over. */
const LEADER = 1,
  SEEN = 2;

export class PageCode {
  readonly #words: Int32Array;
  readonly #templateOf: (record: number) => RegionTemplate | undefined;
  /** RIP of the page's start. */
  #low = 0;
  #high = 0;
  readonly #recordAt = new Int32Array(PAGE_SIZE);
  readonly #marks = new Uint8Array(PAGE_SIZE);
  /** By offset, which of the blocks starts there, or -1. */
  readonly #blockAt = new Int16Array(PAGE_SIZE);
  readonly #work: number[] = [];
  /** Records and templates of the blocks' instructions, which lie one behind another. */
  readonly records: number[] = [];
  readonly templates: RegionTemplate[] = [];

  /** `templateOf`: of the instruction of a record, if it can be translated. */
  constructor(buffer: ArrayBuffer, templateOf: (record: number) => RegionTemplate | undefined) {
    this.#words = new Int32Array(buffer);
    this.#templateOf = templateOf;
  }

  /** Another page: what the interpreter has decoded there. */
  start(low: number, high: number, known: readonly CodeBlock[]): void {
    this.#low = low;
    this.#high = high;
    const recordAt = this.#recordAt;
    recordAt.fill(0);
    for (const { record, instructions } of known) {
      for (let i = 0, at = record; i < instructions; i++, at += L.RECORD_SIZE) recordAt[this.#words[(at + L.R_RIP) >> 2]! & 0xfff] = at;
    }
  }

  /** What stands at an offset is none of it. */
  exclude(offset: number): void {
    this.#recordAt[offset] = 0;
  }

  /** Of the instruction at an offset, or 0. */
  recordAt(offset: number): number {
    return this.#recordAt[offset]!;
  }

  /** Blocks in order of their addresses, about `limit` instructions at most. `roots`: where branches go, first. */
  findBlocks(roots: readonly number[], limit: number): RegionBlock[] {
    const marks = this.#marks;
    marks.fill(0);
    this.records.length = 0;
    this.templates.length = 0;
    this.#markLeaders(roots, limit);
    const blocks: RegionBlock[] = [];
    for (let offset = 0; offset < PAGE_SIZE; offset++) {
      if ((marks[offset]! & LEADER) === 0) continue;
      const block = this.#block(offset);
      if (block) blocks.push(block);
    }
    return blocks;
  }

  /** Of the instruction at an offset, unless only the interpreter can run it or it has never been there. */
  #at(offset: number): RegionTemplate | undefined {
    if (offset >= PAGE_SIZE) return undefined;
    const record = this.#recordAt[offset]!;
    return record === 0 ? undefined : this.#templateOf(record);
  }

  /** The record behind another has its RIP. */
  #next(offset: number): number {
    const rip = (this.#recordAt[offset]! + L.R_RIP) >> 2;
    return offset + ((this.#words[rip + L.RECORD_SIZE / 4]! - this.#words[rip]!) | 0);
  }

  /** Where its immediate leads, if that is in the page. */
  #target(offset: number): number {
    const place = (this.#recordAt[offset]! + L.R_IMM) >> 2;
    const low = this.#words[place]!;
    return this.#words[place + 1] === this.#high && low >>> 12 === this.#low >>> 12 ? low & 0xfff : NOWHERE;
  }

  #markLeaders(roots: readonly number[], limit: number): void {
    const marks = this.#marks;
    const work = this.#work;
    work.length = 0;
    for (const root of roots) work.push(root);
    let seen = 0;
    while (work.length > 0 && seen < limit) {
      let here = work.pop()!;
      if (here >= PAGE_SIZE || (marks[here]! & LEADER) !== 0) continue;
      marks[here] = LEADER | marks[here]!;
      for (let template = this.#at(here); template && template.flow.end !== 'before'; template = this.#at(here)) {
        if ((marks[here]! & SEEN) === 0) seen++;
        marks[here] = SEEN | marks[here]!;
        const { flow } = template;
        const next = this.#next(here);
        if (flow.end === 'after') {
          if (flow.toTarget) {
            const target = this.#target(here);
            if (target !== NOWHERE) work.push(target);
          }
          if (flow.toNext || flow.isCall) work.push(next);
          break;
        }
        here = next;
        if (here >= PAGE_SIZE || (marks[here]! & LEADER) !== 0) break;
        // A string instruction that repeats itself is a loop.
        if (this.#at(here)?.flow.toSelf) {
          work.push(here);
          break;
        }
      }
    }
  }

  #block(offset: number): RegionBlock | undefined {
    const { records, templates } = this;
    const first = records.length;
    let here = offset;
    let last = offset;
    for (let template = this.#at(here); template && template.flow.end !== 'before'; template = this.#at(here)) {
      records.push(this.#recordAt[here]!);
      templates.push(template);
      last = here;
      here = this.#next(here);
      if (template.flow.end === 'after' || records.length - first === MAX_BLOCK) break;
      if (here >= PAGE_SIZE || (this.#marks[here]! & LEADER) !== 0) break;
    }
    const count = records.length - first;
    if (count === 0) return undefined;
    const { flow } = templates[templates.length - 1]!;
    return new RegionBlock(offset, here, first, count, flow, flow.toTarget ? this.#target(last) : NOWHERE);
  }

  /**
   * Groups blocks that branches connect: roughly a function each. A call joins two groups as long as they stay small
   * together, so that leaves run with their callers.
   */
  group(blocks: readonly RegionBlock[], smallSize: number): RegionBlock[][] {
    const blockAt = this.#blockAt.fill(-1);
    for (let i = 0; i < blocks.length; i++) blockAt[blocks[i]!.offset] = i;
    const groups = new Groups(blocks);
    const joinAt = (i: number, offset: number, limit: number): void => {
      if (offset >= 0 && offset < PAGE_SIZE && blockAt[offset]! >= 0) groups.join(i, blockAt[offset]!, limit);
    };
    for (let i = 0; i < blocks.length; i++) {
      const { next, toNext, toTarget, isCall } = blocks[i]!;
      if (isCall) joinAt(i, next, Number.MAX_SAFE_INTEGER);
      else {
        joinAt(i, toNext, Number.MAX_SAFE_INTEGER);
        joinAt(i, toTarget, Number.MAX_SAFE_INTEGER);
      }
      // Bytes that are code in two ways: what changes them must meet one region only.
      for (let other = i + 1; other < blocks.length && blocks[other]!.offset < next; other++)
        groups.join(i, other, Number.MAX_SAFE_INTEGER);
    }
    for (let i = 0; i < blocks.length; i++) if (blocks[i]!.isCall) joinAt(i, blocks[i]!.toTarget, smallSize);
    return groups.lists(blocks);
  }
}

/** Which blocks belong together. */
class Groups {
  readonly #parent: Int32Array;
  /** Instructions of a group, by its root. */
  readonly #size: Int32Array;

  constructor(blocks: readonly RegionBlock[]) {
    this.#parent = Int32Array.from(blocks.keys());
    this.#size = Int32Array.from(blocks, ({ count }) => count);
  }

  #root(i: number): number {
    let root = i;
    while (this.#parent[root] !== root) root = this.#parent[root]!;
    return root;
  }

  /** Joins the groups of two blocks unless they are larger together. */
  join(a: number, b: number, limit: number): void {
    const first = this.#root(a);
    const second = this.#root(b);
    if (first === second || this.#size[first]! + this.#size[second]! > limit) return;
    this.#parent[second] = first;
    this.#size[first]! += this.#size[second]!;
  }

  lists(blocks: readonly RegionBlock[]): RegionBlock[][] {
    const lists: RegionBlock[][] = [];
    const listOf = new Int32Array(blocks.length).fill(-1);
    for (let i = 0; i < blocks.length; i++) {
      const root = this.#root(i);
      if (listOf[root]! < 0) {
        listOf[root] = lists.length;
        lists.push([]);
      }
      lists[listOf[root]!]!.push(blocks[i]!);
    }
    return lists;
  }
}
