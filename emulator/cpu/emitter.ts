/**
 * The one walk from IR to WebAssembly: values, memory accesses through the inline TLB, faults and helper calls. Executors
 * differ only in where operands and state live, which their subclasses say: handlers.ts (records and the register file
 * in memory), region_emitter.ts (constants and locals).
 */
import type { FlagsEmitter, Push } from './flags_emitter.ts';
import type { Op, RegRef, Value } from './ir.ts';
import * as L from './layout.ts';
import type { Shape, Size } from './shape.ts';
import { wasmOpcodes } from './wasm_opcodes.ts';
import type { FunctionBody, ImportedFunction, Signature } from './wasm_writer.ts';

export const HANDLER_SIGNATURE: Signature = { params: ['i32'], results: ['i32'] };

/** What every module of generated code imports, in order; function indices are positions here. */
export const handlerImports: readonly ImportedFunction[] = [
  // (helper, record) -> not 0 when it faulted
  { name: 'helper', signature: { params: ['i32', 'i32'], results: ['i32'] } },
  // (address low, high, access descriptor, record) -> where to access, 0 when it faulted
  { name: 'miss', signature: { params: ['i32', 'i32', 'i32', 'i32'], results: ['i32'] } },
  // Carries out stores that went to SCRATCH
  { name: 'split', signature: { params: [], results: [] } },
  // (branch record or 0) -> record at RIP
  { name: 'dispatch', signature: HANDLER_SIGNATURE },
];
/** The first, so that modules may import it alone. */
const IMPORT_HELPER = 0,
  IMPORT_MISS = 1,
  IMPORT_SPLIT = 2;
export const IMPORT_DISPATCH = 3;

/** Fields of the access descriptor passed to `miss`. */
export const ACCESS_WRITE = 1 << 10;
export const ACCESS_STACK = 1 << 11;
/** #AC when misaligned. */
export const ACCESS_ALIGN_CHECK = 1 << 12;
/** log2 of the alignment that the instruction demands (#GP), from this bit up. */
export const ACCESS_ALIGN_SHIFT = 13;
/** The instruction reads what it then writes. */
export const ACCESS_READ = 1 << 16;

/** From a linear address to its TLB entry's offset, before it is masked. */
const TLB_SHIFT = 12 - Math.log2(L.TLB_ENTRY_SIZE);

export abstract class Emitter {
  protected readonly shape: Shape;
  protected readonly f: FunctionBody;
  protected readonly locals = new Map<number, number>();
  /** Pure single-use values, emitted where they are used. */
  protected readonly inline = new Map<number, Op>();
  /** The segments that linear addresses came through, by the value's id. */
  protected readonly segments = new Map<number, number>();

  constructor(shape: Shape, body: FunctionBody) {
    this.shape = shape;
    this.f = body;
  }

  // Where operands and state live

  /** Pushes the address of the instruction's record. */
  protected abstract record(): FunctionBody;
  protected abstract field(field: 'imm' | 'rip' | 'ripNext'): void;
  protected abstract getReg(ref: RegRef, size: Size): void;
  protected abstract setReg(ref: RegRef, size: Size, value: Value): void;
  protected abstract getXmm(ref: RegRef): void;
  protected abstract setXmm(ref: RegRef, value: Value): void;
  /** Pushes an MMX or x87 register's place, relative to ST. */
  protected abstract mmxAddress(ref: RegRef): FunctionBody;
  /** Pushes the address form's offset, cut to the address size. */
  protected abstract offset(): void;
  protected abstract readonly flags: FlagsEmitter;
  /** Ends at this instruction, which has not retired; STOP_* are written. */
  protected abstract leaveStopped(): void;
  /** Makes the pushed offset of an entry one in the TLB set in use; returns the address of the kind to add. */
  protected tlbKind(kind: number): number {
    this.state('i32.load', L.TLB_SET).op('i32.add');
    return kind;
  }
  protected abstract jump(target: Value | 'imm' | 'next' | 'self'): void;
  /** Which function of its module `helper` is. */
  protected get helperImport(): number {
    return IMPORT_HELPER;
  }
  /** Around a helper, which sees and changes registers in memory. */
  protected beforeHelper(): void {}
  protected afterHelper(): void {}

  list(ops: readonly Op[]): void {
    for (const op of ops) this.emit(op);
  }

  protected local(value: Value): number {
    let local = this.locals.get(value.id);
    if (local === undefined) {
      local = this.f.local(value.ty);
      this.locals.set(value.id, local);
    }
    return local;
  }

  /** Pushes a value. */
  protected push(value: Value): FunctionBody {
    const op = this.inline.get(value.id);
    if (op) {
      this.inline.delete(value.id);
      this.compute(op);
    } else this.f.get(this.local(value));
    return this.f;
  }

  protected state(load: string, offset: number): FunctionBody {
    return this.f.i32(0).mem(load, offset);
  }

  /** Stores what `push` pushes at a constant offset. */
  protected setState(store: string, offset: number, push: () => void): void {
    this.f.i32(0);
    push();
    this.f.mem(store, offset);
  }

  protected stop(reason: number): void {
    this.setState('i32.store', L.STOP_RECORD, () => this.record());
    this.setState('i32.store', L.STOP_REASON, () => this.f.i32(reason));
    this.leaveStopped();
  }

  /** A system function is asked for, by its number. */
  protected system(name: number): void {
    this.setState('i32.store', L.STOP_DETAIL, () => this.f.i32(name));
    this.stop(L.STOP_SYSTEM);
  }

  protected raise(vector: number, errorCode: number): void {
    this.setState('i32.store', L.STOP_DETAIL, () => this.f.i32(vector));
    this.setState('i32.store', L.ARGS, () => this.f.i32(errorCode));
    this.stop(L.STOP_EXCEPTION);
  }

  protected emit(op: Op): void {
    const f = this.f;
    switch (op.k) {
      case 'const':
      case 'select':
      case 'field':
        return this.define(op);
      case 'wasm':
        if (wasmOpcodes.get(op.name)!.pure) return this.define(op);
        return this.toLocal(op);
      case 'getReg':
      case 'getXmm':
      case 'getMmx':
      case 'getState':
      case 'load':
      case 'cond':
      case 'getFlagsImage':
      case 'offset':
        return this.toLocal(op);
      case 'ea':
        this.offset();
        return this.linear(op.out, this.shape.segment, op.size);
      case 'linear':
        this.push(op.offset);
        return this.linear(op.out, op.segment, op.size);
      case 'setReg':
        return this.setReg(op.ref, op.size, op.value);
      case 'setXmm':
        return this.setXmm(op.ref, op.value);
      case 'setMmx':
        this.mmxAddress(op.ref);
        this.push(op.value).mem('i64.store', L.ST);
        this.mmxAddress(op.ref)
          .i32(0xffff)
          .mem('i32.store16', L.ST + 8);
        return;
      case 'setState':
        return this.setState(op.store, op.offset, () => this.push(op.value));
      case 'ptr':
        return this.ptr(op);
      case 'store':
        this.push(op.ptr);
        this.push(op.value).mem(op.store, op.offset);
        return this.stored(op.ptr);
      case 'setFlags':
        return this.flags.set(op.kind, op.size, this.pusher(op.result), this.pusher(op.a), this.pusher(op.b));
      case 'setFlagsFrom':
        return this.flags.setFrom(op.size, this.pusher(op.result), this.pusher(op.cf), this.pusher(op.of));
      case 'setCarry':
        return this.flags.setCarry(this.pusher(op.cf), op.of && this.pusher(op.of));
      case 'setFlagsImage':
        return this.flags.setImage(this.pusher(op.image));
      case 'if':
        return this.conditional(op);
      case 'fault':
        if (op.cond) this.push(op.cond).if();
        this.raise(op.vector, op.errorCode);
        if (op.cond) f.end();
        return;
      case 'call':
        return this.call(op);
      case 'setVar':
        this.push(op.value).set(this.local(op.variable));
        return;
      case 'jump':
        return this.jump(op.target);
      case 'branch':
        return this.branch(op.cond);
      case 'system':
        this.system(op.name);
        return;
    }
  }

  protected define(op: Extract<Op, { out: Value }>): void {
    if (this.usesOf(op.out) <= 1 && !readsVariable(op)) this.inline.set(op.out.id, op);
    else this.toLocal(op);
  }

  /** How often a value is read. */
  protected usesOf(value: Value): number {
    return value.uses;
  }

  protected toLocal(op: Op): void {
    this.compute(op);
    this.f.set(this.local((op as Extract<Op, { out: Value }>).out));
  }

  /** Pushes the value that an operation defines. */
  protected compute(op: Op): void {
    const f = this.f;
    switch (op.k) {
      case 'const':
        if (typeof op.value === 'bigint') f.i64(op.value);
        else if (typeof op.value === 'number') f.i32(op.value);
        else f.v128(op.value[0], op.value[1]);
        return;
      case 'wasm':
        for (const arg of op.args) this.push(arg);
        if (op.shuffle) f.shuffle(op.shuffle);
        else f.op(op.name, op.lane);
        return;
      case 'select':
        this.push(op.ifTrue);
        this.push(op.ifFalse);
        this.push(op.cond).select();
        return;
      case 'field':
        return this.field(op.field);
      case 'getReg':
        return this.getReg(op.ref, op.size);
      case 'getXmm':
        return this.getXmm(op.ref);
      case 'getMmx':
        this.mmxAddress(op.ref).mem('i64.load', L.ST);
        return;
      case 'getState':
        this.state(op.load, op.offset);
        return;
      case 'load':
        this.push(op.ptr).mem(op.load, op.offset);
        return;
      case 'cond':
        return this.flags.cond(op.cc);
      case 'getFlagsImage':
        return this.flags.image();
      case 'offset':
        return this.offset();
      default:
        throw new Error(`bug: '${op.k}' defines no value`);
    }
  }

  // Addresses

  /** Turns the pushed offset into a linear address in `out`. */
  protected linear(out: Value, segment: number, size: number): void {
    const f = this.f;
    const local = this.local(out);
    this.segments.set(out.id, segment);
    if (this.shape.mode === 64) {
      if (segment >= 4) this.state('i64.load', L.SEG_BASE + 8 * segment).op('i64.add');
      f.set(local);
      return;
    }
    f.tee(local);
    this.state('i64.load32_u', L.SEG_LOW + 4 * segment).op('i64.lt_u');
    f.get(local)
      .i64(BigInt(size - 1))
      .op('i64.add');
    this.state('i64.load32_u', L.SEG_HIGH + 4 * segment)
      .op('i64.gt_u')
      .op('i32.or')
      .if();
    this.raise(segment === 2 ? 12 : 13, 0);
    f.end();
    f.get(local);
    this.state('i64.load', L.SEG_BASE + 8 * segment)
      .op('i64.add')
      .i64(0xffff_ffffn)
      .op('i64.and')
      .set(local);
  }

  protected ptr(op: Extract<Op, { k: 'ptr' }>): void {
    const f = this.f;
    const entry = f.local('i32');
    const out = this.local(op.out);
    const segment = this.segments.get(op.addr.id);
    if (this.shape.mode !== 64 && op.access !== 'r' && segment !== undefined) {
      this.state('i32.load', L.SEG_WRITABLE)
        .i32(1 << segment)
        .op('i32.and')
        .op('i32.eqz')
        .if();
      this.raise(segment === 2 ? 12 : 13, 0);
      f.end();
    }
    const isChecked = this.shape.alignCheck && op.align === 1 && op.size > 1;
    const align = op.align > 1 ? op.align : isChecked ? Math.min(op.size, 8) : 1;
    this.push(op.addr);
    const address = this.localOf(op.addr);
    this.toFirst();
    f.op('i32.wrap_i64');
    f.i32(TLB_SHIFT)
      .op('i32.shr_u')
      .i32((L.TLB_ENTRIES - 1) * L.TLB_ENTRY_SIZE)
      .op('i32.and');
    const tlb = this.tlbKind(op.access === 'r' ? L.TLB_READ : L.TLB_WRITE);
    f.tee(entry).mem('i64.load', tlb);
    f.get(address);
    this.toLast(op.size);
    f.i64(-4096n).op('i64.and').op('i64.ne');
    if (align > 1) {
      f.get(address)
        .op('i32.wrap_i64')
        .i32(align - 1)
        .op('i32.and')
        .op('i32.or');
    }
    const descriptor =
      op.size |
      (op.access === 'r' ? 0 : ACCESS_WRITE) |
      (op.access === 'rw' ? ACCESS_READ : 0) |
      (op.isStack ? ACCESS_STACK : 0) |
      (isChecked ? ACCESS_ALIGN_CHECK : 0) |
      ((31 - Math.clz32(op.align)) << ACCESS_ALIGN_SHIFT);
    const translated = (): FunctionBody =>
      f
        .get(address)
        .op('i32.wrap_i64')
        .get(entry)
        .mem('i32.load', tlb + 8)
        .op('i32.add');
    this.access(out, address, descriptor, translated);
  }

  /** Moves the pushed address of an access to the first byte that the TLB is asked for, */
  protected toFirst(): void {}

  /** and to the last one. */
  protected toLast(size: number): void {
    if (size > 1) this.f.i64(BigInt(size - 1)).op('i64.add');
  }

  /** The local that holds what is pushed, which stays there. */
  protected localOf(value: Value): number {
    const present = this.locals.get(value.id);
    const local = present ?? this.f.local(value.ty);
    if (present === undefined) this.f.tee(local);
    return local;
  }

  /** 0 is pushed if the TLB has the page: puts where to access into `out`, which `translated` pushes then. */
  protected access(out: number, address: number, descriptor: number, translated: () => FunctionBody): void {
    const { f } = this;
    f.op('i32.eqz').if();
    translated().set(out);
    f.else();
    f.get(address).op('i32.wrap_i64').get(address).i64(32n).op('i64.shr_u').op('i32.wrap_i64').i32(descriptor);
    this.record().call(IMPORT_MISS).tee(out).op('i32.eqz').if();
    this.leaveStopped();
    f.end();
    f.end();
  }

  /** After a store: `miss` may have sent it to SCRATCH. */
  protected stored(ptr: Value): void {
    this.f.get(this.local(ptr)).i32(L.SCRATCH_END).op('i32.lt_u').if().call(IMPORT_SPLIT).end();
  }

  private pusher(value: Value): Push {
    return {
      push: () => this.push(value),
      again: () => this.f.get(this.local(value)),
    };
  }

  protected branch(cond: Value): void {
    this.push(cond).if();
    this.jump('imm');
    this.f.end();
  }

  protected conditional(op: Extract<Op, { k: 'if' }>): void {
    const { f } = this;
    this.push(op.cond).if();
    this.list(op.ifTrue);
    if (op.ifFalse.length > 0) {
      f.else();
      this.list(op.ifFalse);
    }
    f.end();
  }

  protected call(op: Extract<Op, { k: 'call' }>): void {
    const { f } = this;
    op.args.forEach((arg, i) => {
      this.setState(arg.ty === 'i64' ? 'i64.store' : arg.ty === 'v128' ? 'v128.store' : 'i32.store', L.ARGS + 16 * i, () => this.push(arg));
    });
    this.beforeHelper();
    f.i32(op.helper);
    this.record().call(this.helperImport).if();
    this.leaveFailedHelper();
    f.end();
    this.afterHelper();
    if (op.out) this.state('i64.load', L.ARGS).set(this.local(op.out));
  }

  /** The helper has said what stopped it. */
  protected leaveFailedHelper(): void {
    this.leaveStopped();
  }
}

/** A variable may change between a value's definition and its use, so the value cannot move. */
function readsVariable(op: Op): boolean {
  if (op.k === 'wasm') return op.args.some((arg) => arg.isVariable);
  return op.k === 'select' && [op.cond, op.ifTrue, op.ifFalse].some((arg) => arg.isVariable);
}
