/**
 * Emits a region: many basic blocks of one page as one WebAssembly function. Guest registers and flags are locals, fields
 * of instructions are constants, branches between blocks are branches. One exit at the end puts everything back.
 */
import type { Insn } from './decoder.ts';
import { Emitter, HANDLER_SIGNATURE, handlerImports } from './emitter.ts';
import { jumpCacheEntry, LOOKUP_RECORD } from './interpreter.ts';
import type { Op, RegRef, Value } from './ir.ts';
import * as L from './layout.ts';
import { LazyFlags, SAVE_FLAGS_SIGNATURE } from './lazy_flags.ts';
import type { Size } from './shape.ts';
import { FunctionBody, type ImportedFunction, type Signature } from './wasm_writer.ts';

/** (entry block) -> next record, or 0: like a handler, but for as many instructions as REMAINING allows. */
export const REGION_SIGNATURE: Signature = HANDLER_SIGNATURE;

export const regionImports: readonly ImportedFunction[] = [...handlerImports, { name: 'saveFlags', signature: SAVE_FLAGS_SIGNATURE }];
const IMPORT_SAVE_FLAGS = handlerImports.length;

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

/** Scratch registers of a region function. */
interface Frame {
  readonly f: FunctionBody;
  readonly entry: number;
  readonly budget: number;
  readonly out: number;
  /** Address of the TLB set in use: the privilege cannot change inside a region. */
  readonly tlbSet: number;
  /** Locals of the registers that have one; the others lie in the register file. */
  readonly gpr: Map<number, number>;
  readonly xmm: Map<number, number>;
  /** Those whose local something has changed: exits put them back. */
  readonly writtenGpr: Set<number>;
  readonly writtenXmm: Set<number>;
  readonly flags: LazyFlags;
  readonly blockAt: Map<bigint, number>;
  /** Index of this region's function, as its ENTER records name it. */
  readonly functionIndex: number;
  /** Branches to a block from the code of another. */
  goTo(block: number): void;
  /** Leaves with `out` set. */
  exit(): void;
  /** Branches to whatever block `entry` says. */
  reenter(): void;
}

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

/** Goes on at an address: a block of the region, or the record that the jump cache has for it. */
function leaveTo(frame: Frame, rip: bigint): void {
  const { f, out } = frame;
  const block = frame.blockAt.get(rip);
  if (block !== undefined) return frame.goTo(block);
  const slot = jumpCacheEntry(rip);
  f.i32(0).mem('i64.load', slot).i64(rip).op('i64.eq');
  f.i32(0)
    .mem('i32.load', slot + 12)
    .i32(0)
    .mem('i32.load', L.JUMP_GENERATION)
    .op('i32.eq')
    .op('i32.and')
    .if();
  f.i32(0)
    .mem('i32.load', slot + 8)
    .set(out);
  frame.exit();
  f.end();
  f.i32(0).i64(rip).mem('i64.store', L.RIP);
  askLookup(frame);
}

/** Leaves with nobody knowing the record at RIP. */
function askLookup({ f, out, exit }: Frame): void {
  f.i32(0).i32(0).mem('i32.store', L.LINK_FROM);
  f.i32(LOOKUP_RECORD).set(out);
  exit();
}

function loadRegisters({ f, gpr, xmm }: Frame): void {
  for (const [number, local] of gpr)
    f.i32(0)
      .mem('i64.load', L.GPR + 8 * number)
      .set(local);
  for (const [number, local] of xmm)
    f.i32(0)
      .mem('v128.load', L.XMM + 16 * number)
      .set(local);
}

/** Header to last block, properly nested: an interval that crosses another is widened to hold it. */
function findLoops(edges: readonly [number, number][]): Map<number, number> {
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
function findEntries(
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

/** Register number behind a reference, and whether it is AH..BH. */
function gprOf(insn: Insn, ref: RegRef): { number: number; isHigh: boolean } {
  if (typeof ref === 'number') return { number: ref, isHigh: false };
  const offset = ref === 'reg' ? insn.reg : insn.rm;
  return { number: offset >> 3, isHigh: (offset & 7) === 1 };
}

function xmmOf(insn: Insn, ref: RegRef): number {
  return typeof ref === 'number' ? ref : (ref === 'reg' ? insn.reg : insn.rm) >> 4;
}

class RegionEmitter extends Emitter {
  protected readonly flags: LazyFlags;
  readonly #frame: Frame;
  readonly #insn: Insn;
  readonly #record: number;
  /** Instructions of the block from this one on. */
  readonly #left: number;
  #isOpen = true;

  constructor({ insn, record }: RegionInsn, frame: Frame, left: number) {
    super(insn.shape, frame.f);
    this.flags = frame.flags;
    this.#frame = frame;
    this.#insn = insn;
    this.#record = record;
    this.#left = left;
  }

  /** After the operations: whether execution falls through to the next instruction. */
  finish(): boolean {
    return this.#isOpen;
  }

  get #ripNext(): bigint {
    return BigInt.asUintN(this.shape.mode === 64 ? 64 : 32, this.#insn.rip + BigInt(this.#insn.length));
  }

  #refund(count: number): void {
    const { budget } = this.#frame;
    if (count > 0) this.f.get(budget).i32(count).op('i32.add').set(budget);
  }

  protected record(): FunctionBody {
    return this.f.i32(this.#record);
  }

  protected field(field: 'imm' | 'rip' | 'ripNext'): void {
    this.f.i64(field === 'imm' ? this.#insn.imm : field === 'rip' ? this.#insn.rip : this.#ripNext);
  }

  /** Pushes all 64 bits of a register. */
  #readGpr(number: number): FunctionBody {
    const local = this.#frame.gpr.get(number);
    return local === undefined ? this.state('i64.load', L.GPR + 8 * number) : this.f.get(local);
  }

  protected getReg(ref: RegRef, size: Size): void {
    const { f } = this;
    const { number, isHigh } = gprOf(this.#insn, ref);
    this.#readGpr(number);
    if (isHigh) f.i64(8n).op('i64.shr_u');
    if (size < 8) f.i64((1n << BigInt(size * 8)) - 1n).op('i64.and');
  }

  protected setReg(ref: RegRef, size: Size, value: Value): void {
    const { f } = this;
    const { number, isHigh } = gprOf(this.#insn, ref);
    const local = this.#frame.gpr.get(number);
    const mask = (1n << BigInt(size * 8)) - 1n;
    if (local === undefined) {
      f.i32(0);
      this.push(value);
      if (size === 4) f.i64(mask).op('i64.and');
      f.mem(size === 1 ? 'i64.store8' : size === 2 ? 'i64.store16' : 'i64.store', L.GPR + 8 * number + Number(isHigh));
      return;
    }
    this.push(value);
    if (size < 8) f.i64(mask).op('i64.and');
    if (size < 4) {
      if (isHigh) f.i64(8n).op('i64.shl');
      f.get(local)
        .i64(~(isHigh ? mask << 8n : mask))
        .op('i64.and')
        .op('i64.or');
    }
    f.set(local);
    this.#frame.writtenGpr.add(number);
  }

  protected getXmm(ref: RegRef): void {
    const number = xmmOf(this.#insn, ref);
    const local = this.#frame.xmm.get(number);
    if (local === undefined) this.state('v128.load', L.XMM + 16 * number);
    else this.f.get(local);
  }

  protected setXmm(ref: RegRef, value: Value): void {
    const number = xmmOf(this.#insn, ref);
    const local = this.#frame.xmm.get(number);
    if (local === undefined) this.setState('v128.store', L.XMM + 16 * number, () => this.push(value));
    else {
      this.push(value).set(local);
      this.#frame.writtenXmm.add(number);
    }
  }

  protected mmxAddress(ref: RegRef): FunctionBody {
    return this.f.i32(typeof ref === 'number' ? ref * 16 : ref === 'reg' ? this.#insn.reg : this.#insn.rm);
  }

  protected offset(): void {
    const { f } = this;
    const { baseNumber, indexNumber, scale, disp } = this.#insn;
    const { ea, addressSize } = this.shape;
    if (ea === 'rip') f.i64(this.#ripNext + BigInt(disp));
    else if (baseNumber >= 0) {
      this.#readGpr(baseNumber);
      if (disp !== 0) f.i64(BigInt(disp)).op('i64.add');
    } else f.i64(BigInt(disp));
    if (indexNumber >= 0) {
      this.#readGpr(indexNumber);
      if (scale > 0) f.i64(BigInt(scale)).op('i64.shl');
      f.op('i64.add');
    }
    if (addressSize < 8) f.i64(addressSize === 4 ? 0xffff_ffffn : 0xffffn).op('i64.and');
  }

  protected leaveStopped(): void {
    this.#refund(this.#left);
    this.f.i32(0).set(this.#frame.out);
    this.#frame.exit();
  }

  protected override tlbKind(kind: number): number {
    return this.#frame.tlbSet + kind;
  }

  /**
   * A miss is the interpreter's business: it runs this instruction, whatever that does to the TLB or to code. So a region
   * holds no call that all its registers would have to be saved around, never sees SCRATCH, and never changes code.
   */
  protected override access(out: number, _address: number, _descriptor: number, translated: () => FunctionBody): void {
    const { f } = this;
    f.op('i32.eqz').if();
    this.#refund(this.#left);
    this.record().set(this.#frame.out);
    this.#frame.exit();
    f.end();
    translated().set(out);
  }

  protected override stored(): void {}

  /** Only x87 helpers look at or change registers beside their arguments. */
  protected override beforeHelper(): void {
    if (!this.#insn.row.attributes.has('x87')) return;
    const { f } = this;
    for (const [number, local] of this.#frame.gpr)
      f.i32(0)
        .get(local)
        .mem('i64.store', L.GPR + 8 * number);
    this.flags.toMemory();
  }

  protected override afterHelper(): void {
    if (!this.#insn.row.attributes.has('x87')) return;
    loadRegisters({ ...this.#frame, xmm: new Map() });
    this.flags.inMemory();
  }

  protected override branch(cond: Value): void {
    super.branch(cond);
    this.#isOpen = true;
  }

  protected override conditional(op: Extract<Op, { k: 'if' }>): void {
    const wasOpen = this.#isOpen;
    const known = this.flags.known;
    this.push(op.cond).if();
    this.list(op.ifTrue);
    if (op.ifFalse.length > 0) {
      this.f.else();
      this.flags.known = known;
      this.list(op.ifFalse);
    }
    this.f.end();
    this.#isOpen = wasOpen;
    this.flags.forget();
  }

  protected jump(target: Value | 'imm' | 'next' | 'self'): void {
    const { f } = this;
    this.#isOpen = false;
    if (typeof target === 'string') {
      const rip = target === 'imm' ? this.#insn.imm : target === 'next' ? this.#ripNext : this.#insn.rip;
      return leaveTo(this.#frame, rip);
    }
    const rip = f.local('i64');
    const slot = f.local('i32');
    const { out, entry, functionIndex } = this.#frame;
    this.push(target).tee(rip).op('i32.wrap_i64').get(rip).i64(12n).op('i64.shr_u').op('i32.wrap_i64').op('i32.xor');
    f.i32(L.JUMP_CACHE_ENTRIES - 1)
      .op('i32.and')
      .i32(4)
      .op('i32.shl')
      .tee(slot);
    f.mem('i64.load', L.JUMP_CACHE).get(rip).op('i64.eq');
    f.get(slot)
      .mem('i32.load', L.JUMP_CACHE + 12)
      .i32(0)
      .mem('i32.load', L.JUMP_GENERATION)
      .op('i32.eq')
      .op('i32.and')
      .if();
    // A record that enters this very region is a branch; anything else leaves.
    f.get(slot)
      .mem('i32.load', L.JUMP_CACHE + 8)
      .tee(out)
      .mem('i32.load16_u', L.R_HANDLER)
      .i32(L.HANDLER_ENTER)
      .op('i32.eq')
      .if();
    f.get(out).i32(L.RECORDS).op('i32.sub').i32(2).op('i32.shr_u').tee(slot);
    f.mem('i32.load', L.SIDE + 4)
      .i32(functionIndex)
      .op('i32.eq')
      .if();
    f.get(slot)
      .mem('i32.load16_u', L.SIDE + 2)
      .set(entry);
    this.#frame.reenter();
    f.end().end();
    this.#frame.exit();
    f.end();
    f.i32(0).get(rip).mem('i64.store', L.RIP);
    askLookup(this.#frame);
  }
}
