/**
 * Writes a region: connected basic blocks as one WebAssembly function. Loops are loops, branches between blocks are
 * branches, and one exit at the end puts everything back. region_emitter.ts writes what is inside a block.
 */
import { HANDLER_SIGNATURE } from './emitter.ts';
import { RSP } from './interface.ts';
import * as L from './layout.ts';
import type { PageCode } from './page_code.ts';
import { SharedAccesses } from './region_access.ts';
import { emitInsn, emitSteps, leaveToNext } from './region_emitter.ts';
import type { Frame } from './region_frame.ts';
import type { InlinePart } from './region_inline.ts';
import { RegionInsn } from './region_insn.ts';
import { gprOf, loadGpr, loadXmm, storeGpr, storeXmm, xmmOf } from './region_registers.ts';
import { type RegionBlock, shapeRegion } from './region_shape.ts';
import { FIXED_TEMPS, makeFrameLocals } from './region_steps.ts';
import { makeBlockTemplates } from './region_template.ts';
import { FunctionBody } from './wasm_writer.ts';

/** Instructions that run at most without asking the budget: if so many are not left, the interpreter runs them. */
const MAX_STRETCH = 100;
/** From so many instructions on the stack pointer has a local outside loops, too: one pushes where another has pushed before. */
const MANY_USES = 4;

/** What lies at a RIP, in halves, if a call of it can be inlined. */
export type InlineAt = (low: number, high: number) => readonly InlinePart[] | undefined;

/** Where regions lie, and for whom. */
export interface RegionPage {
  /** RIP of its first byte, in halves. */
  readonly low: number;
  readonly high: number;
  readonly isUser: boolean;
}

/**
 * A stretch of blocks that is laid out together: the whole region, or the body of a loop. Its items are blocks and inner
 * loops, in order.
 */
class Scope {
  readonly low: number;
  readonly high: number;
  readonly loopLabel: number;
  /** Where the writer's lists have its items. */
  readonly firstItem: number;
  itemCount = 0;
  /** Whether its head asks `entry` where to go. */
  hasTable = false;
  current = 0;

  constructor(low: number, high: number, loopLabel: number, firstItem: number) {
    this.low = low;
    this.high = high;
    this.loopLabel = loopLabel;
    this.firstItem = firstItem;
  }
}

/** Writes regions one after the other. */
export class RegionWriter {
  readonly #code: PageCode;
  readonly #inlineAt: InlineAt;
  readonly #insn: RegionInsn;
  /** Of what is inlined. */
  readonly #inlinedInsn: RegionInsn;
  readonly #f: FunctionBody;
  readonly #frame: Frame;
  readonly #localCount: number;
  readonly #templates = makeBlockTemplates();
  #blocks: readonly RegionBlock[] = [];
  readonly #scopes: Scope[] = [];
  /** First block and label of the items of the open scopes. */
  readonly #items: number[] = [];
  readonly #labels: number[] = [];

  /** `code`: what the blocks' numbers of instructions are in; `inlineAt`: what may be a part of those that call it. */
  constructor(code: PageCode, buffer: ArrayBuffer, inlineAt: InlineAt) {
    const f = new FunctionBody(HANDLER_SIGNATURE);
    this.#code = code;
    this.#inlineAt = inlineAt;
    this.#insn = new RegionInsn(buffer);
    this.#inlinedInsn = new RegionInsn(buffer);
    this.#f = f;
    this.#frame = {
      ...makeFrameLocals(f),
      f,
      tlbSet: 0,
      gpr: new Int32Array(16).fill(-1),
      xmm: new Int32Array(16).fill(-1),
      writtenGpr: 0,
      writtenXmm: 0,
      hasSteps: false,
      imports: 0,
      pageLow: 0,
      pageHigh: 0,
      blockAt: new Int16Array(L.PAGE_SIZE).fill(-1),
      functionIndex: 0,
      exitLabel: 0,
      outerLabel: 0,
      missLabel: -1,
      accesses: new SharedAccesses(),
      index: 0,
      leaders: [],
      inlined: undefined,
      returnBlock: -1,
      returnLow: 0,
      returnHigh: 0,
      putInlined: () => this.#putInlined(),
      goTo: (block) => this.#goTo(block),
    };
    this.#localCount = f.localCount;
  }

  /** The last region's function: (entry block) -> next record, maybe with INTERPRET. Like a handler, but for as many instructions as REMAINING allows. */
  get body(): FunctionBody {
    return this.#f;
  }

  /** How many of regionImports the last region needs. */
  get imports(): number {
    return this.#frame.imports;
  }

  /** Writes a region; its blocks know their entries then. */
  write(blocks: readonly RegionBlock[], functionIndex: number, page: RegionPage): void {
    this.#start(blocks, functionIndex, page);
    shapeRegion(blocks, this.#frame.blockAt, MAX_STRETCH);
    // Outside loops a register is used where it lies: what is not repeated is not worth its share of every exit.
    let stackUses = 0;
    let looped = -1;
    for (let i = 0; i < blocks.length; i++) {
      const block = blocks[i]!;
      if (looped < block.loopEnd) looped = block.loopEnd;
      if (i <= looped) this.#findRegisters(block);
      else stackUses += this.#stackUses(block);
    }
    if (stackUses >= MANY_USES) this.#useGpr(RSP);
    this.#writeBody();
    const { blockAt } = this.#frame;
    for (let i = 0; i < blocks.length; i++) blockAt[blocks[i]!.offset] = -1;
  }

  /** Forgets the last region. */
  #start(blocks: readonly RegionBlock[], functionIndex: number, page: RegionPage): void {
    const frame = this.#frame;
    const { blockAt, temps } = frame;
    this.#blocks = blocks;
    this.#f.restart(this.#localCount);
    frame.tlbSet = page.isUser ? L.TLB_USER : L.TLB_SUPERVISOR;
    frame.gpr.fill(-1);
    frame.xmm.fill(-1);
    frame.writtenGpr = 0;
    frame.writtenXmm = 0;
    frame.hasSteps = false;
    frame.imports = 0;
    for (let type = 0; type < temps.length; type++) temps[type]!.length = FIXED_TEMPS[type]!;
    frame.pageLow = page.low;
    frame.pageHigh = page.high;
    frame.functionIndex = functionIndex;
    for (let i = 0; i < blocks.length; i++) blockAt[blocks[i]!.offset] = i;
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

  /** Instructions of a block that use the stack pointer, as pushes, calls and returns do. */
  #stackUses({ first, count }: RegionBlock): number {
    const { templates } = this.#code;
    let uses = 0;
    for (let i = first; i < first + count; i++) if (templates[i]!.usesStack) uses++;
    return uses;
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
    flags.enter();
    frame.exitLabel = f.block().depth;
    frame.outerLabel = f.loop().depth;
    this.#emitScope(0, this.#blocks.length - 1, frame.outerLabel);
    f.unreachable();
    f.end().end();
    storeGpr(frame, frame.writtenGpr);
    storeXmm(frame, frame.writtenXmm);
    flags.leave(frame.hasSteps);
    f.i32(0).get(budget).mem('i32.store', L.REMAINING);
    f.get(out);
    if (frame.hasSteps) flags.isStep().i32(Math.log2(L.LEFT_STEP)).op('i32.shl').op('i32.or');
  }

  /** Blocks low..high, entered at the one that `entry` names; `loopLabel` comes back to its head. */
  #emitScope(low: number, high: number, loopLabel: number): void {
    const f = this.#f;
    const isOuter = this.#scopes.length === 0;
    const outer = isOuter ? undefined : this.#scopes[this.#scopes.length - 1]!;
    const scope = new Scope(low, high, loopLabel, outer ? outer.firstItem + outer.itemCount : 0);
    this.#findItems(scope, isOuter);
    this.#scopes.push(scope);
    this.#putTable(scope, isOuter);
    for (let item = 0; item < scope.itemCount; item++) {
      f.end();
      scope.current = item;
      const first = this.#items[scope.firstItem + item]!;
      if (this.#isInnerLoop(first, low, isOuter)) {
        const label = f.loop().depth;
        this.#emitScope(first, this.#lastOf(scope, item), label);
        f.end();
      } else this.#emitBlock(first);
    }
    this.#scopes.pop();
  }

  #isInnerLoop(block: number, low: number, isOuter: boolean): boolean {
    return this.#blocks[block]!.loopEnd >= 0 && (isOuter || block > low);
  }

  /** Opens a block for each item: the first one is the innermost. */
  #findItems(scope: Scope, isOuter: boolean): void {
    const { low, high, firstItem } = scope;
    let end = firstItem;
    for (let block = low; block <= high; block++) {
      this.#items[end] = block;
      this.#labels[end++] = 0;
      if (this.#isInnerLoop(block, low, isOuter)) block = this.#blocks[block]!.loopEnd;
    }
    scope.itemCount = end - firstItem;
    for (let item = end - 1; item >= firstItem; item--) this.#labels[item] = this.#f.block().depth;
  }

  /** Which of the items of a scope holds a block. */
  #itemOf(scope: Scope, block: number): number {
    let item = scope.itemCount - 1;
    while (this.#items[scope.firstItem + item]! > block) item--;
    return item;
  }

  /** The last block of an item. */
  #lastOf({ firstItem, itemCount, high }: Scope, item: number): number {
    return item + 1 < itemCount ? this.#items[firstItem + item + 1]! - 1 : high;
  }

  /** Asks `entry` where to go, if it can be anything but the first block. */
  #putTable(scope: Scope, isOuter: boolean): void {
    const f = this.#f;
    const { low, high, firstItem } = scope;
    let first = -1;
    let count = 0;
    for (let block = low; block <= high; block++) {
      if (this.#blocks[block]!.entry < 0) continue;
      if (first < 0) first = block;
      count++;
    }
    if (count === 1 && first === low) return;
    scope.hasTable = true;
    const { entry } = this.#blocks[first]!;
    const local = this.#frame.entry;
    // Coming back to the head of a loop is the common case.
    if (!isOuter) f.get(local).i32(entry).op('i32.eq').brIf(0);
    f.get(local);
    if (entry > 0) f.i32(entry).op('i32.sub');
    f.startBrTable(count);
    for (let block = first; block <= high; block++) {
      if (this.#blocks[block]!.entry >= 0) f.code.unsigned(f.depth - this.#labels[firstItem + this.#itemOf(scope, block)]!);
    }
    f.code.unsigned(f.depth - this.#labels[firstItem + this.#itemOf(scope, first)]!);
  }

  /** Whether the loop at a block of the scope asks `entry`; not yet known for what has not been laid out. */
  #hasTable(block: number, scope: Scope, item: number): boolean {
    const first = this.#items[scope.firstItem + item]!;
    const last = this.#lastOf(scope, item);
    for (let other = first; other <= last; other++) {
      if (other !== block && this.#blocks[other]!.entry >= 0) return true;
    }
    return block !== first;
  }

  #goTo(block: number): void {
    const f = this.#f;
    for (let depth = this.#scopes.length - 1; depth >= 0; depth--) {
      const scope = this.#scopes[depth]!;
      if (block < scope.low || block > scope.high) continue;
      const item = this.#itemOf(scope, block);
      const isAhead = item > scope.current;
      if (isAhead ? this.#hasTable(block, scope, item) : scope.hasTable) f.i32(this.#blocks[block]!.entry).set(this.#frame.entry);
      f.brTo(isAhead ? this.#labels[scope.firstItem + item]! : scope.loopLabel);
      return;
    }
    throw new Error('bug: a branch to a block of no scope');
  }

  #emitBlock(index: number): void {
    const f = this.#f;
    const frame = this.#frame;
    const { first, count, record, entry, asks, stretch } = this.#blocks[index]!;
    const { templates, records } = this.#code;
    frame.flags.forget();
    if (entry >= 0 || asks) emitSteps(this.#templates.ask, frame, this.#insn, record, stretch);
    emitSteps(this.#templates.start, frame, this.#insn, record, count);
    const hasMissLabel = this.#needsMissLabel(first, count);
    if (hasMissLabel) frame.missLabel = f.block().depth;
    let isOpen = true;
    const deadFlags = this.#findDeadFlags(first, count);
    this.#shareAccesses(this.#code, first, count, this.#insn);
    this.#findInlined(this.#blocks[index]!);
    for (let i = 0; i < count; i++) {
      frame.index = i;
      const areFlagsDead = i < 32 && ((deadFlags >>> i) & 1) === 1;
      isOpen = emitInsn(templates[first + i]!, this.#insnAt(first + i), frame, count - i, areFlagsDead);
    }
    if (isOpen) leaveToNext(frame, this.#insn);
    if (!hasMissLabel) return;
    f.end();
    frame.missLabel = -1;
    emitSteps(this.#templates.miss, frame, this.#insn, records[first + count - 1]! + L.RECORD_SIZE, 0);
  }

  /** Which of the first 32 instructions of a block leave flags that others replace before anything could see them, as bits. */
  #findDeadFlags(first: number, count: number): number {
    const { templates } = this.#code;
    let dead = 0;
    let areReplaced = false;
    for (let i = Math.min(count, 33) - 1; i >= 0; i--) {
      if (areReplaced && i < 32) dead |= 1 << i;
      const { flagUse } = templates[first + i]!;
      if (flagUse !== 'none') areReplaced = flagUse === 'replaces';
    }
    return dead;
  }

  /** Whether a block ends in a call of what can be inlined. */
  #findInlined({ first, count, next, returnBlock }: RegionBlock): void {
    const frame = this.#frame;
    frame.inlined = undefined;
    const isDirect = this.#code.templates[first + count - 1]!.flow.toTarget;
    if (!isDirect || returnBlock < 0) return;
    const { immLow, immHigh } = this.#insnAt(first + count - 1);
    frame.inlined = this.#inlineAt(immLow, immHigh);
    if (frame.inlined === undefined) return;
    frame.returnBlock = returnBlock;
    frame.returnLow = frame.pageLow + next;
    frame.returnHigh = frame.pageHigh;
  }

  /** Writes a function in the place of its call: its parts are blocks, and it returns without a look at where to. */
  #putInlined(): void {
    const f = this.#f;
    const frame = this.#frame;
    const insn = this.#inlinedInsn;
    const { out, missLabel, inlined } = frame;
    frame.missLabel = -1;
    frame.inlined = undefined;
    for (const [part, { records, templates }] of inlined!.entries()) {
      const { length } = records;
      if (part > 0) {
        f.i32(0)
          .mem('i32.load16_u', records[0]! + L.R_HANDLER)
          .i32(L.HANDLER_GOTO)
          .op('i32.eq')
          .if();
        f.i32(records[0]!).set(out).brTo(frame.exitLabel);
        f.end();
      }
      emitSteps(this.#templates.ask, frame, insn, records[0]!, length);
      emitSteps(this.#templates.start, frame, insn, records[0]!, length);
      this.#shareAccesses({ records, templates }, 0, length, insn);
      for (let i = 0; i < length; i++) {
        frame.index = i;
        insn.moveTo(records[i]!, templates[i]!.shape);
        emitInsn(templates[i]!, insn, frame, length - i, false);
      }
    }
    frame.missLabel = missLabel;
    frame.returnBlock = -1;
  }

  /** Finds which accesses of instructions in a row ask the TLB together; `insn` is moved over them. */
  #shareAccesses({ records, templates }: InlinePart, first: number, count: number, insn: RegionInsn): void {
    const { accesses, leaders } = this.#frame;
    leaders.length = 0;
    accesses.start();
    for (let i = 0; i < count; i++) {
      const { shape, reach } = templates[first + i]!;
      insn.moveTo(records[first + i]!, shape);
      accesses.add(i, reach, insn, gprOf);
    }
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
