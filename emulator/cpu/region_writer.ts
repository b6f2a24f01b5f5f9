/**
 * Writes a region: connected basic blocks as one WebAssembly function. Loops are loops, branches between blocks are
 * branches, and one exit at the end puts everything back. region_emitter.ts writes what is inside a block.
 */
import { HANDLER_SIGNATURE, handlerImports } from './emitter.ts';
import * as L from './layout.ts';
import { SAVE_FLAGS_SIGNATURE } from './lazy_flags.ts';
import type { PageCode } from './page_code.ts';
import { emitInsn, emitSteps, type Frame, gprOf, leaveToNext, loadGpr, loadXmm, storeGpr, storeXmm, xmmOf } from './region_emitter.ts';
import { RegionInsn } from './region_insn.ts';
import { type Edges, findEdges, findEntries, findLoops, type RegionBlock } from './region_shape.ts';
import { FIXED_TEMPS, makeBlockTemplates, makeFrameLocals } from './region_template.ts';
import { FunctionBody, type ImportedFunction } from './wasm_writer.ts';

export const regionImports: readonly ImportedFunction[] = [...handlerImports, { name: 'saveFlags', signature: SAVE_FLAGS_SIGNATURE }];
export const IMPORT_SAVE_FLAGS = handlerImports.length;

/** Instructions that run at most without asking the budget: if so many are not left, the interpreter runs them. */
const MAX_STRETCH = 100;

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
  readonly #code: PageCode;
  readonly #insn: RegionInsn;
  readonly #f: FunctionBody;
  readonly #frame: Frame;
  readonly #localCount: number;
  readonly #templates = makeBlockTemplates(IMPORT_SAVE_FLAGS);
  #blocks: readonly RegionBlock[] = [];
  /** By block, as `findLoops` has them. */
  #loopEnds: readonly number[] = [];
  readonly #scopes: Scope[] = [];
  /** By block, the number to enter it by, or -1. */
  #entries: readonly number[] = [];
  /** By block, how many instructions may run from its start on until a block asks the budget; 0 for those that do not ask. */
  #stretches: readonly number[] = [];

  /** `code`: what the blocks' numbers of instructions are in. */
  constructor(code: PageCode, buffer: ArrayBuffer) {
    const f = new FunctionBody(HANDLER_SIGNATURE);
    this.#code = code;
    this.#insn = new RegionInsn(buffer);
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

  /** Writes a region; returns by block the number to enter it by, or -1 where it cannot be entered. */
  write(blocks: readonly RegionBlock[], functionIndex: number, page: RegionPage): readonly number[] {
    this.#blocks = blocks;
    this.#start(functionIndex, page);
    const edges = findEdges(blocks, this.#frame.blockAt);
    const loopEnds = findLoops(edges, blocks.length);
    this.#loopEnds = loopEnds;
    const isEntry = findEntries(blocks, edges, loopEnds);
    let count = 0;
    this.#entries = isEntry.map((is) => (is ? count++ : -1));
    this.#stretches = findStretches(blocks, edges, isEntry);
    // Outside loops a register is used where it lies: what is not repeated is not worth its share of every exit.
    let looped = -1;
    for (let i = 0; i < blocks.length; i++) {
      looped = Math.max(looped, loopEnds[i]!);
      if (i <= looped) this.#findRegisters(blocks[i]!);
    }
    this.#writeBody();
    return this.#entries;
  }

  /** Forgets the last region. */
  #start(functionIndex: number, page: RegionPage): void {
    const frame = this.#frame;
    const { blockAt, temps } = frame;
    this.#f.restart(this.#localCount);
    frame.tlbSet = page.isUser ? L.TLB_USER : L.TLB_SUPERVISOR;
    frame.gpr.fill(-1);
    frame.xmm.fill(-1);
    frame.writtenGpr = 0;
    frame.writtenXmm = 0;
    for (let type = 0; type < temps.length; type++) temps[type]!.length = FIXED_TEMPS[type]!;
    frame.pageLow = page.low;
    frame.pageHigh = page.high;
    frame.functionIndex = functionIndex;
    blockAt.clear();
    const blocks = this.#blocks;
    for (let i = 0; i < blocks.length; i++) blockAt.set(blocks[i]!.offset, i);
  }

  /** Gives every register that instructions of a block touch a local. */
  #findRegisters({ first, count }: RegionBlock): void {
    const { xmm, f } = this.#frame;
    const { templates } = this.#code;
    for (let i = first; i < first + count; i++) {
      const template = templates[i]!;
      const insn = this.#insnAt(i);
      const { gprs, xmms } = template;
      for (let j = 0; j < gprs.length; j++) this.#useGpr(gprOf(insn, gprs[j]!));
      for (let j = 0; j < xmms.length; j++) {
        const number = xmmOf(insn, xmms[j]!);
        if (xmm[number]! < 0) xmm[number] = f.local('v128');
      }
      if (!template.usesAddress) continue;
      if (insn.baseNumber >= 0 && insn.shape.ea !== 'rip') this.#useGpr(insn.baseNumber);
      if (insn.indexNumber >= 0) this.#useGpr(insn.indexNumber);
    }
  }

  #useGpr(number: number): void {
    const { gpr, f } = this.#frame;
    if (gpr[number]! < 0) gpr[number] = f.local('i64');
  }

  /** Which stays until another is asked for. */
  #insnAt(index: number): RegionInsn {
    this.#insn.moveTo(this.#code.records[index]!, this.#code.templates[index]!.shape);
    return this.#insn;
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
      const end = this.#loopEnds[block]!;
      if (end >= 0 && (isOuter || block > low)) block = end;
    }
    const labels: number[] = [];
    for (let item = items.length - 1; item >= 0; item--) labels[item] = f.block().depth;
    const entered: number[] = [];
    for (let block = low; block <= high; block++) if (this.#entries[block]! >= 0) entered.push(block);
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
    for (let item = 0; item < items.length; item++) {
      f.end();
      scope.current = item;
      const first = items[item]!;
      if (this.#loopEnds[first]! >= 0 && (isOuter || first > low)) {
        const label = f.loop().depth;
        this.#emitScope(first, (items[item + 1] ?? high + 1) - 1, label);
        f.end();
      } else this.#emitBlock(first);
    }
    this.#scopes.pop();
  }

  /** Whether the loop at a block of the scope asks `entry`; not yet known for what has not been laid out. */
  #hasTable(block: number, scope: Scope, item: number): boolean {
    const last = (scope.items[item + 1] ?? scope.high + 1) - 1;
    for (let other = scope.items[item]!; other <= last; other++) {
      if (other !== block && this.#entries[other]! >= 0) return true;
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
    const { first, count, record } = this.#blocks[index]!;
    const { templates, records } = this.#code;
    const stretch = this.#stretches[index]!;
    frame.flags.forget();
    if (stretch > 0) emitSteps(this.#templates.ask, frame, this.#insn, record, stretch);
    emitSteps(this.#templates.start, frame, this.#insn, record, count);
    const hasMissLabel = this.#needsMissLabel(first, count);
    if (hasMissLabel) frame.missLabel = f.block('i32').depth;
    let isOpen = true;
    for (let i = 0; i < count; i++) isOpen = emitInsn(templates[first + i]!, this.#insnAt(first + i), frame, count - i);
    if (isOpen) leaveToNext(frame, this.#insn);
    if (!hasMissLabel) return;
    f.end();
    frame.missLabel = -1;
    emitSteps(this.#templates.miss, frame, this.#insn, records[first + count - 1]! + L.RECORD_SIZE, 0);
  }

  /** Whether one way out serves all of a block's accesses: there are several, and records in sequence. */
  #needsMissLabel(first: number, count: number): boolean {
    const { templates, records } = this.#code;
    let accesses = 0;
    for (let i = 0; i < count; i++) {
      accesses += templates[first + i]!.accesses;
      if (records[first + i] !== records[first]! + i * L.RECORD_SIZE) return false;
    }
    return accesses > 1;
  }
}

/**
 * By block, how many instructions may run from its start on until a block asks the budget; 0 for those that do not ask.
 * Entries do, so all others lie ahead of what leads to them; and where it would become too many.
 */
function findStretches(blocks: readonly RegionBlock[], edges: Edges, isEntry: readonly boolean[]): number[] {
  const asks = [...isEntry];
  const stretches = blocks.map(({ count }) => count);
  for (let i = edges.length - 2; i >= 0; i -= 2) {
    const from = edges[i]!;
    const to = edges[i + 1]!;
    if (asks[to]) continue;
    const all = blocks[from]!.count + stretches[to]!;
    if (all > MAX_STRETCH) asks[to] = true;
    else if (all > stretches[from]!) stretches[from] = all;
  }
  return stretches.map((stretch, i) => (asks[i] ? stretch : 0));
}
