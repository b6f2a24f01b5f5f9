/**
 * Writes WebAssembly: `FunctionBody` is a growing function, `ModuleWriter` wraps functions into a module whose imports are
 * named by the caller. Knows the binary format (WebAssembly core specification 5) and nothing of x86.
 */
import { type Ty, wasmOpcodes } from './wasm_opcodes.ts';

const typeCodes: Record<Ty, number> = { i32: 0x7f, i64: 0x7e, f32: 0x7d, f64: 0x7c, v128: 0x7b };

/** Bytes that grow. */
export class Bytes {
  #bytes = new Uint8Array(256);
  length = 0;

  byte(value: number): void {
    if (this.length === this.#bytes.length) this.#grow(1);
    this.#bytes[this.length++] = value;
  }

  append(bytes: ArrayLike<number>): void {
    if (this.length + bytes.length > this.#bytes.length) this.#grow(bytes.length);
    this.#bytes.set(bytes, this.length);
    this.length += bytes.length;
  }

  /** For a writer of many bytes at once: where they are, with room for `count` more from `length` on, which it moves. */
  reserve(count: number): Uint8Array {
    if (this.length + count > this.#bytes.length) this.#grow(count);
    return this.#bytes;
  }

  get last(): number {
    return this.#bytes[this.length - 1]!;
  }
  set last(value: number) {
    this.#bytes[this.length - 1] = value;
  }

  #grow(count: number): void {
    const bytes = new Uint8Array(Math.max(this.#bytes.length * 2, this.length + count));
    bytes.set(this.#bytes);
    this.#bytes = bytes;
  }

  unsigned(value: number): void {
    const bytes = this.reserve(5);
    this.length = putUnsigned(bytes, this.length, value);
  }

  /** A signed number of 32 bits. */
  signed(value: number): void {
    const bytes = this.reserve(5);
    this.length = putSigned(bytes, this.length, value);
  }

  signed64(value: bigint): void {
    const small = Number(value);
    if (small === (small | 0)) return this.signed(small);
    let rest = value;
    for (; rest < -64n || rest > 63n; rest >>= 7n) this.byte(Number(rest & 0x7fn) | 0x80);
    this.byte(Number(rest & 0x7fn));
  }

  /** A signed number of 64 bits in halves. */
  signedHalves(low: number, high: number): void {
    const bytes = this.reserve(10);
    this.length = putSignedHalves(bytes, this.length, low, high);
  }

  take(): Uint8Array {
    return this.#bytes.subarray(0, this.length);
  }
}

/** Puts an unsigned number of 32 bits at a place with room for it; returns the place behind it. */
export function putUnsigned(bytes: Uint8Array, place: number, value: number): number {
  let at = place;
  let rest = value;
  for (; rest > 127; rest >>>= 7) bytes[at++] = (rest & 0x7f) | 0x80;
  bytes[at++] = rest;
  return at;
}

/** The same of a signed number of 32 bits. */
export function putSigned(bytes: Uint8Array, place: number, value: number): number {
  let at = place;
  let rest = value;
  for (; rest < -64 || rest > 63; rest >>= 7) bytes[at++] = (rest & 0x7f) | 0x80;
  bytes[at++] = rest & 0x7f;
  return at;
}

/** The same of one of 64 bits in halves. */
export function putSignedHalves(bytes: Uint8Array, place: number, low: number, high: number): number {
  let at = place;
  let restLow = low | 0;
  let restHigh = high | 0;
  while (restHigh !== restLow >> 31) {
    bytes[at++] = (restLow & 0x7f) | 0x80;
    restLow = (restLow >>> 7) | (restHigh << 25);
    restHigh >>= 7;
  }
  return putSigned(bytes, at, restLow);
}

function unsignedLeb(value: number): number[] {
  const bytes = new Uint8Array(5);
  return [...bytes.subarray(0, putUnsigned(bytes, 0, value))];
}

export interface Signature {
  readonly params: readonly Ty[];
  readonly results: readonly Ty[];
}

export class FunctionBody {
  readonly signature: Signature;
  /** What has been written: whoever writes there leaves no block open. */
  readonly code = new Bytes();
  readonly #locals: Ty[] = [];
  /** Locals that `recycleLocals` has freed, by type. */
  #free: Partial<Record<Ty, number[]>> = {};
  #used: [Ty, number][] = [];
  /** Open blocks; the function's own is not counted. */
  depth = 0;

  constructor(signature: Signature) {
    this.signature = signature;
  }

  /** How many locals there are. */
  get localCount(): number {
    return this.#locals.length;
  }

  /** Starts another function of the same signature, with that many of the locals. */
  restart(localCount: number): void {
    this.code.length = 0;
    this.#locals.length = localCount;
    this.#free = {};
    this.#used = [];
    this.depth = 0;
  }

  local(ty: Ty): number {
    let local = this.#free[ty]?.pop();
    if (local === undefined) {
      this.#locals.push(ty);
      local = this.signature.params.length + this.#locals.length - 1;
    }
    this.#used.push([ty, local]);
    return local;
  }

  /** Frees all locals handed out since `mark` (a past value of `localMark`): their values are no longer wanted. */
  recycleLocals(mark: number): void {
    for (const [ty, local] of this.#used.splice(mark)) {
      this.#free[ty] ??= [];
      this.#free[ty].push(local);
    }
  }

  get localMark(): number {
    return this.#used.length;
  }

  #with(opcode: number, operand: number): this {
    this.code.byte(opcode);
    this.code.unsigned(operand);
    return this;
  }

  #opcode(bytes: readonly number[]): void {
    if (bytes.length === 1) this.code.byte(bytes[0]!);
    else this.code.append(bytes);
  }

  op(name: string, lane?: number): this {
    const opcode = wasmOpcodes.get(name);
    if (!opcode) throw new Error(`bug: no WebAssembly instruction ${name}`);
    this.#opcode(opcode.code);
    if (opcode.hasLane) this.code.byte(lane ?? 0);
    return this;
  }

  /** A load or store with a constant offset added to its address. Alignment 0: guests align as they like. */
  mem(name: string, offset = 0): this {
    const opcode = wasmOpcodes.get(name);
    if (!opcode) throw new Error(`bug: no WebAssembly instruction ${name}`);
    this.#opcode(opcode.code);
    return this.#with(0, offset);
  }

  shuffle(lanes: readonly number[]): this {
    this.code.append([0xfd, 0x0d, ...lanes]);
    return this;
  }

  i32(value: number): this {
    this.code.byte(0x41);
    this.code.signed(value | 0);
    return this;
  }
  i64(value: bigint): this {
    this.code.byte(0x42);
    this.code.signed64(BigInt.asIntN(64, value));
    return this;
  }
  /** The same of a value's halves. */
  i64Halves(low: number, high: number): this {
    this.code.byte(0x42);
    this.code.signedHalves(low, high);
    return this;
  }
  f32(value: number): this {
    this.code.byte(0x43);
    this.code.append(new Uint8Array(new Float32Array([value]).buffer));
    return this;
  }
  f64(value: number): this {
    this.code.byte(0x44);
    this.code.append(new Uint8Array(new Float64Array([value]).buffer));
    return this;
  }
  v128(low: bigint, high: bigint): this {
    this.code.append([0xfd, 0x0c]);
    this.code.append(new Uint8Array(new BigUint64Array([BigInt.asUintN(64, low), BigInt.asUintN(64, high)]).buffer));
    return this;
  }
  get(local: number): this {
    return this.#with(0x20, local);
  }
  set(local: number): this {
    return this.#with(0x21, local);
  }
  tee(local: number): this {
    return this.#with(0x22, local);
  }
  call(index: number): this {
    return this.#with(0x10, index);
  }
  callIndirect(type: number): this {
    this.#with(0x11, type).code.byte(0);
    return this;
  }
  select(): this {
    this.code.byte(0x1b);
    return this;
  }
  return(): this {
    this.code.byte(0x0f);
    return this;
  }
  drop(): this {
    this.code.byte(0x1a);
    return this;
  }
  unreachable(): this {
    this.code.byte(0x00);
    return this;
  }
  #open(opcode: number, result: Ty | undefined): this {
    this.depth++;
    this.code.byte(opcode);
    this.code.byte(result ? typeCodes[result] : 0x40);
    return this;
  }
  block(result?: Ty): this {
    return this.#open(0x02, result);
  }
  loop(): this {
    return this.#open(0x03, undefined);
  }
  if(result?: Ty): this {
    return this.#open(0x04, result);
  }
  else(): this {
    this.code.byte(0x05);
    return this;
  }
  end(): this {
    this.depth--;
    this.code.byte(0x0b);
    return this;
  }
  br(depth: number): this {
    return this.#with(0x0c, depth);
  }
  /** Branches to the block that was opened as the `label`th (its `depth` once open). */
  brTo(label: number): this {
    return this.br(this.depth - label);
  }
  brTable(depths: readonly number[], otherwise: number): this {
    this.#with(0x0e, depths.length);
    for (const depth of depths) this.code.unsigned(depth);
    this.code.unsigned(otherwise);
    return this;
  }
  brIf(depth: number): this {
    return this.#with(0x0d, depth);
  }

  /** The function as a code section has it, without its size. */
  encode(): Uint8Array {
    const bytes = new Bytes();
    this.#putLocals(bytes);
    bytes.append(this.code.take());
    bytes.byte(0x0b);
    return bytes.take();
  }

  /** The same with its size. */
  appendTo(bytes: Bytes): void {
    declarations.length = 0;
    this.#putLocals(declarations);
    bytes.unsigned(declarations.length + this.code.length + 1);
    bytes.append(declarations.take());
    bytes.append(this.code.take());
    bytes.byte(0x0b);
  }

  #putLocals(bytes: Bytes): void {
    const locals = this.#locals;
    let groups = 0;
    for (let i = 0; i < locals.length; i++) if (locals[i] !== locals[i - 1]) groups++;
    bytes.unsigned(groups);
    for (let first = 0, i = 1; i <= locals.length; i++) {
      if (locals[i] === locals[first]) continue;
      bytes.unsigned(i - first);
      bytes.byte(typeCodes[locals[first]!]);
      first = i;
    }
  }
}

/** Room for a function's declarations of locals. */
const declarations = new Bytes();

export interface ImportedFunction {
  readonly name: string;
  readonly signature: Signature;
}

interface ModuleImports {
  /** Function imports from module 'e'; they take function indices 0, 1, ... */
  readonly imports: readonly ImportedFunction[];
  /** Signatures for `callIndirect`, by index into this list. */
  readonly indirect: readonly Signature[];
  readonly memoryPages: number;
}

/** Makes modules, function by function; what it has grown to serves the next. */
export class ModuleWriter {
  readonly #code = new Bytes();
  readonly #module = new Bytes();
  #functions: { readonly signature: Signature; readonly export: string }[] = [];

  add(body: FunctionBody, name: string): void {
    body.appendTo(this.#code);
    this.#functions.push({ signature: body.signature, export: name });
  }

  /**
   * The module, which stays until the next is finished. Imports memory as 'e'.'memory' and, for indirect calls only,
   * 'e'.'table': V8 never forgets who imported a table, and tells all of them of each change in it. `indirect[i]` has type
   * index i.
   */
  finish({ imports, indirect, memoryPages }: ModuleImports): Uint8Array {
    const types: string[] = [];
    const typeBytes: number[][] = [];
    const typeIndex = (signature: Signature): number => {
      const key = `${signature.params}>${signature.results}`;
      const present = types.indexOf(key);
      if (present >= 0) return present;
      const list = (tys: readonly Ty[]): number[] => [...unsignedLeb(tys.length), ...tys.map((ty) => typeCodes[ty])];
      types.push(key);
      typeBytes.push([0x60, ...list(signature.params), ...list(signature.results)]);
      return types.length - 1;
    };
    for (const signature of indirect) typeIndex(signature);
    const text = (s: string): number[] => [s.length, ...[...s].map((c) => c.charCodeAt(0))];
    const importEntries = [
      [...text('e'), ...text('memory'), 0x02, 0x01, ...unsignedLeb(memoryPages), ...unsignedLeb(memoryPages)],
      ...(indirect.length > 0 ? [[...text('e'), ...text('table'), 0x01, 0x70, 0x00, 0x00]] : []),
      ...imports.map((f) => [...text('e'), ...text(f.name), 0x00, ...unsignedLeb(typeIndex(f.signature))]),
    ];
    const functionTypes = this.#functions.map((f) => unsignedLeb(typeIndex(f.signature)));
    const exportEntries = this.#functions.map((f, i) => [...text(f.export), 0x00, ...unsignedLeb(imports.length + i)]);
    const bytes = this.#module;
    bytes.length = 0;
    bytes.append([0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00]);
    const section = (id: number, entries: readonly number[][]): void => {
      const content = entries.flat();
      const count = unsignedLeb(entries.length);
      bytes.byte(id);
      bytes.unsigned(count.length + content.length);
      bytes.append(count);
      bytes.append(content);
    };
    section(1, typeBytes);
    section(2, importEntries);
    section(3, functionTypes);
    section(7, exportEntries);
    const count = unsignedLeb(this.#functions.length);
    bytes.byte(10);
    bytes.unsigned(count.length + this.#code.length);
    bytes.append(count);
    bytes.append(this.#code.take());
    this.#code.length = 0;
    this.#functions = [];
    return bytes.take();
  }
}

/** A module of some functions. */
export function buildModule(
  parts: ModuleImports & { readonly functions: readonly { readonly body: FunctionBody; readonly export: string }[] },
): Uint8Array {
  const writer = new ModuleWriter();
  for (const { body, export: name } of parts.functions) writer.add(body, name);
  return writer.finish(parts);
}
