/**
 * Writes WebAssembly: `FunctionBody` is a growing function, `buildModule` wraps functions into a module whose imports are
 * named by the caller. Knows the binary format (WebAssembly core specification 5) and nothing of x86.
 */
import { type Ty, wasmOpcodes } from './wasm_opcodes.ts';

const typeCodes: Record<Ty, number> = { i32: 0x7f, i64: 0x7e, f32: 0x7d, f64: 0x7c, v128: 0x7b };

export function unsignedLeb(value: number): number[] {
  const bytes: number[] = [];
  let rest = value;
  do {
    const low = rest % 128;
    rest = (rest - low) / 128;
    bytes.push(rest > 0 ? low | 0x80 : low);
  } while (rest > 0);
  return bytes;
}

function signedLeb(value: bigint): number[] {
  const bytes: number[] = [];
  let rest = value;
  for (;;) {
    const low = Number(rest & 0x7fn);
    rest >>= 7n;
    const isLast = (rest === 0n && !(low & 0x40)) || (rest === -1n && (low & 0x40) !== 0);
    bytes.push(isLast ? low : low | 0x80);
    if (isLast) return bytes;
  }
}

export interface Signature {
  readonly params: readonly Ty[];
  readonly results: readonly Ty[];
}

export class FunctionBody {
  readonly signature: Signature;
  readonly #code: number[] = [];
  readonly #locals: Ty[] = [];
  /** Locals that `recycleLocals` has freed, by type. */
  #free: Partial<Record<Ty, number[]>> = {};
  #used: [Ty, number][] = [];
  /** Open blocks; the function's own is not counted. */
  depth = 0;

  constructor(signature: Signature) {
    this.signature = signature;
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

  op(name: string, lane?: number): this {
    const opcode = wasmOpcodes.get(name);
    if (!opcode) throw new Error(`bug: no WebAssembly instruction ${name}`);
    this.#code.push(...opcode.code);
    if (opcode.hasLane) this.#code.push(lane ?? 0);
    return this;
  }

  /** A load or store with a constant offset added to its address. Alignment 0: guests align as they like. */
  mem(name: string, offset = 0): this {
    const opcode = wasmOpcodes.get(name);
    if (!opcode) throw new Error(`bug: no WebAssembly instruction ${name}`);
    this.#code.push(...opcode.code, 0, ...unsignedLeb(offset));
    return this;
  }

  shuffle(lanes: readonly number[]): this {
    this.#code.push(0xfd, 0x0d, ...lanes);
    return this;
  }

  i32(value: number): this {
    this.#code.push(0x41, ...signedLeb(BigInt(value | 0)));
    return this;
  }
  i64(value: bigint): this {
    this.#code.push(0x42, ...signedLeb(BigInt.asIntN(64, value)));
    return this;
  }
  f32(value: number): this {
    this.#code.push(0x43, ...new Uint8Array(new Float32Array([value]).buffer));
    return this;
  }
  f64(value: number): this {
    this.#code.push(0x44, ...new Uint8Array(new Float64Array([value]).buffer));
    return this;
  }
  v128(low: bigint, high: bigint): this {
    this.#code.push(0xfd, 0x0c, ...new Uint8Array(new BigUint64Array([BigInt.asUintN(64, low), BigInt.asUintN(64, high)]).buffer));
    return this;
  }
  get(local: number): this {
    this.#code.push(0x20, ...unsignedLeb(local));
    return this;
  }
  set(local: number): this {
    this.#code.push(0x21, ...unsignedLeb(local));
    return this;
  }
  tee(local: number): this {
    this.#code.push(0x22, ...unsignedLeb(local));
    return this;
  }
  call(index: number): this {
    this.#code.push(0x10, ...unsignedLeb(index));
    return this;
  }
  callIndirect(type: number): this {
    this.#code.push(0x11, ...unsignedLeb(type), 0);
    return this;
  }
  select(): this {
    this.#code.push(0x1b);
    return this;
  }
  return(): this {
    this.#code.push(0x0f);
    return this;
  }
  drop(): this {
    this.#code.push(0x1a);
    return this;
  }
  unreachable(): this {
    this.#code.push(0x00);
    return this;
  }
  block(): this {
    this.depth++;
    this.#code.push(0x02, 0x40);
    return this;
  }
  loop(): this {
    this.depth++;
    this.#code.push(0x03, 0x40);
    return this;
  }
  if(result?: Ty): this {
    this.depth++;
    this.#code.push(0x04, result ? typeCodes[result] : 0x40);
    return this;
  }
  else(): this {
    this.#code.push(0x05);
    return this;
  }
  end(): this {
    this.depth--;
    this.#code.push(0x0b);
    return this;
  }
  br(depth: number): this {
    this.#code.push(0x0c, ...unsignedLeb(depth));
    return this;
  }
  /** Branches to the block that was opened as the `label`th (its `depth` once open). */
  brTo(label: number): this {
    return this.br(this.depth - label);
  }
  brTable(depths: readonly number[], otherwise: number): this {
    this.#code.push(0x0e, ...unsignedLeb(depths.length), ...depths.flatMap((depth) => unsignedLeb(depth)), ...unsignedLeb(otherwise));
    return this;
  }
  brIf(depth: number): this {
    this.#code.push(0x0d, ...unsignedLeb(depth));
    return this;
  }

  encode(): number[] {
    const groups: [number, Ty][] = [];
    for (const ty of this.#locals) {
      const last = groups.at(-1);
      if (last && last[1] === ty) last[0]++;
      else groups.push([1, ty]);
    }
    const locals = [...unsignedLeb(groups.length), ...groups.flatMap(([count, ty]) => [...unsignedLeb(count), typeCodes[ty]])];
    return [...locals, ...this.#code, 0x0b];
  }
}

export interface ImportedFunction {
  readonly name: string;
  readonly signature: Signature;
}

export interface ModuleParts {
  /** Function imports from module 'e'; they take function indices 0, 1, ... */
  readonly imports: readonly ImportedFunction[];
  /** Signatures for `callIndirect`, by index into this list. */
  readonly indirect: readonly Signature[];
  readonly functions: readonly { readonly body: FunctionBody; readonly export: string }[];
  readonly memoryPages: number;
}

/**
 * Imports memory as 'e'.'memory' and, for indirect calls only, 'e'.'table': V8 never forgets who imported a table, and tells
 * all of them of each change in it. `indirect[i]` has type index i.
 */
export function buildModule(parts: ModuleParts): Uint8Array {
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
  for (const signature of parts.indirect) typeIndex(signature);
  const text = (s: string): number[] => [s.length, ...[...s].map((c) => c.charCodeAt(0))];
  const importEntries = [
    [...text('e'), ...text('memory'), 0x02, 0x01, ...unsignedLeb(parts.memoryPages), ...unsignedLeb(parts.memoryPages)],
    ...(parts.indirect.length > 0 ? [[...text('e'), ...text('table'), 0x01, 0x70, 0x00, 0x00]] : []),
    ...parts.imports.map((f) => [...text('e'), ...text(f.name), 0x00, ...unsignedLeb(typeIndex(f.signature))]),
  ];
  const functionTypes = parts.functions.map((f) => unsignedLeb(typeIndex(f.body.signature)));
  const exportEntries = parts.functions.map((f, i) => [...text(f.export), 0x00, ...unsignedLeb(parts.imports.length + i)]);
  const bytes: number[] = [0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00];
  const section = (id: number, entries: readonly number[][]): void => {
    const count = unsignedLeb(entries.length);
    const size = entries.reduce((sum, entry) => sum + entry.length, count.length);
    bytes.push(id, ...unsignedLeb(size), ...count);
    for (const entry of entries) for (const byte of entry) bytes.push(byte);
  };
  section(1, typeBytes);
  section(2, importEntries);
  section(3, functionTypes);
  section(7, exportEntries);
  section(
    10,
    parts.functions.map((f) => {
      const code = f.body.encode();
      return [...unsignedLeb(code.length), ...code];
    }),
  );
  return new Uint8Array(bytes);
}
