/**
 * Writes a region: connected basic blocks as one WebAssembly function. Loops are loops, branches between blocks are
 * branches, and one exit at the end puts everything back. region_emitter.ts writes what is inside a block.
 */
import { HANDLER_SIGNATURE, handlerImports } from './emitter.ts';
import type { Op } from './ir.ts';
import * as L from './layout.ts';
import { LazyFlags, SAVE_FLAGS_SIGNATURE } from './lazy_flags.ts';
import { type Frame, gprOf, leaveTo, loadRegisters, RegionEmitter, xmmOf } from './region_emitter.ts';
import { findEntries, findLoops, type RegionBlock, type RegionInsn, successors } from './region_shape.ts';
import { FunctionBody, type ImportedFunction, type Signature } from './wasm_writer.ts';

/** (entry block) -> next record, or 0: like a handler, but for as many instructions as REMAINING allows. */
export const REGION_SIGNATURE: Signature = HANDLER_SIGNATURE;

export const regionImports: readonly ImportedFunction[] = [...handlerImports, { name: 'saveFlags', signature: SAVE_FLAGS_SIGNATURE }];
const IMPORT_SAVE_FLAGS = handlerImports.length;

export interface EmittedRegion {
  readonly body: FunctionBody;
  /** By block: the number to enter it by, or undefined where it cannot be entered. */
  readonly entries: readonly (number | undefined)[];
}

export function emitRegion(blocks: readonly RegionBlock[], functionIndex: number, isUser: boolean): EmittedRegion {
  const writer = new RegionWriter(blocks, functionIndex, isUser);
  return { body: writer.write(), entries: writer.entries };
}

/** A stretch of blocks that is laid out together: the whole region, or the body of a loop. */
interface Scope {
  readonly low: number;
  readonly high: number;
  /** Whether its head asks `entry` where to go. */
  readonly hasTable: boolean;
  /** First block of each item (a block or an inner loop), in order. */
  readonly items: readonly number[];
  readonly labels: readonly number[];
  readonly loopLabel: number;
  current: number;
}

class RegionWriter {
  readonly #blocks: readonly RegionBlock[];
  readonly #f = new FunctionBody(REGION_SIGNATURE);
  readonly #frame: Frame;
  readonly #loopEnds: Map<number, number>;
  readonly #scopes: Scope[] = [];
  /** As EmittedRegion has them. */
  readonly entries: readonly (number | undefined)[];
  #exitLabel = 0;
  #outerLabel = 0;

  constructor(blocks: readonly RegionBlock[], functionIndex: number, isUser: boolean) {
    this.#blocks = blocks;
    const f = this.#f;
    const blockAt = new Map(blocks.map((block, i) => [block.rip, i]));
    const edges = blocks.flatMap((block, from) =>
      successors(block).flatMap((rip): [number, number][] => {
        const to = blockAt.get(rip);
        return to === undefined ? [] : [[from, to]];
      }),
    );
    this.#loopEnds = findLoops(edges);
    let count = 0;
    const isEntry = findEntries(blocks, edges, this.#loopEnds);
    this.entries = blocks.map((_, i) => (isEntry.has(i) ? count++ : undefined));
    this.#frame = {
      f,
      entry: 0,
      budget: f.local('i32'),
      out: f.local('i32'),
      tlbSet: isUser ? L.TLB_USER : L.TLB_SUPERVISOR,
      gpr: new Map(),
      xmm: new Map(),
      writtenGpr: new Set(),
      writtenXmm: new Set(),
      flags: new LazyFlags(f, IMPORT_SAVE_FLAGS),
      blockAt,
      functionIndex,
      goTo: (block) => this.#goTo(block),
      exit: () => f.brTo(this.#exitLabel),
      reenter: () => f.brTo(this.#outerLabel),
    };
    // Outside loops a register is used where it lies: what is not repeated is not worth its share of every exit.
    const isLooped = (block: number): boolean => [...this.#loopEnds].some(([head, end]) => head <= block && block <= end);
    blocks.forEach(({ insns }, i) => {
      if (isLooped(i)) for (const insn of insns) this.#findRegisters(insn);
    });
  }

  /** Gives every register that an instruction touches a local. */
  #findRegisters({ insn, ops }: RegionInsn): void {
    const { gpr, xmm, f } = this.#frame;
    const useGpr = (number: number): void => {
      if (!gpr.has(number)) gpr.set(number, f.local('i64'));
    };
    const useXmm = (number: number): void => {
      if (!xmm.has(number)) xmm.set(number, f.local('v128'));
    };
    const walk = (list: readonly Op[]): void => {
      for (const op of list) {
        if (op.k === 'getReg' || op.k === 'setReg') {
          useGpr(gprOf(insn, op.ref).number);
        } else if (op.k === 'getXmm' || op.k === 'setXmm') {
          useXmm(xmmOf(insn, op.ref));
        } else if (op.k === 'ea' || op.k === 'offset') {
          if (insn.baseNumber >= 0 && insn.shape.ea !== 'rip') useGpr(insn.baseNumber);
          if (insn.indexNumber >= 0) useGpr(insn.indexNumber);
        } else if (op.k === 'if') {
          walk(op.ifTrue);
          walk(op.ifFalse);
        }
      }
    };
    walk(ops);
  }

  write(): FunctionBody {
    const f = this.#f;
    const { budget, out, gpr, xmm, writtenGpr, writtenXmm, flags } = this.#frame;
    f.i32(0).mem('i32.load', L.REMAINING).set(budget);
    loadRegisters(this.#frame);
    this.#exitLabel = f.block().depth;
    this.#outerLabel = f.loop().depth;
    this.#emitScope(0, this.#blocks.length - 1, this.#outerLabel);
    f.unreachable();
    f.end().end();
    for (const number of writtenGpr)
      f.i32(0)
        .get(gpr.get(number)!)
        .mem('i64.store', L.GPR + 8 * number);
    for (const number of writtenXmm)
      f.i32(0)
        .get(xmm.get(number)!)
        .mem('v128.store', L.XMM + 16 * number);
    flags.save();
    f.i32(0).get(budget).mem('i32.store', L.REMAINING);
    return f.get(out);
  }

  /** Blocks low..high, entered at the one that `entry` names; `loopLabel` comes back to its head. */
  #emitScope(low: number, high: number, loopLabel: number): void {
    const f = this.#f;
    const isOuter = this.#scopes.length === 0;
    const items: number[] = [];
    for (let block = low; block <= high; block++) {
      items.push(block);
      const end = this.#loopEnds.get(block);
      if (end !== undefined && (isOuter || block > low)) block = end;
    }
    const labels: number[] = [];
    for (let item = items.length - 1; item >= 0; item--) labels[item] = f.block().depth;
    const entered: number[] = [];
    for (let block = low; block <= high; block++) if (this.entries[block] !== undefined) entered.push(block);
    const hasTable = entered.length > 1 || entered[0] !== low;
    const scope: Scope = { low, high, hasTable, items, labels, loopLabel, current: 0 };
    this.#scopes.push(scope);
    const itemOf = (block: number): number => items.findLastIndex((first) => first <= block);
    if (hasTable) {
      const first = this.entries[entered[0]!]!;
      const { entry } = this.#frame;
      // Coming back to the head of a loop is the common case.
      if (!isOuter) f.get(entry).i32(first).op('i32.eq').brIf(0);
      f.get(entry);
      if (first > 0) f.i32(first).op('i32.sub');
      const depths = entered.map((block) => f.depth - labels[itemOf(block)]!);
      f.brTable(depths, depths[0]!);
    }
    items.forEach((first, item) => {
      f.end();
      scope.current = item;
      const last = (items[item + 1] ?? high + 1) - 1;
      const isLoop = this.#loopEnds.get(first) !== undefined && (isOuter || first > low);
      if (isLoop) {
        const label = f.loop().depth;
        this.#emitScope(first, last, label);
        f.end();
      } else this.#emitBlock(first);
    });
    this.#scopes.pop();
  }

  /** Whether the loop at a block of the scope asks `entry`; not yet known for what has not been laid out. */
  #hasTable(block: number, scope: Scope, item: number): boolean {
    const last = (scope.items[item + 1] ?? scope.high + 1) - 1;
    for (let other = scope.items[item]!; other <= last; other++) {
      if (other !== block && this.entries[other] !== undefined) return true;
    }
    return block !== scope.items[item];
  }

  #goTo(block: number): void {
    const f = this.#f;
    const setEntry = (): void => {
      f.i32(this.entries[block]!).set(this.#frame.entry);
    };
    for (const scope of this.#scopes.toReversed()) {
      if (block < scope.low || block > scope.high) continue;
      const item = scope.items.findLastIndex((first) => first <= block);
      if (item > scope.current) {
        if (this.#hasTable(block, scope, item)) setEntry();
        f.brTo(scope.labels[item]!);
      } else {
        if (scope.hasTable) setEntry();
        f.brTo(scope.loopLabel);
      }
      return;
    }
    throw new Error('bug: a branch to a block of no scope');
  }

  #emitBlock(index: number): void {
    const f = this.#f;
    const { budget, out, flags } = this.#frame;
    const block = this.#blocks[index]!;
    const count = block.insns.length;
    flags.forget();
    if (count > 0) {
      f.get(budget).i32(count).op('i32.lt_s').if();
      f.i32(block.record).set(out);
      this.#frame.exit();
      f.end();
      f.get(budget).i32(count).op('i32.sub').set(budget);
    }
    let isOpen = true;
    block.insns.forEach((member, i) => {
      const mark = f.localMark;
      const emitter = new RegionEmitter(member, this.#frame, count - i);
      emitter.list(member.ops);
      isOpen = emitter.finish();
      f.recycleLocals(mark);
    });
    if (isOpen) leaveTo(this.#frame, block.next);
  }
}
