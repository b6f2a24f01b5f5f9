/**
 * One run of the CPU for `emu_start`, and what becomes of everything that ends it: hooks are called, the instruction goes
 * on, or an error code comes back. The guest never sees an exception: there is a hook for it or the run ends.
 */
import { Fault } from '../cpu/fault.ts';
import type { CpuCore, Exit, InstructionExit, MemoryAccess, NestedFaultExit } from '../cpu/index.ts';
import { NestedFault } from '../cpu/nested.ts';
import { type Block, Blocks } from './blocks.ts';
import { constants as uc } from './constants.ts';
import { cpuid } from './cpuid.ts';
import { Failure } from './errors.ts';
import { type Hook, type Hooks, VALID_ACCESSES } from './hooks.ts';
import type { GuestMemory } from './memory.ts';
import { performPort } from './ports.ts';
import { fromBytes } from './registers.ts';
import { isLongCode } from './segments.ts';

const RAX = 0,
  RCX = 1,
  RDX = 2,
  RBX = 3;
const PF = 14,
  UD = 6;
/** Instructions between looks at the clock, and without one. */
const TIMED_SLICE = 2_000_000,
  SLICE = 0x4000_0000;

/** Accesses that fail: hook type, event, error when nobody mends it, and the right that was missing. */
// biome-ignore format: a table
const FAILED = {
  read:    { missing: [uc.HOOK_MEM_READ_UNMAPPED,  uc.MEM_READ_UNMAPPED,  uc.ERR_READ_UNMAPPED, uc.PROT_READ],  refused: [uc.HOOK_MEM_READ_PROT,  uc.MEM_READ_PROT,  uc.ERR_READ_PROT, uc.PROT_READ] },
  write:   { missing: [uc.HOOK_MEM_WRITE_UNMAPPED, uc.MEM_WRITE_UNMAPPED, uc.ERR_WRITE_UNMAPPED, uc.PROT_WRITE], refused: [uc.HOOK_MEM_WRITE_PROT, uc.MEM_WRITE_PROT, uc.ERR_WRITE_PROT, uc.PROT_WRITE] },
  execute: { missing: [uc.HOOK_MEM_FETCH_UNMAPPED, uc.MEM_FETCH_UNMAPPED, uc.ERR_FETCH_UNMAPPED, uc.PROT_EXEC], refused: [uc.HOOK_MEM_FETCH_PROT, uc.MEM_FETCH_PROT, uc.ERR_FETCH_PROT, uc.PROT_EXEC] },
} as const;

const isTrue = (result: unknown): boolean => Boolean(result);

export class Emulation {
  readonly #cpu: CpuCore;
  readonly #memory: GuestMemory;
  readonly #hooks: Hooks;
  readonly blocks: Blocks;
  /** The first argument of every callback. */
  readonly #handle: unknown;
  /** `emu_start`s under way: a hook may start another. */
  #depth = 0;
  #isInCpu = false;
  #isStopRequested = false;
  hasTimedOut = false;
  /** RIP as a callback left it while the CPU was in an instruction. */
  #redirect: bigint | undefined;
  #isRipWritten = false;
  #exits: ReadonlySet<bigint> = new Set();
  /** Breakpoints must be set anew. */
  #isStale = true;

  // The instruction under way: accesses told, of which a repetition after a mended fault shall not tell again.
  #instruction = -1n;
  #told = 0;
  #index = 0;
  /** What an instruction that fails to store accesses, while it is tried out. */
  #tried: MemoryAccess[] | undefined;
  /** The instruction under way may access what it must not. */
  #isForced = false;

  constructor(cpu: CpuCore, memory: GuestMemory, hooks: Hooks, handle: unknown) {
    this.#cpu = cpu;
    this.#memory = memory;
    this.#hooks = hooks;
    this.#handle = handle;
    this.blocks = new Blocks(cpu);
  }

  // The instruction pointer

  get rip(): bigint {
    return this.#redirect ?? this.#cpu.rip;
  }

  set rip(value: bigint) {
    this.#isRipWritten = true;
    if (this.#isInCpu) {
      this.#redirect = value;
      this.#cpu.requestStop();
    } else this.#cpu.rip = value;
  }

  get #codeBase(): bigint {
    return isLongCode(this.#cpu) ? 0n : this.#cpu.getSegment('cs').base;
  }

  /** Linear address of the next instruction. */
  get #pc(): bigint {
    return BigInt.asUintN(isLongCode(this.#cpu) ? 64 : 32, this.#cpu.rip + this.#codeBase);
  }

  // What others ask

  stop(): void {
    this.#isStopRequested = true;
    if (this.#isInCpu) this.#cpu.requestStop();
  }

  /** Hooks or memory changed. */
  changed(): void {
    this.#isStale = true;
    if (this.#isInCpu) this.#cpu.requestStop();
  }

  /** `undefined` exits: none. Times are in microseconds; 0 means no limit. Returns an error code. */
  start(begin: bigint, exits: ReadonlySet<bigint>, timeout: number, count: bigint, mode: number): number {
    if (this.#isInCpu) return uc.ERR_RESOURCE;
    const outer = { exits: this.#exits, instruction: this.#instruction, told: this.#told, index: this.#index };
    const isNested = this.#depth > 0;
    this.#depth++;
    this.#exits = exits;
    this.#isStale = true;
    this.#isStopRequested = false;
    this.hasTimedOut = false;
    this.#instruction = -1n;
    const base = this.#codeBase;
    this.#cpu.rip = BigInt.asUintN(mode === uc.MODE_64 ? 64 : mode === uc.MODE_32 ? 32 : 16, begin - base);
    try {
      return this.#loop(timeout, count);
    } catch (failure) {
      if (failure instanceof Failure) return failure.code;
      throw failure;
    } finally {
      this.#depth--;
      this.#memory.view = 'normal';
      this.#tried = undefined;
      this.#isForced = false;
      if (isNested) {
        this.#exits = outer.exits;
        this.#instruction = outer.instruction;
        this.#told = outer.told;
        this.#index = outer.index;
        this.#isStale = true;
        this.#isStopRequested = false;
        this.#isRipWritten = false;
      }
    }
  }

  #loop(timeout: number, count: bigint): number {
    const cpu = this.#cpu;
    const deadline = Date.now() + timeout / 1000;
    const first = cpu.instructions;
    /** Instructions that ended in a hook without retiring count, too. */
    let unretired = 0n;
    let block: Block | undefined;
    let blockEnd = 0n;
    let codeCalledAt = -1n;
    for (;;) {
      if (this.#isStopRequested) return uc.ERR_OK;
      const pc = this.#pc;
      if (this.#exits.has(pc)) return uc.ERR_OK;
      const done = cpu.instructions - first + unretired;
      if (count > 0n && done >= count) return uc.ERR_OK;
      if (timeout > 0 && Date.now() >= deadline) {
        this.hasTimedOut = true;
        return uc.ERR_OK;
      }
      let budget = timeout > 0 ? TIMED_SLICE : SLICE;
      if (count > 0n && count - done < BigInt(budget)) budget = Number(count - done);
      // The same instruction again, after a fault was mended, is no new one.
      const isNew = cpu.instructions !== codeCalledAt;
      if (isNew && this.#hooks.has(uc.HOOK_BLOCK)) {
        if (!block || cpu.instructions >= blockEnd) {
          const next = this.blocks.block(pc, this.#exits, block);
          // What cannot be fetched fails before any hook.
          if (next.size === 0) {
            const code = this.#handleExit(this.#run(1));
            if (code !== undefined) return code;
            continue;
          }
          block = next;
          blockEnd = cpu.instructions + BigInt(next.count);
          if (this.#call(uc.HOOK_BLOCK, pc, ({ callback, userData }) => callback(this.#handle, pc, next.size, userData))) {
            block = undefined;
            continue;
          }
          if (this.#isStopRequested) continue;
        }
        budget = Math.min(budget, Number(blockEnd - cpu.instructions));
      }
      if (this.#hooks.has(uc.HOOK_CODE)) {
        const isHooked = this.#hooks.concerns(uc.HOOK_CODE, pc, pc);
        if (isNew && isHooked) {
          const size = this.blocks.instructionSize(pc);
          if (size === 0) {
            const code = this.#handleExit(this.#run(1));
            if (code !== undefined) return code;
            continue;
          }
          codeCalledAt = cpu.instructions;
          if (this.#call(uc.HOOK_CODE, pc, ({ callback, userData }) => callback(this.#handle, pc, size, userData))) {
            codeCalledAt = -1n;
            block = undefined;
            continue;
          }
          if (this.#isStopRequested) continue;
        }
        if (isHooked) budget = 1;
      }
      if (this.#isStale) this.#setBreakpoints();
      const before = cpu.instructions;
      const exit = this.#run(budget);
      if (this.#isRipWritten) block = undefined;
      const code = this.#handleExit(exit);
      if (code !== undefined) return code;
      if (exit.kind === 'exception' && cpu.instructions === before) {
        unretired++;
        codeCalledAt = -1n;
      }
      if (this.#isRipWritten) {
        block = undefined;
        codeCalledAt = -1n;
        this.#instruction = -1n;
      }
    }
  }

  #setBreakpoints(): void {
    const code = this.#hooks.has(uc.HOOK_CODE) ? (this.#hooks.ranges(uc.HOOK_CODE) ?? []) : [];
    this.#cpu.setBreakpoints([...[...this.#exits].map((at) => [at, at] as const), ...code]);
    this.#isStale = false;
  }

  #run(budget: number): Exit {
    this.#isInCpu = true;
    this.#isRipWritten = false;
    this.#index = 0;
    let exit: Exit;
    try {
      exit = this.#cpu.run(budget);
    } finally {
      this.#isInCpu = false;
      if (this.#redirect !== undefined) this.#cpu.rip = this.#redirect;
      this.#redirect = undefined;
    }
    return exit;
  }

  /** Calls the hooks of a type at an address; whether one of them wrote RIP. */
  #call(type: number, address: bigint, invoke: (hook: Hook) => unknown): boolean {
    const { rip } = this.#cpu;
    this.#isRipWritten = false;
    this.#hooks.call(type, address, invoke);
    // A nested emu_start leaves RIP where it ended; this run goes on where it was.
    if (!this.#isRipWritten) this.#cpu.rip = rip;
    return this.#isRipWritten;
  }

  // Exits

  /** An error code (or OK) that ends the run; undefined: it goes on. */
  #handleExit(exit: Exit): number | undefined {
    const cpu = this.#cpu;
    switch (exit.kind) {
      case 'budget':
      case 'breakpoint':
      case 'stopped':
        return undefined;
      case 'halt':
        return uc.ERR_OK;
      case 'nestedFault':
        return this.#handleFault(exit);
      case 'softwareInterrupt':
        if (exit.opcode === 'int1') return this.#invalid();
        cpu.advance(exit.length);
        return this.#interrupt(exit.vector);
      case 'exception':
        if (exit.vector === UD) return this.#invalid();
        if (exit.vector === PF) cpu.cr2 = exit.cr2!;
        return this.#interrupt(exit.vector);
      case 'syscall':
        if (exit.opcode === 'sysenter' && isLongCode(cpu)) return this.#invalid();
        return this.#syscall(exit.opcode, exit.length);
      case 'instruction':
        return this.#perform(exit);
      default:
        return uc.ERR_EXCEPTION;
    }
  }

  #interrupt(vector: number): number | undefined {
    if (!this.#hooks.has(uc.HOOK_INTR)) return uc.ERR_EXCEPTION;
    this.#call(uc.HOOK_INTR, this.#pc, ({ callback, userData }) => callback(this.#handle, vector, userData));
    return undefined;
  }

  /** SYSCALL has no #UD of its own here: EFER.SCE is not looked at. A hook that returns true ends the run without an error. */
  #invalid(): number | undefined {
    const opcode = this.#bytesAt(this.#pc, 2);
    if (opcode[0] === 0x0f && opcode[1] === 0x05 && isLongCode(this.#cpu)) return this.#syscall('syscall', 2);
    const { rip } = this.#cpu;
    this.#isRipWritten = false;
    const isCaught = this.#hooks.call(uc.HOOK_INSN_INVALID, rip, ({ callback, userData }) => callback(this.#handle, userData), isTrue);
    return isCaught ? uc.ERR_OK : uc.ERR_INSN_INVALID;
  }

  #bytesAt(address: bigint, size: number): Uint8Array {
    const found = this.#cpu.translate(address, 'execute');
    return found.ok ? this.#cpu.memory.bytes.subarray(found.maddr, found.maddr + size) : new Uint8Array(size);
  }

  #syscall(opcode: 'syscall' | 'sysenter', length: number): undefined {
    const insn = opcode === 'syscall' ? uc.X86_INS_SYSCALL : uc.X86_INS_SYSENTER;
    const isRedirected = this.#call(uc.HOOK_INSN, this.#pc, (hook) =>
      hook.insn === insn ? hook.callback(this.#handle, hook.userData) : undefined,
    );
    if (!isRedirected) this.#cpu.advance(length);
  }

  #perform({ name, length }: InstructionExit): number | undefined {
    const cpu = this.#cpu;
    if (name === 'cpuid') this.#cpuid(length);
    else if (name === 'rdmsr') {
      const value = cpu.readMsr(Number(cpu.gpr[RCX]! & 0xffff_ffffn)) ?? 0n;
      cpu.gpr[RAX] = value & 0xffff_ffffn;
      cpu.gpr[RDX] = value >> 32n;
      cpu.advance(length);
    } else if (name === 'wrmsr') {
      const value = ((cpu.gpr[RDX]! & 0xffff_ffffn) << 32n) | (cpu.gpr[RAX]! & 0xffff_ffffn);
      cpu.writeMsr(Number(cpu.gpr[RCX]! & 0xffff_ffffn), value);
      cpu.advance(length);
    } else return this.#performPort(length);
    return undefined;
  }

  #performPort(length: number): number | undefined {
    const pc = this.#pc;
    try {
      performPort(this.#cpu, this.#bytesAt(pc, length), length, {
        in: (port, size) => {
          let value = 0;
          this.#call(uc.HOOK_INSN, pc, (hook) => {
            if (hook.insn === uc.X86_INS_IN) value = Number(hook.callback(this.#handle, port, size, hook.userData) ?? 0);
          });
          return value;
        },
        out: (port, size, value) => {
          this.#call(uc.HOOK_INSN, pc, (hook) =>
            hook.insn === uc.X86_INS_OUT ? hook.callback(this.#handle, port, size, value, hook.userData) : undefined,
          );
        },
        isRedirected: () => this.#isRipWritten,
      });
    } catch (fault) {
      if (fault instanceof NestedFault) return this.#handleExit(fault.exit);
      if (!(fault instanceof Fault)) throw fault;
      return this.#interrupt(fault.vector);
    }
    return undefined;
  }

  #cpuid(length: number): void {
    const cpu = this.#cpu;
    let isSkipped = false;
    const isRedirected = this.#call(uc.HOOK_INSN, this.#pc, (hook) => {
      if (hook.insn === uc.X86_INS_CPUID && hook.callback(this.#handle, hook.userData)) isSkipped = true;
    });
    if (isRedirected) return;
    if (!isSkipped) {
      const { eax, ebx, ecx, edx } = cpuid(Number(cpu.gpr[RAX]! & 0xffff_ffffn), Number(cpu.gpr[RCX]! & 0xffff_ffffn));
      for (const [register, value] of [
        [RAX, eax],
        [RBX, ebx],
        [RCX, ecx],
        [RDX, edx],
      ] as const)
        cpu.gpr[register] = BigInt(value >>> 0);
    }
    cpu.advance(length);
  }

  // Memory

  /** The CPU's report of an access to a page that hooks listen to. */
  onAccess(access: MemoryAccess): boolean | undefined {
    if (this.#tried) {
      this.#tried.push(access);
      return access.kind === 'write' ? false : undefined;
    }
    if (this.#isNews()) this.#tell(access);
    if (access.kind === 'write') return this.#isForced ? this.#mayWrite(access) : undefined;
    return !(this.#isStopRequested || this.#redirect !== undefined);
  }

  /** Counts an access of the instruction under way; whether hooks have not yet heard of it. */
  #isNews(): boolean {
    if (this.#cpu.instructions !== this.#instruction) {
      this.#instruction = this.#cpu.instructions;
      this.#told = 0;
      this.#index = 0;
    }
    this.#index++;
    if (this.#index <= this.#told) return false;
    this.#told = this.#index;
    return true;
  }

  #mayWrite({ gpa, size }: MemoryAccess): boolean {
    const last = gpa + BigInt(size - 1);
    return [gpa, last].every((at) => ((this.#memory.regionAt(at)?.perms ?? 0) & uc.PROT_WRITE) !== 0);
  }

  /** Calls the hooks of an access that takes place, in the pieces that Unicorn makes of it. */
  #tell({ kind, gpa, size, bytes }: MemoryAccess): void {
    const pieces = piecesOf(size);
    pieces.forEach(([offset, length], i) => {
      const address = BigInt.asUintN(64, gpa + BigInt(offset));
      const value = BigInt.asIntN(64, fromBytes(bytes.subarray(offset, offset + length)));
      if (kind === 'read' ? i === 0 : kind === 'readAfter' && i > 0) this.#event(uc.HOOK_MEM_READ, uc.MEM_READ, address, length, 0n);
      if (kind === 'readAfter') this.#event(uc.HOOK_MEM_READ_AFTER, uc.MEM_READ_AFTER, address, length, value);
      if (kind === 'write') this.#event(uc.HOOK_MEM_WRITE, uc.MEM_WRITE, address, length, value);
    });
  }

  #event(type: number, event: number, address: bigint, size: number, value: bigint): void {
    this.#hooks.call(type, address, ({ callback, userData }) => callback(this.#handle, event, address, size, value, userData));
  }

  #handleFault(fault: NestedFaultExit): number | undefined {
    const { gpa, present, size } = fault;
    const tried = fault.access === 'write' && !fault.isWalk ? this.#tryStore() : [];
    const store = tried.find(({ kind }) => kind === 'write');
    const isRead = store !== undefined && tried.some(({ kind, vaddr }) => kind === 'read' && vaddr === store.vaddr);
    const perms = this.#memory.regionAt(gpa)?.perms ?? 0;
    // What is read and then written fails as a read first.
    const access = isRead && !(perms & uc.PROT_READ) ? 'read' : fault.access;
    const [type, event, error, right] = FAILED[access][present ? 'refused' : 'missing'];
    this.#tellBeforeFault(fault, access, access === 'read' ? [] : tried);
    const stored = store && access === 'write' ? store.bytes.subarray(Number(gpa - store.gpa)) : new Uint8Array();
    const value = BigInt.asIntN(64, fromBytes(stored, Math.min(size, 8)));
    this.#isRipWritten = false;
    const { rip } = this.#cpu;
    const isHandled = this.#hooks.call(
      type,
      gpa,
      ({ callback, userData }) => callback(this.#handle, event, gpa, size, value, userData),
      isTrue,
    );
    if (!isHandled) return error;
    if (this.#isRipWritten) return undefined;
    this.#cpu.rip = rip;
    const region = this.#memory.regionAt(gpa);
    if (!region) return uc.ERR_MAP;
    // Refused and not mended: this one access is let through, but for a store, which is lost.
    return present && !(region.perms & right) && !this.#isStopRequested ? this.#force() : undefined;
  }

  /** READ comes before READ_PROT, WRITE before both of its faults; they are not told again when the instruction is. */
  #tellBeforeFault(fault: NestedFaultExit, access: string, tried: readonly MemoryAccess[]): void {
    const { present, isWalk, gpa, vaddr, size } = fault;
    if (isWalk || access === 'execute' || (access === 'read' && !present)) return;
    if (!this.#hooks.concerns(VALID_ACCESSES, gpa & ~0xfffn, gpa | 0xfffn)) return;
    this.#index = 0;
    const about: MemoryAccess[] = access === 'read' ? [{ kind: 'read', gpa, vaddr, size, bytes: new Uint8Array() }] : [...tried];
    for (const one of about) if (this.#isNews()) this.#tell(one);
    this.#index = 0;
  }

  /** Runs the instruction in vain, to see what it reads and stores. */
  #tryStore(): readonly MemoryAccess[] {
    const cpu = this.#cpu;
    const context = cpu.saveContext();
    const tried: MemoryAccess[] = [];
    this.#tried = tried;
    this.#memory.view = 'probe';
    cpu.run(1);
    this.#memory.view = 'normal';
    this.#tried = undefined;
    cpu.loadContext(context);
    return tried;
  }

  #force(): number | undefined {
    this.#isForced = true;
    this.#memory.view = 'force';
    const exit = this.#run(1);
    this.#memory.view = 'normal';
    this.#isForced = false;
    return this.#handleExit(exit);
  }
}

/** [offset, size] of each part: at most 8 bytes, and an x87 environment field by field. */
function piecesOf(size: number): [number, number][] {
  const unit = size === 28 || size === 14 ? size / 7 : 8;
  const pieces: [number, number][] = [];
  for (let offset = 0; offset < size; offset += unit) pieces.push([offset, Math.min(unit, size - offset)]);
  return pieces;
}
