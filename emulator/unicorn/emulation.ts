/**
 * One run of the CPU for `emu_start`, and what becomes of everything that ends it: hooks are called, the instruction goes
 * on, or an error code comes back. The guest never sees an exception: there is a hook for it or the run ends.
 */

import { Fault } from '../cpu/fault.ts';
import type { CpuCore, Exit, InstructionExit, MemoryAccess, NestedFaultExit } from '../cpu/index.ts';
import { RAX, RBX, RCX, RDX } from '../cpu/interface.ts';
import { NestedFault } from '../cpu/nested.ts';
import { Accesses } from './accesses.ts';
import { type Block, Blocks } from './blocks.ts';
import { constants as uc } from './constants.ts';
import { cpuid } from './cpuid.ts';
import { Failure } from './errors.ts';
import type { Hook, Hooks } from './hooks.ts';
import type { GuestMemory } from './memory.ts';
import { performPort } from './ports.ts';
import { isLongCode } from './segments.ts';

const PF = 14,
  UD = 6;
/** Instructions between looks at the clock, and without one. */
const TIMED_SLICE = 2_000_000,
  SLICE = 0x4000_0000;

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
  /** Instructions of runs that hooks of others started. */
  #retiredElsewhere = 0n;
  #isInCpu = false;
  #isStopRequested = false;
  hasTimedOut = false;
  /** RIP as a callback left it while the CPU was in an instruction. */
  #redirect: bigint | undefined;
  #isRipWritten = false;
  #exits: ReadonlySet<bigint> = new Set();
  /** Breakpoints must be set anew. */
  #isStale = true;
  readonly #accesses: Accesses;

  constructor(cpu: CpuCore, memory: GuestMemory, hooks: Hooks, handle: unknown) {
    this.#cpu = cpu;
    this.#memory = memory;
    this.#hooks = hooks;
    this.#handle = handle;
    this.blocks = new Blocks(cpu);
    this.#accesses = new Accesses(cpu, memory, hooks, handle);
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

  /** Linear address of the next instruction. */
  get #pc(): bigint {
    if (isLongCode(this.#cpu)) return this.#cpu.rip;
    return BigInt.asUintN(32, this.#cpu.rip + this.#cpu.getSegment('cs').base);
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
  start(begin: bigint, exits: ReadonlySet<bigint>, timeout: number, count: number, mode: number): number {
    if (this.#isInCpu) return uc.ERR_RESOURCE;
    const outerExits = this.#exits;
    const before = this.#accesses.retired;
    const isNested = this.#depth > 0;
    this.#depth++;
    this.#exits = exits;
    this.#isStale = true;
    this.#isStopRequested = false;
    this.hasTimedOut = false;
    this.#accesses.forget();
    const width = mode === uc.MODE_64 ? 64 : mode === uc.MODE_32 ? 32 : 16;
    this.#cpu.rip = BigInt.asUintN(width, isLongCode(this.#cpu) ? begin : begin - this.#cpu.getSegment('cs').base);
    try {
      return this.#loop(timeout, count);
    } catch (failure) {
      if (failure instanceof Failure) return failure.code;
      throw failure;
    } finally {
      this.#depth--;
      this.#accesses.endTrial();
      if (isNested) {
        this.#exits = outerExits;
        this.#retiredElsewhere += this.#accesses.retired - before;
        this.#accesses.forget();
        this.#isStale = true;
        this.#isStopRequested = false;
        this.#isRipWritten = false;
      }
    }
  }

  #loop(timeout: number, count: number): number {
    const deadline = Date.now() + timeout / 1000;
    let done = 0;
    let block: Block | undefined;
    let blockLeft = 0;
    // The instruction at RIP starts again after a fault was mended: it is no new one to hooks.
    let isAgain = false;
    for (;;) {
      if (this.#isStopRequested) return uc.ERR_OK;
      const pc = this.#pc;
      if (this.#exits.has(pc) || (count > 0 && done >= count)) return uc.ERR_OK;
      if (timeout > 0 && Date.now() >= deadline) {
        this.hasTimedOut = true;
        return uc.ERR_OK;
      }
      let budget = timeout > 0 ? TIMED_SLICE : SLICE;
      if (count > 0) budget = Math.min(budget, count - done);
      let isRedirected = false;
      // What cannot be fetched fails before any hook.
      if (this.#hooks.has(uc.HOOK_BLOCK)) {
        if (!isAgain && blockLeft <= 0) {
          const next = this.blocks.block(pc, this.#exits, block);
          block = next;
          blockLeft = next.count;
          if (next.size > 0)
            isRedirected = this.#call(uc.HOOK_BLOCK, pc, ({ callback, userData }) => callback(this.#handle, pc, next.size, userData));
        }
        budget = Math.min(budget, Math.max(blockLeft, 1));
      }
      if (!isRedirected && this.#hooks.has(uc.HOOK_CODE) && this.#hooks.concerns(uc.HOOK_CODE, pc, pc)) {
        budget = 1;
        const size = isAgain || this.#isStopRequested ? 0 : this.blocks.instructionSize(pc);
        if (size > 0) isRedirected = this.#call(uc.HOOK_CODE, pc, ({ callback, userData }) => callback(this.#handle, pc, size, userData));
      }
      if (!isRedirected && !this.#isStopRequested) {
        if (this.#isStale) this.#setBreakpoints();
        const before = this.#accesses.retired - this.#retiredElsewhere;
        const exit = this.#run(budget);
        isRedirected = this.#isRipWritten;
        const code = this.#handleExit(exit);
        if (code !== undefined) return code;
        isRedirected ||= this.#isRipWritten;
        const ran = Number(this.#accesses.retired - this.#retiredElsewhere - before);
        const isException = exit.kind === 'exception' && ran === 0;
        done += isException ? 1 : ran;
        blockLeft -= ran;
        const isFetch = exit.kind === 'nestedFault' && exit.access === 'execute';
        isAgain = ran === 0 && !isException && !isFetch;
        if (isFetch) blockLeft = 0;
      }
      if (isRedirected) {
        isAgain = false;
        blockLeft = 0;
        this.#accesses.forget();
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
    this.#accesses.restart();
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
    const answer = this.#accesses.tell(access);
    if (access.kind === 'write') return answer;
    return !(this.#isStopRequested || this.#redirect !== undefined);
  }

  #handleFault(fault: NestedFaultExit): number | undefined {
    const { rip } = this.#cpu;
    this.#isRipWritten = false;
    const failure = this.#accesses.prepare(fault);
    if (!this.#accesses.askHooks(failure)) return failure.error;
    if (this.#isRipWritten) return undefined;
    this.#cpu.rip = rip;
    const region = this.#memory.regionAt(failure.gpa);
    if (!region) return uc.ERR_MAP;
    if (!fault.present || region.perms & failure.right || this.#isStopRequested) return undefined;
    // Refused and not mended: this one access is let through, but for a store, which is lost.
    this.#accesses.beginForce();
    const exit = this.#run(1);
    this.#accesses.endTrial();
    return this.#handleExit(exit);
  }
}
