/**
 * Emits the instructions of a region: guest registers that its loops use and the flags are locals, fields of
 * instructions are constants.
 */
import type { Insn } from './decoder.ts';
import { Emitter } from './emitter.ts';
import { jumpCacheEntry, LOOKUP_RECORD } from './interpreter.ts';
import type { Op, RegRef, Value } from './ir.ts';
import * as L from './layout.ts';
import type { LazyFlags } from './lazy_flags.ts';
import type { RegionInsn } from './region_shape.ts';
import type { Size } from './shape.ts';
import type { FunctionBody } from './wasm_writer.ts';

/** Scratch registers of a region function. */
export interface Frame {
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

/** Goes on at an address: a block of the region, or the record that the jump cache has for it. */
export function leaveTo(frame: Frame, rip: bigint): void {
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

export function loadRegisters({ f, gpr, xmm }: Frame): void {
  for (const [number, local] of gpr)
    f.i32(0)
      .mem('i64.load', L.GPR + 8 * number)
      .set(local);
  for (const [number, local] of xmm)
    f.i32(0)
      .mem('v128.load', L.XMM + 16 * number)
      .set(local);
}

/** Register number behind a reference, and whether it is AH..BH. */
export function gprOf(insn: Insn, ref: RegRef): { number: number; isHigh: boolean } {
  if (typeof ref === 'number') return { number: ref, isHigh: false };
  const offset = ref === 'reg' ? insn.reg : insn.rm;
  return { number: offset >> 3, isHigh: (offset & 7) === 1 };
}

export function xmmOf(insn: Insn, ref: RegRef): number {
  return typeof ref === 'number' ? ref : (ref === 'reg' ? insn.reg : insn.rm) >> 4;
}

export class RegionEmitter extends Emitter {
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
    for (const [number, local] of this.#helperXmm())
      f.i32(0)
        .get(local)
        .mem('v128.store', L.XMM + 16 * number);
    this.flags.toMemory();
  }

  protected override afterHelper(): void {
    if (!this.#insn.row.attributes.has('x87')) return;
    loadRegisters({ ...this.#frame, xmm: this.#helperXmm() });
    this.flags.inMemory();
  }

  /** The XMM registers that a helper sees: FXSAVE and FXRSTOR have all of them. */
  #helperXmm(): Frame['xmm'] {
    return /^fx(save|rstor)$/.test(this.#insn.row.mnemonic) ? this.#frame.xmm : new Map();
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
