/**
 * Emits a template as an interpreter handler: a WebAssembly function `(record) -> next record` whose operands come from
 * the record and whose state lies in the register file (layout.ts). It returns 0 to stop the loop at this instruction.
 */
import { AF, CF, OF, PF, SF, ZF } from './flags.ts';
import type { FlagKind, Op, RegRef, Value } from './ir.ts';
import * as L from './layout.ts';
import type { Shape, Size } from './shape.ts';
import { wasmOpcodes } from './wasm_opcodes.ts';
import { FunctionBody, type ImportedFunction, type Signature } from './wasm_writer.ts';

export const HANDLER_SIGNATURE: Signature = { params: ['i32'], results: ['i32'] };

/** What every handler module imports, in order; function indices are positions here. */
export const handlerImports: readonly ImportedFunction[] = [
  // (address low, high, access descriptor, record) -> where to access, 0 when it faulted
  { name: 'miss', signature: { params: ['i32', 'i32', 'i32', 'i32'], results: ['i32'] } },
  // Carries out stores that went to SCRATCH
  { name: 'split', signature: { params: [], results: [] } },
  // (helper, record) -> not 0 when it faulted
  { name: 'helper', signature: { params: ['i32', 'i32'], results: ['i32'] } },
  // (branch record or 0) -> record at RIP
  { name: 'dispatch', signature: { params: ['i32'], results: ['i32'] } },
];
const IMPORT_MISS = 0, IMPORT_SPLIT = 1, IMPORT_HELPER = 2;
export const IMPORT_DISPATCH = 3;

/** Fields of the access descriptor passed to `miss`. */
export const ACCESS_WRITE = 1 << 10;
export const ACCESS_STACK = 1 << 11;
/** #AC when misaligned. */
export const ACCESS_ALIGN_CHECK = 1 << 12;
/** log2 of the alignment that the instruction demands (#GP), from this bit up. */
export const ACCESS_ALIGN_SHIFT = 13;

const RECORD = 0; // the function's only parameter

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

class HandlerEmitter {
  readonly #shape: Shape;
  readonly #f: FunctionBody;
  /** Emits the end of the handler: the next record is on the stack. */
  readonly #leave: () => void;
  readonly #locals = new Map<number, number>();
  /** Pure single-use values, emitted where they are used. */
  readonly #inline = new Map<number, Op>();
  /** The segments that linear addresses came through, by the value's id. */
  readonly #segments = new Map<number, number>();

  constructor(shape: Shape, body: FunctionBody, leave: () => void) {
    this.#shape = shape;
    this.#f = body;
    this.#leave = leave;
  }

  list(ops: readonly Op[]): void {
    for (const op of ops) this.#emit(op);
  }

  #local(value: Value): number {
    let local = this.#locals.get(value.id);
    if (local === undefined) {
      local = this.#f.local(value.ty);
      this.#locals.set(value.id, local);
    }
    return local;
  }

  /** Pushes a value. */
  #push(value: Value): FunctionBody {
    const op = this.#inline.get(value.id);
    if (op) {
      this.#inline.delete(value.id);
      this.#compute(op);
    } else this.#f.get(this.#local(value));
    return this.#f;
  }

  #state(load: string, offset: number): FunctionBody {
    return this.#f.i32(0).mem(load, offset);
  }

  /** Stores what `push` pushes at a constant offset. */
  #setState(store: string, offset: number, push: () => void): void {
    this.#f.i32(0);
    push();
    this.#f.mem(store, offset);
  }

  #stop(reason: number): void {
    this.#setState('i32.store', L.STOP_RECORD, () => this.#f.get(RECORD));
    this.#setState('i32.store', L.STOP_REASON, () => this.#f.i32(reason));
    this.#f.i32(0);
    this.#leave();
  }

  #raise(vector: number, errorCode: number): void {
    this.#setState('i32.store', L.STOP_DETAIL, () => this.#f.i32(vector));
    this.#setState('i32.store', L.ARGS, () => this.#f.i32(errorCode));
    this.#stop(L.STOP_EXCEPTION);
  }

  #emit(op: Op): void {
    const f = this.#f;
    switch (op.k) {
      case 'const':
      case 'select':
      case 'field':
        return this.#define(op);
      case 'wasm':
        if (wasmOpcodes.get(op.name)!.pure) return this.#define(op);
        return this.#toLocal(op);
      case 'getReg':
      case 'getXmm':
      case 'getMmx':
      case 'getState':
      case 'load':
      case 'cond':
      case 'getFlagsImage':
      case 'offset':
        return this.#toLocal(op);
      case 'ea':
        this.#offset();
        return this.#linear(op.out, this.#shape.segment, op.size);
      case 'linear':
        this.#push(op.offset);
        return this.#linear(op.out, op.segment, op.size);
      case 'setReg':
        if (typeof op.ref === 'number') this.#setState(storeOf(op.size), L.GPR + op.ref * 8, () => this.#registerValue(op.value, op.size));
        else {
          this.#registerOffset(op.ref);
          this.#registerValue(op.value, op.size).mem(storeOf(op.size), L.GPR);
        }
        return;
      case 'setXmm':
        this.#vectorAddress(op.ref);
        this.#push(op.value).mem('v128.store', L.XMM);
        return;
      case 'setMmx':
        this.#vectorAddress(op.ref);
        this.#push(op.value).mem('i64.store', L.ST);
        this.#vectorAddress(op.ref).i32(0xffff).mem('i32.store16', L.ST + 8);
        return;
      case 'setState':
        return this.#setState(op.store, op.offset, () => this.#push(op.value));
      case 'ptr':
        return this.#ptr(op);
      case 'store':
        this.#push(op.ptr);
        this.#push(op.value).mem(op.store, op.offset);
        f.get(this.#local(op.ptr)).i32(L.SCRATCH_END).op('i32.lt_u').if().call(IMPORT_SPLIT).end();
        return;
      case 'setFlags':
        return this.#setFlags(op.kind, op.size, op.result, op.a, op.b);
      case 'setFlagsFrom':
        this.#setState('i64.store', L.FLAG_RESULT, () => this.#signExtend(op.result, op.size));
        this.#setState('i32.store', L.FLAG_AUX, () => {
          this.#push(op.cf).i32(31).op('i32.shl');
          f.get(this.#local(op.cf));
          this.#push(op.of).op('i32.xor').i32(30).op('i32.shl').op('i32.or');
        });
        return;
      case 'setCarry':
        return this.#setCarry(op.cf, op.of);
      case 'setFlagsImage':
        return this.#setFlagsImage(op.image);
      case 'if':
        this.#push(op.cond).if();
        this.list(op.then);
        if (op.else.length > 0) {
          f.else();
          this.list(op.else);
        }
        f.end();
        return;
      case 'fault':
        if (op.cond) this.#push(op.cond).if();
        this.#raise(op.vector, op.errorCode);
        if (op.cond) f.end();
        return;
      case 'call':
        op.args.forEach((arg, i) => {
          this.#setState(arg.ty === 'i64' ? 'i64.store' : arg.ty === 'v128' ? 'v128.store' : 'i32.store', L.ARGS + 16 * i, () => this.#push(arg));
        });
        f.i32(op.helper).get(RECORD).call(IMPORT_HELPER).if().i32(0);
        this.#leave();
        f.end();
        if (op.out) this.#state('i64.load', L.ARGS).set(this.#local(op.out));
        return;
      case 'setVar':
        this.#push(op.value).set(this.#local(op.variable));
        return;
      case 'jump':
        return this.#jump(op.target);
      case 'branch':
        this.#push(op.cond).if();
        this.#jump('imm');
        f.end();
        return;
      case 'system':
        this.#setState('i32.store', L.STOP_DETAIL, () => f.i32(op.name));
        this.#stop(L.STOP_SYSTEM);
        return;
    }
  }

  #define(op: Extract<Op, { out: Value }>): void {
    if (op.out.uses <= 1 && !readsVariable(op)) this.#inline.set(op.out.id, op);
    else this.#toLocal(op);
  }

  #toLocal(op: Op): void {
    this.#compute(op);
    this.#f.set(this.#local((op as Extract<Op, { out: Value }>).out));
  }

  /** Pushes the value that an operation defines. */
  #compute(op: Op): void {
    const f = this.#f;
    switch (op.k) {
      case 'const':
        if (typeof op.value === 'bigint') f.i64(op.value);
        else if (typeof op.value === 'number') f.i32(op.value);
        else f.v128(op.value[0], op.value[1]);
        return;
      case 'wasm':
        for (const arg of op.args) this.#push(arg);
        if (op.shuffle) f.shuffle(op.shuffle);
        else f.op(op.name, op.lane);
        return;
      case 'select':
        this.#push(op.then);
        this.#push(op.else);
        this.#push(op.cond).select();
        return;
      case 'field':
        f.get(RECORD).mem('i64.load', op.field === 'imm' ? L.R_IMM : op.field === 'rip' ? L.R_RIP : L.R_RIP_NEXT);
        return;
      case 'getReg':
        if (typeof op.ref === 'number') this.#state(loadOf(op.size), L.GPR + op.ref * 8);
        else this.#registerOffset(op.ref).mem(loadOf(op.size), L.GPR);
        return;
      case 'getXmm':
        this.#vectorAddress(op.ref).mem('v128.load', L.XMM);
        return;
      case 'getMmx':
        this.#vectorAddress(op.ref).mem('i64.load', L.ST);
        return;
      case 'getState':
        this.#state(op.load, op.offset);
        return;
      case 'load':
        this.#push(op.ptr).mem(op.load, op.offset);
        return;
      case 'cond':
        return this.#cond(op.cc);
      case 'getFlagsImage':
        return this.#flagsImage();
      case 'offset':
        return this.#offset();
      default:
        throw new Error(`bug: '${op.k}' defines no value`);
    }
  }

  // Registers

  #registerOffset(ref: 'reg' | 'rm'): FunctionBody {
    return this.#f.get(RECORD).mem('i32.load8_u', ref === 'reg' ? L.R_REG : L.R_RM);
  }

  #vectorAddress(ref: RegRef): FunctionBody {
    return typeof ref === 'number' ? this.#f.i32(ref * 16) : this.#registerOffset(ref);
  }

  /** A 4-byte register write clears the upper half: it is stored as 8 bytes. */
  #registerValue(value: Value, size: Size): FunctionBody {
    this.#push(value);
    return size === 4 ? this.#f.i64(0xffff_ffffn).op('i64.and') : this.#f;
  }

  // Addresses

  /** Pushes the address form's offset, cut to the address size. */
  #offset(): void {
    const f = this.#f;
    const { ea, addressSize } = this.#shape;
    const disp = (): FunctionBody => f.get(RECORD).mem('i32.load', L.R_DISP).op('i64.extend_i32_s');
    const register = (field: number): FunctionBody => f.get(RECORD).mem('i32.load8_u', field).mem('i64.load', L.GPR);
    disp();
    if (ea === 'rip') f.get(RECORD).mem('i64.load', L.R_RIP_NEXT).op('i64.add');
    if (ea === 'base' || ea === 'index') register(L.R_BASE).op('i64.add');
    if (ea === 'index') register(L.R_INDEX).get(RECORD).mem('i64.load8_u', L.R_SCALE).op('i64.shl').op('i64.add');
    if (addressSize < 8) f.i64(addressSize === 4 ? 0xffff_ffffn : 0xffffn).op('i64.and');
  }

  /** Turns the pushed offset into a linear address in `out`. */
  #linear(out: Value, segment: number, size: number): void {
    const f = this.#f;
    const local = this.#local(out);
    this.#segments.set(out.id, segment);
    if (this.#shape.mode === 64) {
      if (segment >= 4) this.#state('i64.load', L.SEG_BASE + 8 * segment).op('i64.add');
      f.set(local);
      return;
    }
    f.tee(local);
    this.#state('i64.load32_u', L.SEG_LOW + 4 * segment).op('i64.lt_u');
    f.get(local).i64(BigInt(size - 1)).op('i64.add');
    this.#state('i64.load32_u', L.SEG_HIGH + 4 * segment).op('i64.gt_u').op('i32.or').if();
    this.#raise(segment === 2 ? 12 : 13, 0);
    f.end();
    f.get(local);
    this.#state('i64.load', L.SEG_BASE + 8 * segment).op('i64.add').i64(0xffff_ffffn).op('i64.and').set(local);
  }

  #ptr(op: Extract<Op, { k: 'ptr' }>): void {
    const f = this.#f;
    const kind = op.access === 'r' ? L.TLB_READ : L.TLB_WRITE;
    const address = f.local('i64');
    const entry = f.local('i32');
    const out = this.#local(op.out);
    const segment = this.#segments.get(op.addr.id);
    if (this.#shape.mode !== 64 && op.access !== 'r' && segment !== undefined) {
      this.#state('i32.load', L.SEG_WRITABLE).i32(1 << segment).op('i32.and').op('i32.eqz').if();
      this.#raise(segment === 2 ? 12 : 13, 0);
      f.end();
    }
    const isChecked = this.#shape.alignCheck && op.align === 1 && op.size > 1;
    const align = op.align > 1 ? op.align : isChecked ? Math.min(op.size, 8) : 1;
    this.#push(op.addr).tee(address);
    f.i64(12n).op('i64.shr_u').op('i32.wrap_i64').i32(L.TLB_ENTRIES - 1).op('i32.and').i32(4).op('i32.shl');
    this.#state('i32.load', L.TLB_SET).op('i32.add').tee(entry).mem('i64.load', kind);
    f.get(address);
    if (op.size > 1) f.i64(BigInt(op.size - 1)).op('i64.add');
    f.i64(-4096n).op('i64.and').op('i64.eq');
    if (align > 1) f.get(address).i64(BigInt(align - 1)).op('i64.and').op('i64.eqz').op('i32.and');
    f.if();
    f.get(address).op('i32.wrap_i64').get(entry).mem('i32.load', kind + 8).op('i32.add').set(out);
    f.else();
    const descriptor =
      op.size |
      (op.access === 'r' ? 0 : ACCESS_WRITE) |
      (op.isStack ? ACCESS_STACK : 0) |
      (isChecked ? ACCESS_ALIGN_CHECK : 0) |
      ((31 - Math.clz32(op.align)) << ACCESS_ALIGN_SHIFT);
    f.get(address).op('i32.wrap_i64').get(address).i64(32n).op('i64.shr_u').op('i32.wrap_i64').i32(descriptor).get(RECORD).call(IMPORT_MISS);
    f.tee(out).op('i32.eqz').if().i32(0);
    this.#leave();
    f.end();
    f.end();
  }

  // Flags

  #signExtend(value: Value, size: Size): FunctionBody {
    this.#push(value);
    return size === 8 ? this.#f : this.#f.op(size === 4 ? 'i64.extend32_s' : size === 2 ? 'i64.extend16_s' : 'i64.extend8_s');
  }

  #setFlags(kind: FlagKind, size: Size, result: Value, a: Value, b: Value): void {
    const f = this.#f;
    this.#setState('i64.store', L.FLAG_RESULT, () => this.#signExtend(result, size));
    if (kind === 'logic') return this.#setState('i32.store', L.FLAG_AUX, () => f.i32(0));
    const carries = f.local('i64');
    const not = (): FunctionBody => f.i64(-1n).op('i64.xor');
    const push = (value: Value): FunctionBody => f.get(this.#local(value));
    if (kind === 'add' || kind === 'inc') {
      push(a);
      push(b).op('i64.and');
      push(a);
      push(b).op('i64.or');
      push(result);
      not().op('i64.and').op('i64.or');
    } else {
      push(a);
      not();
      push(b).op('i64.and');
      push(a);
      push(b).op('i64.xor');
      not();
      push(result).op('i64.and').op('i64.or');
    }
    f.set(carries);
    const top = (): void => {
      f.get(carries);
      if (size === 8) f.i64(32n).op('i64.shr_u');
      f.op('i32.wrap_i64');
      if (size < 4) f.i32(32 - size * 8).op('i32.shl');
    };
    const low = (): FunctionBody => f.get(carries).op('i32.wrap_i64').i32(8).op('i32.and');
    if (kind === 'add' || kind === 'sub') {
      this.#setState('i32.store', L.FLAG_AUX, () => {
        top();
        f.i32(0xc000_0000).op('i32.and');
        low().op('i32.or');
      });
      return;
    }
    // INC and DEC: OF is new, CF stays.
    const cf = f.local('i32');
    this.#state('i32.load', L.FLAG_AUX).i32(31).op('i32.shr_u').set(cf);
    this.#setState('i32.store', L.FLAG_AUX, () => {
      const word = f.local('i32');
      top();
      f.tee(word).get(word).i32(1).op('i32.shl').op('i32.xor').i32(31).op('i32.shr_u');
      f.get(cf).op('i32.xor').i32(30).op('i32.shl').get(cf).i32(31).op('i32.shl').op('i32.or');
      low().op('i32.or');
    });
  }

  #setCarry(cf: Value, of: Value | undefined): void {
    const f = this.#f;
    const carry = f.local('i32');
    const overflow = f.local('i32');
    this.#push(cf).set(carry);
    if (of) this.#push(of);
    else this.#overflow();
    f.set(overflow);
    this.#setState('i32.store', L.FLAG_AUX, () => {
      this.#state('i32.load', L.FLAG_AUX).i32(0x3fff_ffff).op('i32.and');
      f.get(carry).i32(31).op('i32.shl').op('i32.or');
      f.get(carry).get(overflow).op('i32.xor').i32(30).op('i32.shl').op('i32.or');
    });
  }

  #setFlagsImage(image: Value): void {
    const f = this.#f;
    const word = f.local('i32');
    this.#push(image).op('i32.wrap_i64').set(word);
    const bit = (mask: number, to: number): FunctionBody => {
      f.get(word).i32(31 - Math.clz32(mask)).op('i32.shr_u').i32(1).op('i32.and');
      return to === 0 ? f : f.i32(to).op('i32.shl');
    };
    this.#setState('i64.store', L.FLAG_RESULT, () => f.i64(0n).i64(0x100n).get(word).i32(ZF).op('i32.and').select());
    this.#setState('i32.store', L.FLAG_AUX, () => {
      bit(CF, 31);
      bit(CF, 30);
      bit(OF, 30).op('i32.xor').op('i32.or');
      bit(AF, 3).op('i32.or');
      bit(PF, 8).i32(0x100).op('i32.xor').op('i32.or');
      bit(SF, 0).op('i32.or');
    });
  }

  #carry(): FunctionBody {
    return this.#state('i32.load', L.FLAG_AUX).i32(31).op('i32.shr_u');
  }
  #overflow(): FunctionBody {
    this.#state('i32.load', L.FLAG_AUX);
    return this.#state('i32.load', L.FLAG_AUX).i32(1).op('i32.shl').op('i32.xor').i32(31).op('i32.shr_u');
  }
  #zero(): FunctionBody {
    return this.#state('i64.load', L.FLAG_RESULT).op('i64.eqz');
  }
  #sign(): FunctionBody {
    this.#state('i64.load', L.FLAG_RESULT).i64(63n).op('i64.shr_u').op('i32.wrap_i64');
    return this.#state('i32.load', L.FLAG_AUX).i32(1).op('i32.and').op('i32.xor');
  }
  /** 1 when PF is set. */
  #parity(): FunctionBody {
    this.#state('i32.load', L.FLAG_RESULT);
    this.#state('i32.load', L.FLAG_AUX).i32(8).op('i32.shr_u').op('i32.xor').i32(0xff).op('i32.and').op('i32.popcnt');
    return this.#f.i32(1).op('i32.and').op('i32.eqz');
  }

  #cond(cc: number): void {
    const f = this.#f;
    switch (cc >> 1) {
      case 0: this.#overflow(); break;
      case 1: this.#carry(); break;
      case 2: this.#zero(); break;
      case 3: this.#carry(); this.#zero().op('i32.or'); break;
      case 4: this.#sign(); break;
      case 5: this.#parity(); break;
      case 6: this.#sign(); this.#overflow().op('i32.xor'); break;
      default: this.#sign(); this.#overflow().op('i32.xor'); this.#zero().op('i32.or'); break;
    }
    if (cc & 1) f.op('i32.eqz');
  }

  #flagsImage(): void {
    const f = this.#f;
    const put = (mask: number): FunctionBody => f.i32(31 - Math.clz32(mask)).op('i32.shl').op('i32.or');
    this.#carry();
    this.#parity();
    put(PF);
    this.#state('i32.load', L.FLAG_AUX).i32(3).op('i32.shr_u').i32(1).op('i32.and');
    put(AF);
    this.#zero();
    put(ZF);
    this.#sign();
    put(SF);
    this.#overflow();
    put(OF).op('i64.extend_i32_u');
  }

  // Control

  #jump(target: Value | 'imm' | 'next' | 'self'): void {
    const f = this.#f;
    if (target === 'self') {
      f.get(RECORD);
      return this.#leave();
    }
    if (target === 'imm') {
      const link = f.local('i32');
      f.get(RECORD).mem('i32.load', L.R_LINK).tee(link).if().get(link);
      this.#leave();
      f.end();
      this.#setState('i64.store', L.RIP, () => f.get(RECORD).mem('i64.load', L.R_IMM));
      f.get(RECORD).call(IMPORT_DISPATCH);
      return this.#leave();
    }
    this.#setState('i64.store', L.RIP, () => {
      if (target === 'next') f.get(RECORD).mem('i64.load', L.R_RIP_NEXT);
      else this.#push(target);
    });
    f.i32(0).call(IMPORT_DISPATCH);
    this.#leave();
  }
}

/** A variable may change between a value's definition and its use, so the value cannot move. */
function readsVariable(op: Op): boolean {
  if (op.k === 'wasm') return op.args.some((arg) => arg.isVariable);
  return op.k === 'select' && [op.cond, op.then, op.else].some((arg) => arg.isVariable);
}

function loadOf(size: Size): string {
  return size === 1 ? 'i64.load8_u' : size === 2 ? 'i64.load16_u' : size === 4 ? 'i64.load32_u' : 'i64.load';
}

function storeOf(size: Size): string {
  return size === 1 ? 'i64.store8' : size === 2 ? 'i64.store16' : 'i64.store';
}

