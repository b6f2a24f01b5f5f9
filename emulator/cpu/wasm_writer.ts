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
  /** From the addresses of target and source and the size that it finds. */
  memoryCopy(): this {
    this.code.append([0xfc, 0x0a, 0, 0]);
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
  /** As many depths follow as `count` says, and one for everything else. */
  startBrTable(count: number): this {
    return this.#with(0x0e, count);
  }
  brTable(depths: readonly number[], otherwise: number): this {
    this.startBrTable(depths.length);
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

/** What modules of the same imports and types begin with. */
interface ModuleHead extends ModuleImports {
  /** By type index. */
  readonly types: readonly Signature[];
  readonly bytes: Uint8Array;
}

/** Makes modules, function by function; what it has grown to serves the next, and so does what they begin with. */
export class ModuleWriter {
  readonly #code = new Bytes();
  readonly #section = new Bytes();
  readonly #module = new Bytes();
  #functions: { readonly signature: Signature; readonly export: string }[] = [];
  #heads: ModuleHead[] = [];

  add(body: FunctionBody, name: string): void {
    body.appendTo(this.#code);
    this.#functions.push({ signature: body.signature, export: name });
  }

  /**
   * The module, which stays until the next is finished. Imports memory as 'e'.'memory' and, for indirect calls only,
   * 'e'.'table': V8 never forgets who imported a table, and tells all of them of each change in it. `indirect[i]` has type
   * index i.
   */
  finish(parts: ModuleImports): Uint8Array {
    const functions = this.#functions;
    const head = this.#headOf(parts);
    const bytes = this.#module;
    const section = this.#section;
    bytes.length = 0;
    bytes.append(head.bytes);
    section.unsigned(functions.length);
    for (const { signature } of functions) section.unsigned(head.types.findIndex((type) => isSame(type, signature)));
    this.#endSection(3);
    section.unsigned(functions.length);
    for (let i = 0; i < functions.length; i++) {
      putText(section, functions[i]!.export);
      section.byte(0);
      section.unsigned(parts.imports.length + i);
    }
    this.#endSection(7);
    section.unsigned(functions.length);
    bytes.byte(10);
    bytes.unsigned(section.length + this.#code.length);
    bytes.append(section.take());
    bytes.append(this.#code.take());
    section.length = 0;
    this.#code.length = 0;
    this.#functions = [];
    return bytes.take();
  }

  #endSection(id: number): void {
    this.#module.byte(id);
    this.#module.unsigned(this.#section.length);
    this.#module.append(this.#section.take());
    this.#section.length = 0;
  }

  #headOf(parts: ModuleImports): ModuleHead {
    const { imports, indirect, memoryPages } = parts;
    for (const head of this.#heads) {
      if (head.imports !== imports || head.indirect !== indirect || head.memoryPages !== memoryPages) continue;
      if (this.#functions.every(({ signature }) => head.types.includes(signature))) return head;
    }
    const head = this.#makeHead(parts);
    this.#heads = [head, ...this.#heads.slice(0, 3)];
    return head;
  }

  #makeHead({ imports, indirect, memoryPages }: ModuleImports): ModuleHead {
    const types: Signature[] = [...indirect];
    for (const { signature } of [...imports, ...this.#functions]) if (!types.some((type) => isSame(type, signature))) types.push(signature);
    const bytes = this.#module;
    const section = this.#section;
    bytes.length = 0;
    bytes.append([0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00]);
    section.unsigned(types.length);
    for (const { params, results } of types) {
      section.byte(0x60);
      for (const list of [params, results]) {
        section.unsigned(list.length);
        section.append(list.map((ty) => typeCodes[ty]));
      }
    }
    this.#endSection(1);
    const startImport = (name: string): void => {
      putText(section, 'e');
      putText(section, name);
    };
    section.unsigned(imports.length + (indirect.length > 0 ? 2 : 1));
    startImport('memory');
    section.append([0x02, 0x01]);
    section.unsigned(memoryPages);
    section.unsigned(memoryPages);
    if (indirect.length > 0) {
      startImport('table');
      section.append([0x01, 0x70, 0x00, 0x00]);
    }
    for (const { name, signature } of imports) {
      startImport(name);
      section.byte(0);
      section.unsigned(types.findIndex((type) => isSame(type, signature)));
    }
    this.#endSection(2);
    return { imports, indirect, memoryPages, types, bytes: bytes.take().slice() };
  }
}

function putText(bytes: Bytes, text: string): void {
  bytes.unsigned(text.length);
  for (let i = 0; i < text.length; i++) bytes.byte(text.charCodeAt(i));
}

function isSame(a: Signature, b: Signature): boolean {
  return a === b || (a.params.join() === b.params.join() && a.results.join() === b.results.join());
}

/** A module of some functions. */
export function buildModule(
  parts: ModuleImports & { readonly functions: readonly { readonly body: FunctionBody; readonly export: string }[] },
): Uint8Array {
  const writer = new ModuleWriter();
  for (const { body, export: name } of parts.functions) writer.add(body, name);
  return writer.finish(parts);
}
