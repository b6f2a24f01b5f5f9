/**
 * The memory accesses of an instruction as hooks hear of them: those that take place, each once even when the instruction
 * must start again, and those that fail, with what they would have stored.
 */
import type { CpuCore, MemoryAccess, NestedFaultExit } from '../cpu/index.ts';
import { constants as uc } from './constants.ts';
import { type Hooks, VALID_ACCESSES } from './hooks.ts';
import type { GuestMemory } from './memory.ts';
import { fromBytes } from './registers.ts';

/** Accesses that fail: hook type, event, error when nobody mends it, and the right that was missing. */
// biome-ignore format: a table
const FAILED = {
  read:    { missing: [uc.HOOK_MEM_READ_UNMAPPED,  uc.MEM_READ_UNMAPPED,  uc.ERR_READ_UNMAPPED, uc.PROT_READ],  refused: [uc.HOOK_MEM_READ_PROT,  uc.MEM_READ_PROT,  uc.ERR_READ_PROT, uc.PROT_READ] },
  write:   { missing: [uc.HOOK_MEM_WRITE_UNMAPPED, uc.MEM_WRITE_UNMAPPED, uc.ERR_WRITE_UNMAPPED, uc.PROT_WRITE], refused: [uc.HOOK_MEM_WRITE_PROT, uc.MEM_WRITE_PROT, uc.ERR_WRITE_PROT, uc.PROT_WRITE] },
  execute: { missing: [uc.HOOK_MEM_FETCH_UNMAPPED, uc.MEM_FETCH_UNMAPPED, uc.ERR_FETCH_UNMAPPED, uc.PROT_EXEC], refused: [uc.HOOK_MEM_FETCH_PROT, uc.MEM_FETCH_PROT, uc.ERR_FETCH_PROT, uc.PROT_EXEC] },
} as const;

/** An access that fails, as its hooks see it. */
export interface FailedAccess {
  readonly gpa: bigint;
  readonly size: number;
  readonly value: bigint;
  readonly type: number;
  readonly event: number;
  readonly error: number;
  readonly right: number;
}

export class Accesses {
  readonly #cpu: CpuCore;
  readonly #memory: GuestMemory;
  readonly #hooks: Hooks;
  readonly #handle: unknown;
  /** The count of instructions before the one under way, and how many of its accesses were told. */
  #instruction = -1n;
  #told = 0;
  #index = 0;
  /** What an instruction that fails to store accesses, while it is tried out. */
  #tried: MemoryAccess[] | undefined;
  /** The instruction under way may access what it must not. */
  #isForced = false;
  #inVain = 0n;

  constructor(cpu: CpuCore, memory: GuestMemory, hooks: Hooks, handle: unknown) {
    this.#cpu = cpu;
    this.#memory = memory;
    this.#hooks = hooks;
    this.#handle = handle;
  }

  /** Instructions retired, but for those that ran in vain. */
  get retired(): bigint {
    return this.#cpu.instructions - this.#inVain;
  }

  /** The next instruction is a new one, whatever the count says. */
  forget(): void {
    this.#instruction = -1n;
  }

  /** The instruction under way starts again. */
  restart(): void {
    this.#index = 0;
  }

  /** Tells hooks of an access that takes place; false: a store must not. */
  tell(access: MemoryAccess): boolean | undefined {
    if (this.#tried) {
      this.#tried.push(access);
      return access.kind === 'write' ? false : undefined;
    }
    if (this.#isNews()) this.#tellPieces(access);
    return this.#isForced && access.kind === 'write' ? this.#mayWrite(access) : undefined;
  }

  /** Counts an access; whether hooks have not yet heard of it. */
  #isNews(): boolean {
    if (this.retired !== this.#instruction) {
      this.#instruction = this.retired;
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
  #tellPieces({ kind, gpa, size, bytes }: MemoryAccess): void {
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

  // Accesses that fail

  /** What an access that failed is to its hooks; hooks of valid accesses that come before hear of it now. */
  prepare(fault: NestedFaultExit): FailedAccess {
    const { gpa, present, size } = fault;
    const tried = fault.access === 'write' && !fault.isWalk ? this.#tryStore() : [];
    const store = tried.find(({ kind }) => kind === 'write');
    const isRead = store !== undefined && tried.some(({ kind, vaddr }) => kind === 'read' && vaddr === store.vaddr);
    const perms = this.#memory.regionAt(gpa)?.perms ?? 0;
    // What is read and then written fails as a read first.
    const access = isRead && !(perms & uc.PROT_READ) ? 'read' : fault.access;
    this.#tellBefore(fault, access, access === 'read' ? [] : tried);
    const stored = store && access === 'write' ? store.bytes.subarray(Number(gpa - store.gpa)) : new Uint8Array();
    const value = BigInt.asIntN(64, fromBytes(stored, Math.min(size, 8)));
    const [type, event, error, right] = FAILED[access][present ? 'refused' : 'missing'];
    return { gpa, size, value, type, event, error, right };
  }

  /** Whether a hook says that the access may be tried again. */
  askHooks({ type, event, gpa, size, value }: FailedAccess): boolean {
    return this.#hooks.call(type, gpa, ({ callback, userData }) => callback(this.#handle, event, gpa, size, value, userData), Boolean);
  }

  /** READ comes before READ_PROT, WRITE before both of its faults; they are not told again when the instruction is. */
  #tellBefore(fault: NestedFaultExit, access: string, tried: readonly MemoryAccess[]): void {
    const { present, isWalk, gpa, vaddr, size } = fault;
    if (isWalk || access === 'execute' || (access === 'read' && !present)) return;
    if (!this.#hooks.concerns(VALID_ACCESSES, gpa & ~0xfffn, gpa | 0xfffn)) return;
    this.#index = 0;
    const about: MemoryAccess[] = access === 'read' ? [{ kind: 'read', gpa, vaddr, size, bytes: new Uint8Array() }] : [...tried];
    for (const one of about) if (this.#isNews()) this.#tellPieces(one);
    this.#index = 0;
  }

  /** Runs the instruction in vain, to see what it reads and stores. */
  #tryStore(): readonly MemoryAccess[] {
    const context = this.#cpu.saveContext();
    const tried: MemoryAccess[] = [];
    this.#tried = tried;
    this.#memory.view = 'probe';
    const before = this.#cpu.instructions;
    this.#cpu.run(1);
    this.#inVain += this.#cpu.instructions - before;
    this.endTrial();
    this.#cpu.loadContext(context);
    return tried;
  }

  /** The instruction that runs next may access everything. */
  beginForce(): void {
    this.#isForced = true;
    this.#memory.view = 'force';
  }

  endTrial(): void {
    this.#tried = undefined;
    this.#isForced = false;
    this.#memory.view = 'normal';
  }
}

/** [offset, size] of each part: at most 8 bytes, and an x87 environment field by field. */
function piecesOf(size: number): [number, number][] {
  const unit = size === 28 || size === 14 ? size / 7 : 8;
  const pieces: [number, number][] = [];
  for (let offset = 0; offset < size; offset += unit) pieces.push([offset, Math.min(unit, size - offset)]);
  return pieces;
}
