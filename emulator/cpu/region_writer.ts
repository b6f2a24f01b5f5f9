/**
 * Writes a region: connected basic blocks as one WebAssembly function. Loops are loops, branches between blocks are
 * branches, and one exit at the end puts everything back. region_emitter.ts writes what is inside a block.
 */
import { HANDLER_SIGNATURE, handlerImports } from './emitter.ts';
import * as L from './layout.ts';
import { SAVE_FLAGS_SIGNATURE } from './lazy_flags.ts';
import { emitInsn, emitSteps, type Frame, gprOf, leaveToNext, loadGpr, loadXmm, storeGpr, storeXmm, xmmOf } from './region_emitter.ts';
import { findEntries, findLoops, type RegionBlock, type RegionInsn, successors } from './region_shape.ts';
import { FIXED_TEMPS, makeBlockTemplates, makeFrameLocals } from './region_template.ts';
import { FunctionBody, type ImportedFunction } from './wasm_writer.ts';

export const regionImports: readonly ImportedFunction[] = [...handlerImports, { name: 'saveFlags', signature: SAVE_FLAGS_SIGNATURE }];
export const IMPORT_SAVE_FLAGS = handlerImports.length;

/** Where regions lie, and for whom. */
export interface RegionPage {
  /** RIP of its first byte, in halves. */
  readonly low: number;
  readonly high: number;
  readonly isUser: boolean;
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

/** Which of the items of a scope holds a block. */
function itemOf(items: readonly number[], block: number): number {
  let item = items.length - 1;
  while (items[item]! > block) item--;
  return item;
}

/** Writes regions one after the other. */
export class RegionWriter {
  readonly #f: FunctionBody;
  readonly #frame: Frame;
  readonly #localCount: number;
  readonly #templates = makeBlockTemplates(IMPORT_SAVE_FLAGS);
  #blocks: readonly RegionBlock[] = [];
  #loopEnds: ReadonlyMap<number, number> = new Map();
  readonly #scopes: Scope[] = [];
  #entries: readonly (number | undefined)[] = [];

  constructor() {
    const f = new FunctionBody(HANDLER_SIGNATURE);
    this.#f = f;
    this.#frame = {
      ...makeFrameLocals(f, IMPORT_SAVE_FLAGS),
      f,
      tlbSet: 0,
      gpr: new Array<number>(16).fill(-1),
      xmm: new Array<number>(16).fill(-1),
      writtenGpr: 0,
      writtenXmm: 0,
      pageLow: 0,
      pageHigh: 0,
      blockAt: new Map(),
      functionIndex: 0,
      exitLabel: 0,
      outerLabel: 0,
      missLabel: -1,
      goTo: (block) => this.#goTo(block),
    };
    this.#localCount = f.localCount;
  }

  /** The last region's function: (entry block) -> next record, or 0. Like a handler, but for as many instructions as REMAINING allows. */
  get body(): FunctionBody {
    return this.#f;
  }

  /** Writes a region; returns by block the number to enter it by, or undefined where it cannot be entered. */
  write(blocks: readonly RegionBlock[], functionIndex: number, page: RegionPage): readonly (number | undefined)[] {
    this.#blocks = blocks;
    const edges = this.#start(functionIndex, page);
    this.#loopEnds = findLoops(edges);
    const isEntry = findEntries(blocks, edges, this.#loopEnds);
    let count = 0;
    this.#entries = blocks.map((_, i) => (isEntry.has(i) ? count++ : undefined));
    // Outside loops a register is used where it lies: what is not repeated is not worth its share of every exit.
    let looped = -1;
    blocks.forEach(({ insns }, i) => {
      looped = Math.max(looped, this.#loopEnds.get(i) ?? -1);
      if (i <= looped) for (const insn of insns) this.#findRegisters(insn);
    });
    this.#writeBody();
    return this.#entries;
  }

  /** Forgets the last region; the edges between the blocks of this one. */
  #start(functionIndex: number, page: RegionPage): [number, number][] {
    const frame = this.#frame;
    const { blockAt } = frame;
    this.#f.restart(this.#localCount);
    frame.tlbSet = page.isUser ? L.TLB_USER : L.TLB_SUPERVISOR;
    frame.gpr.fill(-1);
    frame.xmm.fill(-1);
    frame.writtenGpr = 0;
    frame.writtenXmm = 0;
    for (const [type, ofType] of frame.temps.entries()) ofType.length = FIXED_TEMPS[type]!;
    frame.pageLow = page.low;
    frame.pageHigh = page.high;
    frame.functionIndex = functionIndex;
    blockAt.clear();
    const blocks = this.#blocks;
    for (let i = 0; i < blocks.length; i++) blockAt.set(blocks[i]!.offset, i);
    const edges: [number, number][] = [];
    for (let from = 0; from < blocks.length; from++) {
      for (const offset of successors(blocks[from]!)) {
        const to = blockAt.get(offset);
        if (to !== undefined) edges.push([from, to]);
      }
    }
    return edges;
  }

  /** Gives every register that an instruction touches a local. */
  #findRegisters({ insn, template }: RegionInsn): void {
    const { gpr, xmm, f } = this.#frame;
    const useGpr = (number: number): void => {
      if (gpr[number]! < 0) gpr[number] = f.local('i64');
    };
    for (const code of template.gprs) useGpr(gprOf(insn, code));
    for (const code of template.xmms) {
      const number = xmmOf(insn, code);
      if (xmm[number]! < 0) xmm[number] = f.local('v128');
    }
    if (!template.usesAddress) return;
    if (insn.baseNumber >= 0 && insn.shape.ea !== 'rip') useGpr(insn.baseNumber);
    if (insn.indexNumber >= 0) useGpr(insn.indexNumber);
  }

  #writeBody(): void {
    const f = this.#f;
    const frame = this.#frame;
    const { budget, out, flags } = frame;
    f.i32(0).mem('i32.load', L.REMAINING).set(budget);
    loadGpr(frame);
    loadXmm(frame);
    frame.exitLabel = f.block().depth;
    frame.outerLabel = f.loop().depth;
    this.#emitScope(0, this.#blocks.length - 1, frame.outerLabel);
    f.unreachable();
    f.end().end();
    storeGpr(frame, frame.writtenGpr);
    storeXmm(frame, frame.writtenXmm);
    flags.save();
    f.i32(0).get(budget).mem('i32.store', L.REMAINING);
    f.get(out);
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
    for (let block = low; block <= high; block++) if (this.#entries[block] !== undefined) entered.push(block);
    const hasTable = entered.length > 1 || entered[0] !== low;
    const scope: Scope = { low, high, hasTable, items, labels, loopLabel, current: 0 };
    this.#scopes.push(scope);
    if (hasTable) {
      const first = this.#entries[entered[0]!]!;
      const { entry } = this.#frame;
      // Coming back to the head of a loop is the common case.
      if (!isOuter) f.get(entry).i32(first).op('i32.eq').brIf(0);
      f.get(entry);
      if (first > 0) f.i32(first).op('i32.sub');
      const depths = entered.map((block) => f.depth - labels[itemOf(items, block)]!);
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
      if (other !== block && this.#entries[other] !== undefined) return true;
    }
    return block !== scope.items[item];
  }

  #goTo(block: number): void {
    const f = this.#f;
    const setEntry = (): void => {
      f.i32(this.#entries[block]!).set(this.#frame.entry);
    };
    for (let depth = this.#scopes.length - 1; depth >= 0; depth--) {
      const scope = this.#scopes[depth]!;
      if (block < scope.low || block > scope.high) continue;
      const item = itemOf(scope.items, block);
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
    const frame = this.#frame;
    const { insns, record } = this.#blocks[index]!;
    const last = insns.at(-1)!;
    const count = insns.length;
    frame.flags.forget();
    emitSteps(this.#templates.start, frame, last.insn, record, count);
    const hasMissLabel = needsMissLabel(insns);
    if (hasMissLabel) frame.missLabel = f.block('i32').depth;
    let isOpen = true;
    for (let i = 0; i < count; i++) isOpen = emitInsn(insns[i]!, frame, count - i);
    if (isOpen) leaveToNext(frame, last.insn);
    if (!hasMissLabel) return;
    f.end();
    frame.missLabel = -1;
    emitSteps(this.#templates.miss, frame, last.insn, last.record + L.RECORD_SIZE, 0);
  }
}

/** Whether one way out serves all of a block's accesses: there are several, and records in sequence. */
function needsMissLabel(insns: readonly RegionInsn[]): boolean {
  let accesses = 0;
  for (let i = 0; i < insns.length; i++) {
    accesses += insns[i]!.template.accesses;
    if (insns[i]!.record !== insns[0]!.record + i * L.RECORD_SIZE) return false;
  }
  return accesses > 1;
}
