/**
 * What a row's lowering writes with. Integer values are i64, zero-extended from their operand size; conditions are i32;
 * vectors are v128. The Intel-like operand accessors (`rm`, `reg`, `imm`) hide whether an operand is a register or memory.
 */
import type { Access, FlagKind, Op, RegRef, Value } from './ir.ts';
import type { Shape, Size } from './shape.ts';
import { type Ty, wasmOpcodes } from './wasm_opcodes.ts';

const sizeMasks: Record<number, bigint> = { 1: 0xffn, 2: 0xffffn, 4: 0xffff_ffffn, 8: 0xffff_ffff_ffff_ffffn };
const loadNames: Record<number, string> = { 1: 'i64.load8_u', 2: 'i64.load16_u', 4: 'i64.load32_u', 8: 'i64.load', 16: 'v128.load' };
const storeNames: Record<number, string> = { 1: 'i64.store8', 2: 'i64.store16', 4: 'i64.store32', 8: 'i64.store', 16: 'v128.store' };

/** An operand that can be read and written; the address is translated when the operand is made. */
export interface Operand {
  get(): Value;
  set(value: Value): void;
}

export class Builder {
  readonly shape: Shape;
  readonly size: Size;
  #ops: Op[] = [];
  #count = 0;

  constructor(shape: Shape) {
    this.shape = shape;
    this.size = shape.size;
  }

  get ops(): readonly Op[] {
    return this.#ops;
  }

  #value(ty: Ty): Value {
    return { ty, id: this.#count++, uses: 0 };
  }

  #use(value: Value): Value {
    value.uses++;
    return value;
  }

  // Constants and pure operations

  con(value: bigint | number): Value {
    const out = this.#value('i64');
    this.#ops.push({ k: 'const', out, value: BigInt(value) });
    return out;
  }

  con32(value: number): Value {
    const out = this.#value('i32');
    this.#ops.push({ k: 'const', out, value });
    return out;
  }

  conVector(low: bigint, high: bigint): Value {
    const out = this.#value('v128');
    this.#ops.push({ k: 'const', out, value: [low, high] });
    return out;
  }

  /** Any non-memory WebAssembly instruction by its name. */
  op(name: string, ...args: Value[]): Value {
    return this.lane(name, 0, ...args);
  }

  /** A lane access: `lane('i64x2.extract_lane', 1, v)`. */
  lane(name: string, lane: number, ...args: Value[]): Value {
    const opcode = wasmOpcodes.get(name);
    if (!opcode?.result) throw new Error(`bug: ${name} is no value operation`);
    if (opcode.params.length !== args.length || opcode.params.some((ty, i) => ty !== args[i]!.ty)) {
      throw new Error(`bug: ${this.shape.row.name}: ${name} takes (${opcode.params}), given (${args.map((a) => a.ty)})`);
    }
    const out = this.#value(opcode.result);
    for (const arg of args) this.#use(arg);
    this.#ops.push({ k: 'wasm', name, args, out, lane });
    return out;
  }

  /** Lanes 0-15 take bytes of `a`, 16-31 of `b`. */
  shuffle(a: Value, b: Value, lanes: readonly number[]): Value {
    const out = this.#value('v128');
    this.#ops.push({ k: 'wasm', name: 'i8x16.shuffle', args: [this.#use(a), this.#use(b)], out, lane: 0, shuffle: lanes });
    return out;
  }

  select(cond: Value, then: Value, otherwise: Value): Value {
    const out = this.#value(then.ty);
    this.#ops.push({ k: 'select', cond: this.#use(cond), ifTrue: this.#use(then), ifFalse: this.#use(otherwise), out });
    return out;
  }

  add(a: Value, b: Value): Value {
    return this.op('i64.add', a, b);
  }
  sub(a: Value, b: Value): Value {
    return this.op('i64.sub', a, b);
  }
  and(a: Value, b: Value): Value {
    return this.op('i64.and', a, b);
  }
  or(a: Value, b: Value): Value {
    return this.op('i64.or', a, b);
  }
  xor(a: Value, b: Value): Value {
    return this.op('i64.xor', a, b);
  }
  shl(a: Value, b: Value): Value {
    return this.op('i64.shl', a, b);
  }
  shr(a: Value, b: Value): Value {
    return this.op('i64.shr_u', a, b);
  }
  sar(a: Value, b: Value): Value {
    return this.op('i64.shr_s', a, b);
  }
  isZero(a: Value): Value {
    return this.op(a.ty === 'i64' ? 'i64.eqz' : 'i32.eqz', a);
  }
  wrap(a: Value): Value {
    return this.op('i32.wrap_i64', a);
  }
  /** An i32 as a zero-extended i64. */
  widen(a: Value): Value {
    return this.op('i64.extend_i32_u', a);
  }

  /** Zero-extends the low `size` bytes. */
  zx(value: Value, size: number = this.size): Value {
    return size === 8 ? value : this.and(value, this.con(sizeMasks[size]!));
  }

  /** Sign-extends the low `size` bytes to 64 bits. */
  sx(value: Value, size: number = this.size): Value {
    return size === 8 ? value : this.op(size === 4 ? 'i64.extend32_s' : size === 2 ? 'i64.extend16_s' : 'i64.extend8_s', value);
  }

  /** The sign bit of the low `size` bytes, as i32 0 or 1. */
  msb(value: Value, size: number = this.size): Value {
    return this.wrap(this.and(this.shr(value, this.con(size * 8 - 1)), this.con(1)));
  }

  /** Bit `index` as i32 0 or 1. */
  bit(value: Value, index: number): Value {
    return this.wrap(this.and(this.shr(value, this.con(index)), this.con(1)));
  }

  // Fields of the instruction

  /** The immediate as its pattern extends it, cut to the operand size. */
  imm(size: number = this.size): Value {
    return this.zx(this.#field('imm'), size);
  }

  /** The immediate field, all 64 bits. */
  imm64(): Value {
    return this.#field('imm');
  }

  ripNext(): Value {
    return this.#field('ripNext');
  }

  rip(): Value {
    return this.#field('rip');
  }

  #field(field: 'imm' | 'ripNext' | 'rip'): Value {
    const out = this.#value('i64');
    this.#ops.push({ k: 'field', field, out });
    return out;
  }

  // Registers and operands

  get(ref: RegRef, size: Size = this.size): Value {
    const out = this.#value('i64');
    this.#ops.push({ k: 'getReg', ref, size, out });
    return out;
  }

  /** Writes a register: 4 bytes clear the upper half, 1 and 2 bytes leave the rest. The value may have bits above. */
  set(ref: RegRef, value: Value, size: Size = this.size): void {
    this.#ops.push({ k: 'setReg', ref, size, value: this.#use(value) });
  }

  /** ModRM.rm as register or memory. */
  rm(access: Access, size: Size = this.size): Operand {
    if (this.shape.ea === 'reg') return { get: () => this.get('rm', size), set: (value) => this.set('rm', value, size) };
    const ptr = this.ptr(this.ea(size), size, access);
    return { get: () => this.load(ptr, size), set: (value) => this.store(ptr, size, value) };
  }

  getXmm(ref: RegRef): Value {
    const out = this.#value('v128');
    this.#ops.push({ k: 'getXmm', ref, out });
    return out;
  }

  setXmm(ref: RegRef, value: Value): void {
    this.#ops.push({ k: 'setXmm', ref, value: this.#use(value) });
  }

  /** An MMX register as i64; the 64-bit mantissa of the aliased x87 register. */
  getMmx(ref: RegRef): Value {
    const out = this.#value('i64');
    this.#ops.push({ k: 'getMmx', ref, out });
    return out;
  }

  /** Also sets the aliased register's sign and exponent to ones, as every MMX write does. */
  setMmx(ref: RegRef, value: Value): void {
    this.#ops.push({ k: 'setMmx', ref, value: this.#use(value) });
  }

  getState(load: string, offset: number): Value {
    const out = this.#value(wasmOpcodes.get(load)!.result!);
    this.#ops.push({ k: 'getState', load, offset, out });
    return out;
  }

  setState(store: string, offset: number, value: Value): void {
    this.#ops.push({ k: 'setState', store, offset, value: this.#use(value) });
  }

  // Memory

  ea(size: number): Value {
    const out = this.#value('i64');
    this.#ops.push({ k: 'ea', size, out });
    return out;
  }

  offset(): Value {
    const out = this.#value('i64');
    this.#ops.push({ k: 'offset', out });
    return out;
  }

  linear(segment: number, offset: Value, size: number): Value {
    const out = this.#value('i64');
    this.#ops.push({ k: 'linear', segment, offset: this.#use(offset), size, out });
    return out;
  }

  /** `align`: alignment that the instruction itself demands (#GP), 1 for none. */
  ptr(addr: Value, size: number, access: Access, options: { isStack?: boolean; align?: number } = {}): Value {
    const out = this.#value('i32');
    this.#ops.push({ k: 'ptr', addr: this.#use(addr), size, access, isStack: options.isStack ?? false, align: options.align ?? 1, out });
    return out;
  }

  /** Loads 1-8 bytes zero-extended as i64, 16 as v128; or by an explicit load's name. */
  load(ptr: Value, how: number | string, offset = 0): Value {
    const load = typeof how === 'string' ? how : loadNames[how]!;
    const out = this.#value(wasmOpcodes.get(load)!.result!);
    this.#ops.push({ k: 'load', load, ptr: this.#use(ptr), offset, out });
    return out;
  }

  store(ptr: Value, how: number | string, value: Value, offset = 0): void {
    const store = typeof how === 'string' ? how : storeNames[how]!;
    this.#ops.push({ k: 'store', store, ptr: this.#use(ptr), offset, value: this.#use(value) });
  }

  // Flags

  flags(kind: FlagKind, result: Value, a: Value, b: Value, size: Size = this.size): void {
    for (const value of [result, a, b]) value.uses += 2;
    this.#ops.push({ k: 'setFlags', kind, size, result, a, b });
  }

  flagsFrom(result: Value, cf: Value, of: Value, size: Size = this.size): void {
    cf.uses += 2;
    this.#ops.push({ k: 'setFlagsFrom', size, result: this.#use(result), cf, of: this.#use(of) });
  }

  carry(cf: Value, of?: Value): void {
    this.#ops.push({ k: 'setCarry', cf: this.#use(cf), of: of && this.#use(of) });
  }

  flagsImage(image: Value): void {
    this.#ops.push({ k: 'setFlagsImage', image: this.#use(image) });
  }

  /** OF SF ZF AF PF CF in RFLAGS's positions, other bits zero. */
  getFlagsImage(): Value {
    const out = this.#value('i64');
    this.#ops.push({ k: 'getFlagsImage', out });
    return out;
  }

  /** A condition by the number of its opcode nibble, as i32 0 or 1. */
  cond(cc: number = this.shape.cc): Value {
    const out = this.#value('i32');
    this.#ops.push({ k: 'cond', cc, out });
    return out;
  }

  // Control

  if(cond: Value, then: () => void, otherwise: () => void = () => {}): void {
    this.#use(cond);
    const list = (write: () => void): Op[] => {
      const saved = this.#ops;
      this.#ops = [];
      write();
      const made = this.#ops;
      this.#ops = saved;
      return made;
    };
    const thenOps = list(then);
    const elseOps = list(otherwise);
    this.#ops.push({ k: 'if', cond, ifTrue: thenOps, ifFalse: elseOps });
  }

  /** A variable for values that differ by control flow; assign with `assign`. */
  variable(initial: Value): Value {
    const variable: Value = { ...this.#value(initial.ty), isVariable: true };
    this.assign(variable, initial);
    return variable;
  }

  assign(variable: Value, value: Value): void {
    this.#ops.push({ k: 'setVar', variable, value: this.#use(value) });
  }

  /** Raises `vector` when the condition (always, when undefined) holds. */
  fault(cond: Value | undefined, vector: number, errorCode = 0): void {
    this.#ops.push({ k: 'fault', cond: cond && this.#use(cond), vector, errorCode });
  }

  /** Calls a TypeScript helper (helpers.ts) with i64 or i32 arguments; `result` says whether it returns an i64. */
  call(helper: number, args: Value[], result: true): Value;
  call(helper: number, args: Value[], result?: false): undefined;
  call(helper: number, args: Value[], result = false): Value | undefined {
    const out = result ? this.#value('i64') : undefined;
    for (const arg of args) this.#use(arg);
    this.#ops.push({ k: 'call', helper, args, out });
    return out;
  }

  /** Ends the instruction: an indirect target, the immediate's direct target, the next instruction by dispatch, or itself again. */
  jump(target: Value | 'imm' | 'next' | 'self'): void {
    if (typeof target !== 'string') this.#use(target);
    this.#ops.push({ k: 'jump', target });
  }

  /** Jumps to the immediate's target when the condition holds. */
  branch(cond: Value): void {
    this.#ops.push({ k: 'branch', cond: this.#use(cond) });
  }

  /** Performed outside the loop by system function `name`. */
  system(name: number): void {
    this.#ops.push({ k: 'system', name });
  }
}
