/**
 * Emits a template as an interpreter handler: code from a record to the next record whose operands come from the record
 * and whose state lies in the register file (layout.ts). The next record is 0 to stop the loop at this instruction.
 */
import { Emitter, HANDLER_SIGNATURE, IMPORT_DISPATCH } from './emitter.ts';
import type { Op, RegRef, Value } from './ir.ts';
import * as L from './layout.ts';
import { MemoryFlags } from './memory_flags.ts';
import type { Shape, Size } from './shape.ts';
import { FunctionBody } from './wasm_writer.ts';

/** The record: a handler function's only parameter, and local 0 of the loop. */
const RECORD = 0;

/** A handler as a function of its own. */
export function emitHandler(shape: Shape, ops: readonly Op[]): FunctionBody {
  const body = new FunctionBody(HANDLER_SIGNATURE);
  new HandlerEmitter(shape, body, () => body.return()).list(ops);
  return body.get(RECORD).i32(L.RECORD_SIZE).op('i32.add');
}

/**
 * A handler inside a larger function whose local 0 is the record: `leave` takes the next record, or 0, from the stack.
 * Code that falls through leaves its next record on the stack.
 */
export function emitInline(shape: Shape, ops: readonly Op[], body: FunctionBody, leave: () => void): void {
  const mark = body.localMark;
  new HandlerEmitter(shape, body, leave).list(ops);
  body.get(RECORD).i32(L.RECORD_SIZE).op('i32.add');
  body.recycleLocals(mark);
}

class HandlerEmitter extends Emitter {
  protected readonly flags: MemoryFlags;
  /** Emits the end of the handler: the next record is on the stack. */
  readonly #leave: () => void;

  constructor(shape: Shape, body: FunctionBody, leave: () => void) {
    super(shape, body);
    this.flags = new MemoryFlags(body);
    this.#leave = leave;
  }

  protected record(): FunctionBody {
    return this.f.get(RECORD);
  }

  protected field(field: 'imm' | 'rip' | 'ripNext'): void {
    this.record().mem('i64.load', field === 'imm' ? L.R_IMM : field === 'rip' ? L.R_RIP : L.R_RIP_NEXT);
  }

  #registerOffset(ref: 'reg' | 'rm'): FunctionBody {
    return this.record().mem('i32.load8_u', ref === 'reg' ? L.R_REG : L.R_RM);
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
    const register = (field: number): FunctionBody => this.record().mem('i32.load8_u', field).mem('i64.load', L.GPR);
    this.record().mem('i32.load', L.R_DISP).op('i64.extend_i32_s');
    if (ea === 'rip') this.record().mem('i64.load', L.R_RIP_NEXT).op('i64.add');
    if (ea === 'base' || ea === 'index') register(L.R_BASE).op('i64.add');
    if (ea === 'index') {
      register(L.R_INDEX);
      this.record().mem('i64.load8_u', L.R_SCALE).op('i64.shl').op('i64.add');
    }
    if (addressSize < 8) f.i64(addressSize === 4 ? 0xffff_ffffn : 0xffffn).op('i64.and');
  }

  protected leaveStopped(): void {
    this.f.i32(0);
    this.#leave();
  }

  protected jump(target: Value | 'imm' | 'next' | 'self'): void {
    const { f } = this;
    if (target === 'self') {
      this.record();
      return this.#leave();
    }
    if (target === 'imm') {
      const link = f.local('i32');
      this.record().mem('i32.load', L.R_LINK).tee(link).if().get(link);
      this.#leave();
      f.end();
      this.setState('i64.store', L.RIP, () => this.field('imm'));
      this.record().call(IMPORT_DISPATCH);
      return this.#leave();
    }
    this.setState('i64.store', L.RIP, () => {
      if (target === 'next') this.field('ripNext');
      else this.push(target);
    });
    f.i32(0).call(IMPORT_DISPATCH);
    this.#leave();
  }
}

function loadOf(size: Size): string {
  return size === 1 ? 'i64.load8_u' : size === 2 ? 'i64.load16_u' : size === 4 ? 'i64.load32_u' : 'i64.load';
}

function storeOf(size: Size): string {
  return size === 1 ? 'i64.store8' : size === 2 ? 'i64.store16' : 'i64.store';
}
