/**
 * One engine as a program sees it: the methods of unicorn.js 2.x (64-bit results are bigints, inputs may be either). Each
 * method does its work on the parts and reports a failure in its own C function's name.
 */
import { type CpuContext, type CpuCore, createCpu } from '../cpu/index.ts';
import { constants as uc } from './constants.ts';
import { cpuid } from './cpuid.ts';
import { Emulation } from './emulation.ts';
import { describeFailure, Failure } from './errors.ts';
import { type Callback, type Hook, Hooks, VALID_ACCESSES } from './hooks.ts';
import { GuestMemory } from './memory.ts';
import { fromBytes, type Register, registerTable, toBytes } from './registers.ts';
import { initSegments } from './segments.ts';

type Integer = number | bigint;
export type Type = 'i8' | 'i16' | 'i32' | 'i64' | 'float' | 'double';
/** A region of `mem_regions`; `end` is inclusive. */
export interface MemoryRegion {
  begin: bigint;
  end: bigint;
  perms: number;
}
/** From `context_alloc`; filled by `context_save`. */
export interface Context {
  saved?: CpuContext | undefined;
}

const MODES: readonly number[] = [uc.MODE_16, uc.MODE_32, uc.MODE_64];
const SIZES: Readonly<Record<Type, number>> = { i8: 1, i16: 2, i32: 4, i64: 8, float: 4, double: 8 };
const CR0_INITIAL = 0x11n,
  EFER_LONG = 0x500n,
  CR4_INITIAL = 0x600n;
/** Less where it cannot be had. */
const RAM_SIZES = [1 << 30, 1 << 28, 1 << 26];

/** What unicorn.js does not have. */
export interface UnicornOptions {
  /** Bytes that a program may touch, a multiple of 64 KiB: 1 GiB by default. The system gives them page by page. */
  memorySize?: number;
}

export class Unicorn {
  readonly arch: number;
  readonly mode: number;
  readonly #cpu: CpuCore;
  readonly #memory: GuestMemory;
  readonly #hooks = new Hooks();
  readonly #emulation: Emulation;
  readonly #registers: ReadonlyMap<number, Register>;
  #isOpen = true;
  #hasBegun = false;
  #error: number = uc.ERR_OK;
  /** In microseconds, of the last run. */
  #timeout = 0;
  /** Undefined: `until` is the only exit. */
  #exits: Set<bigint> | undefined;

  constructor(arch: number, mode: number, { memorySize }: UnicornOptions = {}) {
    this.arch = arch;
    this.mode = mode;
    if (arch !== uc.ARCH_X86) throw describeFailure('open', uc.ERR_ARCH);
    if (!MODES.includes(mode)) throw describeFailure('open', uc.ERR_MODE);
    this.#memory = new GuestMemory((begin, end) => this.#hooks.concerns(VALID_ACCESSES, begin, end));
    this.#cpu = this.#makeCpu(memorySize === undefined ? RAM_SIZES : [memorySize]);
    this.#memory.attach(this.#cpu);
    this.#emulation = new Emulation(this.#cpu, this.#memory, this.#hooks, this);
    this.#registers = registerTable(mode === uc.MODE_64);
    this.#cpu.cr0 = mode === uc.MODE_16 ? 0n : CR0_INITIAL;
    if (mode === uc.MODE_64) this.#cpu.efer = EFER_LONG;
    this.#cpu.cr4 = CR4_INITIAL;
    initSegments(this.#cpu, mode);
    this.#cpu.rip = 0n;
  }

  #makeCpu(sizes: readonly number[]): CpuCore {
    for (const [i, memorySize] of sizes.entries()) {
      try {
        return createCpu({
          memorySize,
          host: { cpuid, readTsc: (instructions) => instructions },
          intercepts: {
            exceptions: 0xffff_ffff,
            softwareInterrupts: true,
            syscall: true,
            instructions: new Set(['cpuid', 'in', 'out', 'ins', 'outs', 'rdmsr', 'wrmsr']),
          },
          engine: 'translate',
          nested: this.#memory,
          onAccess: (access) => this.#emulation.onAccess(access),
        });
      } catch (error) {
        if (!(error instanceof RangeError) || i === sizes.length - 1) throw error;
      }
    }
    throw describeFailure('open', uc.ERR_NOMEM);
  }

  /** Runs the body of a C function: what it throws becomes the string that unicorn.js throws. */
  #do<Result>(name: string, body: () => Result): Result {
    try {
      if (!this.#isOpen) throw new Failure(uc.ERR_HANDLE);
      return body();
    } catch (failure) {
      if (!(failure instanceof Failure)) throw failure;
      this.#error = failure.code;
      throw describeFailure(name, failure.code);
    }
  }

  // Registers

  /** Instruction pointers are the run's: writing one in a hook sends it elsewhere. */
  #pointerSize(id: number): number {
    if (id === uc.X86_REG_RIP) return this.mode === uc.MODE_64 ? 8 : 0;
    return id === uc.X86_REG_EIP ? 4 : id === uc.X86_REG_IP ? 2 : 0;
  }

  reg_write(id: number, bytes: ArrayLike<number>): void {
    this.#do('reg_write', () => {
      const image = Uint8Array.from(bytes);
      const size = this.#pointerSize(id);
      if (size === 0) return this.#registers.get(id)?.write(this.#cpu, image);
      const mask = (1n << BigInt(8 * size)) - 1n;
      this.#emulation.rip = (this.#emulation.rip & ~mask) | fromBytes(image, size);
    });
  }

  reg_read(id: number, size = 8): Uint8Array {
    return this.#do('reg_read', () => {
      const bytes = new Uint8Array(size);
      const pointerSize = this.#pointerSize(id);
      const image =
        pointerSize > 0 ? toBytes(this.#emulation.rip, pointerSize) : (this.#registers.get(id)?.read(this.#cpu) ?? new Uint8Array());
      bytes.set(image.subarray(0, size));
      return bytes;
    });
  }

  reg_write_type(id: number, type: Type, value: Integer): void {
    const bytes = new Uint8Array(SIZES[type]);
    const view = new DataView(bytes.buffer);
    if (type === 'float') view.setFloat32(0, Number(value), true);
    else if (type === 'double') view.setFloat64(0, Number(value), true);
    else
      bytes.set(
        toBytes(
          this.#do('reg_write', () => address(value)),
          bytes.length,
        ),
      );
    this.reg_write(id, bytes);
  }

  reg_read_type(id: number, type: Type): Integer {
    const view = new DataView(this.reg_read(id, SIZES[type]).buffer);
    switch (type) {
      case 'i8':
        return view.getInt8(0);
      case 'i16':
        return view.getInt16(0, true);
      case 'i32':
        return view.getInt32(0, true);
      case 'i64':
        return view.getBigInt64(0, true);
      case 'float':
        return view.getFloat32(0, true);
      case 'double':
        return view.getFloat64(0, true);
    }
  }

  // biome-ignore-start format: one type a line
  reg_write_i8(id: number, value: Integer): void {
    this.reg_write_type(id, 'i8', value);
  }
  reg_write_i16(id: number, value: Integer): void {
    this.reg_write_type(id, 'i16', value);
  }
  reg_write_i32(id: number, value: Integer): void {
    this.reg_write_type(id, 'i32', value);
  }
  reg_write_i64(id: number, value: Integer): void {
    this.reg_write_type(id, 'i64', value);
  }
  reg_write_float(id: number, value: number): void {
    this.reg_write_type(id, 'float', value);
  }
  reg_write_double(id: number, value: number): void {
    this.reg_write_type(id, 'double', value);
  }
  reg_read_i8(id: number): number {
    return this.reg_read_type(id, 'i8') as number;
  }
  reg_read_i16(id: number): number {
    return this.reg_read_type(id, 'i16') as number;
  }
  reg_read_i32(id: number): number {
    return this.reg_read_type(id, 'i32') as number;
  }
  reg_read_i64(id: number): bigint {
    return this.reg_read_type(id, 'i64') as bigint;
  }
  reg_read_float(id: number): number {
    return this.reg_read_type(id, 'float') as number;
  }
  reg_read_double(id: number): number {
    return this.reg_read_type(id, 'double') as number;
  }
  // biome-ignore-end format: one type a line

  // Memory

  mem_map(at: Integer, size: Integer, perms: number): void {
    this.#do('mem_map', () => this.#memory.map(address(at), address(size), perms));
    this.#changed();
  }

  mem_unmap(at: Integer, size: Integer): void {
    this.#do('mem_unmap', () => this.#memory.unmap(address(at), address(size)));
    this.#changed();
  }

  mem_protect(at: Integer, size: Integer, perms: number): void {
    this.#do('mem_protect', () => this.#memory.protect(address(at), address(size), perms));
    this.#changed();
  }

  mem_write(at: Integer, bytes: ArrayLike<number>): void {
    this.#do('mem_write', () => this.#memory.write(address(at), Uint8Array.from(bytes)));
  }

  mem_read(at: Integer, size: Integer): Uint8Array {
    return this.#do('mem_read', () => this.#memory.read(address(at), Number(size)));
  }

  mem_regions(): MemoryRegion[] {
    return this.#do('mem_regions', () => this.#memory.regions.map((region) => ({ ...region })));
  }

  /** Memory or hooks are other than the run under way believes. */
  #changed(): void {
    this.#hasBegun = true;
    this.#emulation.changed();
  }

  // Hooks

  hook_add(
    type: number,
    callback: Callback,
    user_data: unknown = {},
    begin: Integer = 1,
    end: Integer = 0,
    extra: number | undefined = 0,
  ): Hook {
    return this.#do('hook_add', () => {
      if (typeof callback !== 'function') throw new Failure(uc.ERR_ARG);
      const hook = { type, callback, userData: user_data, begin: address(begin), end: address(end), insn: extra, isDeleted: false };
      this.#hooks.add(hook);
      this.#memory.changed();
      this.#changed();
      return hook;
    });
  }

  hook_del(hook: Hook): void {
    this.#do('hook_del', () => {
      this.#hooks.delete(hook);
      this.#memory.changed();
      this.#changed();
    });
  }

  // Running

  emu_start(begin: Integer, until: Integer, timeout: Integer = 0, count: Integer = 0): void {
    this.#do('emu_start', () => {
      this.#hasBegun = true;
      this.#timeout = Number(timeout);
      const exits = this.#exits ?? new Set([address(until)]);
      const code = this.#emulation.start(address(begin), exits, this.#timeout, Number(address(count)), this.mode);
      if (code !== uc.ERR_OK) throw new Failure(code);
    });
  }

  emu_stop(): void {
    this.#do('emu_stop', () => this.#emulation.stop());
  }

  // Contexts

  context_alloc(): Context {
    return this.#do('context_alloc', () => ({}));
  }

  context_save(context: Context): void {
    this.#do('context_save', () => {
      context.saved = this.#cpu.saveContext();
    });
  }

  context_restore(context: Context): void {
    this.#do('context_restore', () => {
      const { saved } = context;
      if (!saved) throw new Failure(uc.ERR_ARG);
      this.#cpu.loadContext(saved);
      this.#emulation.rip = this.#cpu.rip;
    });
  }

  context_free(context: Context): void {
    context.saved = undefined;
  }

  // Queries and controls

  query_type(type: number): number {
    return this.#do('query', () => {
      if (type === uc.QUERY_MODE) return this.mode;
      if (type === uc.QUERY_PAGE_SIZE) return 4096;
      if (type === uc.QUERY_ARCH) return this.arch;
      if (type === uc.QUERY_TIMEOUT) return Number(this.#emulation.hasTimedOut);
      throw new Failure(uc.ERR_ARG);
    });
  }

  // biome-ignore-start format: one type a line
  query_i8(type: number): number {
    return this.query_type(type);
  }
  query_i16(type: number): number {
    return this.query_type(type);
  }
  query_i32(type: number): number {
    return this.query_type(type);
  }
  query_i64(type: number): bigint {
    return BigInt(this.query_type(type));
  }
  // biome-ignore-end format: one type a line

  ctl_get_mode(): number {
    return this.#do('ctl', () => this.mode);
  }

  ctl_get_arch(): number {
    return this.#do('ctl', () => this.arch);
  }

  ctl_get_page_size(): number {
    return this.#do('ctl', () => 4096);
  }

  /** x86 has one. */
  ctl_set_page_size(_size: number): void {
    this.#do('ctl', () => {
      throw new Failure(uc.ERR_ARG);
    });
  }

  /** In nanoseconds, as the C library says it. */
  ctl_get_timeout(): bigint {
    return this.#do('ctl', () => BigInt(this.#timeout) * 1000n);
  }

  ctl_exits_enable(): void {
    this.#do('ctl', () => {
      this.#exits ??= new Set();
    });
  }

  ctl_exits_disable(): void {
    this.#do('ctl', () => {
      this.#exits = undefined;
    });
  }

  ctl_get_exits_cnt(): number {
    return this.#do('ctl', () => this.#needExits().size);
  }

  ctl_get_exits(): bigint[] {
    return this.#do('ctl', () => [...this.#needExits()]);
  }

  ctl_set_exits(exits: Iterable<Integer>): void {
    this.#do('ctl', () => {
      this.#needExits();
      this.#exits = new Set([...exits].map(address));
      this.#emulation.changed();
    });
  }

  #needExits(): Set<bigint> {
    if (!this.#exits) throw new Failure(uc.ERR_ARG);
    return this.#exits;
  }

  ctl_get_cpu_model(): number {
    return this.#do('ctl', () => uc.CPU_X86_QEMU64);
  }

  /** There is one model: what the engine implements. */
  ctl_set_cpu_model(model: number): void {
    this.#do('ctl', () => {
      if (this.#hasBegun || model !== uc.CPU_X86_QEMU64) throw new Failure(uc.ERR_ARG);
    });
  }

  /** The block that begins at an address, as a translation would cover it. */
  ctl_request_cache(at: Integer): { pc: bigint; icount: number; size: number } {
    return this.#do('ctl', () => {
      const pc = address(at);
      const { size, count } = this.#emulation.blocks.block(pc, this.#exits ?? new Set(), undefined);
      if (size === 0) throw new Failure(uc.ERR_ARG);
      return { pc, icount: count, size };
    });
  }

  /** Decoded code follows memory by itself; this only forgets what hooks were told of sizes. */
  ctl_remove_cache(_begin: Integer, _end: Integer): void {
    this.#do('ctl', () => this.#emulation.blocks.clear());
  }

  ctl_flush_tlb(): void {
    this.#do('ctl', () => {
      this.#memory.changed();
      this.#emulation.blocks.clear();
    });
  }

  /** The last failure's code. */
  errno(): number {
    return this.#error;
  }

  close(): void {
    this.#do('close', () => {
      this.#isOpen = false;
    });
  }
}

/** A 64-bit number from whatever a program gives; what is no integer is refused. */
function address(value: Integer): bigint {
  if (typeof value === 'bigint') return BigInt.asUintN(64, value);
  if (!Number.isInteger(value)) throw new Failure(uc.ERR_ARG);
  return BigInt.asUintN(64, BigInt(value));
}
