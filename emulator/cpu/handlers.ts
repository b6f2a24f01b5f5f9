/**
 * Emits a template as an interpreter handler: code from a record to the next record whose operands come from the record
 * and whose state lies in the register file (layout.ts). The next record is 0 to stop the loop at this instruction.
 */
import { Emitter, HANDLER_SIGNATURE, IMPORT_DISPATCH } from './emitter.ts';
import type { Op, RegRef, Value } from './ir.ts';
import * as L from './layout.ts';
import { MemoryFlags } from './memory_flags.ts';
import { hidesFlags, SequenceFlags } from './sequence_flags.ts';
import type { Shape, Size } from './shape.ts';
import { FunctionBody } from './wasm_writer.ts';

/** The record: a handler function's only parameter, and local 0 of the loop. */
const RECORD = 0;

/** What a handler is made from. */
export interface Lowered {
  readonly shape: Shape;
  readonly ops: readonly Op[];
}

/** A handler as a function of its own. */
export function emitHandler(shape: Shape, ops: readonly Op[]): FunctionBody {
  const body = new FunctionBody(HANDLER_SIGNATURE);
  new FunctionEmitter(shape, body).list(ops);
  return body.get(RECORD).i32(L.RECORD_SIZE).op('i32.add');
}

/** What executors that work on records have in common. */
abstract class RecordEmitter extends Emitter {
  protected abstract override readonly flags: MemoryFlags;
  /** Bytes from the record in local 0 to that of the instruction. */
  readonly #shift: number;

  constructor(shape: Shape, body: FunctionBody, shift: number) {
    super(shape, body);
    this.#shift = shift;
  }

  protected record(): FunctionBody {
    this.f.get(RECORD);
    return this.#shift === 0 ? this.f : this.f.i32(this.#shift).op('i32.add');
  }

  /** Pushes a field of the record. */
  protected load(load: string, field: number): FunctionBody {
    return this.f.get(RECORD).mem(load, field + this.#shift);
  }

  protected field(field: 'imm' | 'rip' | 'ripNext'): void {
    this.load('i64.load', field === 'imm' ? L.R_IMM : field === 'rip' ? L.R_RIP : L.R_RIP_NEXT);
  }

  #registerOffset(ref: 'reg' | 'rm'): FunctionBody {
    return this.load('i32.load8_u', ref === 'reg' ? L.R_REG : L.R_RM);
  }

  protected getReg(ref: RegRef, size: Size): void {
    if (typeof ref === 'number') this.state(loadOf(size), L.GPR + ref * 8);
    else this.#registerOffset(ref).mem(loadOf(size), L.GPR);
  }

  /** A 4-byte register write clears the upper half: it is stored as 8 bytes. */
  protected setReg(ref: RegRef, size: Size, value: Value): void {
    const { f } = this;
    if (typeof ref === 'number') f.i32(ref * 8);
    else this.#registerOffset(ref);
    this.push(value);
    if (size === 4) f.i64(0xffff_ffffn).op('i64.and');
    f.mem(storeOf(size), L.GPR);
  }

  #vectorAddress(ref: RegRef): FunctionBody {
    return typeof ref === 'number' ? this.f.i32(ref * 16) : this.#registerOffset(ref);
  }

  protected getXmm(ref: RegRef): void {
    this.#vectorAddress(ref).mem('v128.load', L.XMM);
  }

  protected setXmm(ref: RegRef, value: Value): void {
    this.#vectorAddress(ref);
    this.push(value).mem('v128.store', L.XMM);
  }

  protected mmxAddress(ref: RegRef): FunctionBody {
    return this.#vectorAddress(ref);
  }

  protected offset(): void {
    const { f } = this;
    const { ea, addressSize } = this.shape;
    const register = (field: number): FunctionBody => this.load('i32.load8_u', field).mem('i64.load', L.GPR);
    this.load('i32.load', L.R_DISP).op('i64.extend_i32_s');
    if (ea === 'rip') this.load('i64.load', L.R_RIP_NEXT).op('i64.add');
    if (ea === 'base' || ea === 'index') register(L.R_BASE).op('i64.add');
    if (ea === 'index') {
      register(L.R_INDEX);
      this.load('i64.load8_u', L.R_SCALE).op('i64.shl').op('i64.add');
    }
    if (addressSize < 8) f.i64(addressSize === 4 ? 0xffff_ffffn : 0xffffn).op('i64.and');
  }
}

class FunctionEmitter extends RecordEmitter {
  protected readonly flags: MemoryFlags;

  constructor(shape: Shape, body: FunctionBody) {
    super(shape, body, 0);
    this.flags = new MemoryFlags(body);
  }

  protected leaveStopped(): void {
    this.f.i32(0).return();
  }

  protected jump(target: Value | 'imm' | 'next' | 'self'): void {
    const { f } = this;
    if (target === 'self') {
      this.record().return();
      return;
    }
    if (target === 'imm') {
      const link = f.local('i32');
      this.load('i32.load', L.R_LINK).tee(link).if().get(link).return().end();
      this.setState('i64.store', L.RIP, () => this.field('imm'));
      this.record().call(IMPORT_DISPATCH).return();
      return;
    }
    this.setState('i64.store', L.RIP, () => {
      if (target === 'next') this.field('ripNext');
      else this.push(target);
    });
    f.i32(0).call(IMPORT_DISPATCH).return();
  }
}

/** The loop around inlined handlers: its locals, and the labels that they branch to. By place in the sequence, where told. */
interface LoopFrame {
  readonly f: FunctionBody;
  /** Instructions left; more than 0 in a handler. */
  readonly count: number;
  /** The record to go to, or 0. */
  readonly target: number;
  /** Where a jump goes that no link leads to, and the record that a link may be put into, or 0. */
  readonly rip: number;
  readonly from: number;
  /** Label behind an instruction that falls through. */
  readonly straight: readonly number[];
  /** Label behind one that goes to `target`, or where its immediate says. */
  readonly jump: readonly number[];
  /** Finds the record for `rip` and goes on there; `again` goes on at the record. */
  readonly dispatch: number;
  readonly again: number;
  /** Label of what leaves the loop before an instruction: its function runs it. */
  readonly cold: readonly number[];
}

/**
 * A handler inside the loop, or several in sequence. It holds no calls: whatever is out of the ordinary leaves the loop
 * before the instruction has changed anything.
 */
export function emitInline(handlers: readonly Lowered[], frame: LoopFrame): void {
  const { f, count } = frame;
  const mark = f.localMark;
  const flags = new SequenceFlags(f);
  if (handlers.length > 1)
    f.get(count)
      .i32(handlers.length)
      .op('i32.lt_s')
      .brIf(f.depth - frame.cold[0]!);
  handlers.forEach(({ shape, ops }, i) => {
    const next = handlers[i + 1];
    flags.pushMask = () => f.get(RECORD).mem('i32.load', L.R_DISP + i * L.RECORD_SIZE);
    flags.isDead = next !== undefined && hidesFlags(next.ops);
    new InlineEmitter(shape, frame, flags, i).list(ops);
  });
  f.brTo(frame.straight[handlers.length - 1]!);
  f.recycleLocals(mark);
}

class InlineEmitter extends RecordEmitter {
  protected readonly flags: SequenceFlags;
  readonly #frame: LoopFrame;
  readonly #index: number;

  constructor(shape: Shape, frame: LoopFrame, flags: SequenceFlags, index: number) {
    super(shape, frame.f, index * L.RECORD_SIZE);
    this.flags = flags;
    this.#frame = frame;
    this.#index = index;
  }

  protected leaveStopped(): void {
    this.f.brTo(this.#frame.cold[this.#index]!);
  }

  protected override stop(): void {
    this.leaveStopped();
  }

  protected override call(): void {
    this.leaveStopped();
  }

  protected override raise(): void {
    this.leaveStopped();
  }

  protected override access(out: number, _address: number, _descriptor: number, translated: () => FunctionBody): void {
    const { f } = this;
    f.brIf(f.depth - this.#frame.cold[this.#index]!);
    translated().set(out);
  }

  protected override stored(): void {}

  protected override conditional(op: Extract<Op, { k: 'if' }>): void {
    this.flags.forget();
    super.conditional(op);
    this.flags.forget();
  }

  /** Goes on at the record that is pushed, or where the immediate says when that is 0. */
  #goTo(): void {
    this.f.set(this.#frame.target).brTo(this.#frame.jump[this.#index]!);
  }

  /** Without a branch of our own: which way it goes, nothing can tell. */
  protected override branch(cond: Value): void {
    this.load('i32.load', L.R_LINK);
    this.f
      .get(RECORD)
      .i32((this.#index + 1) * L.RECORD_SIZE)
      .op('i32.add');
    this.push(cond).select();
    this.#goTo();
  }

  protected jump(target: Value | 'imm' | 'next' | 'self'): void {
    const { f } = this;
    const { dispatch, again, rip, from, count } = this.#frame;
    if (target === 'imm') {
      this.load('i32.load', L.R_LINK);
      return this.#goTo();
    }
    f.get(count)
      .i32(this.#index + 1)
      .op('i32.sub')
      .set(count);
    if (target === 'self') {
      this.record().set(RECORD).brTo(again);
      return;
    }
    if (target === 'next') this.field('ripNext');
    else this.push(target);
    f.set(rip).i32(0).set(from).brTo(dispatch);
  }
}

function loadOf(size: Size): string {
  return size === 1 ? 'i64.load8_u' : size === 2 ? 'i64.load16_u' : size === 4 ? 'i64.load32_u' : 'i64.load';
}

function storeOf(size: Size): string {
  return size === 1 ? 'i64.store8' : size === 2 ? 'i64.store16' : 'i64.store';
}
