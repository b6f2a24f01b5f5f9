/**
 * Why `Cpu.run` returned: one plain value per return, the only thing the layers above learn from the CPU.
 * RIP still points at the instruction that caused the exit, which has not retired, unless a field says otherwise
 * (as after a VM exit, SDM 3C 28.2.5).
 */
export type Exit =
  | BudgetExit
  | ExceptionExit
  | SoftwareInterruptExit
  | SyscallExit
  | HypercallExit
  | InstructionExit
  | HaltExit
  | ShutdownExit
  | InterruptWindowExit
  | UnsupportedExit
  | NestedFaultExit
  | BreakpointExit
  | StoppedExit;

/**
 * The instruction budget is spent: exactly that many instructions retired. Fewer only when a guest's exception handlers
 * do nothing but fault, so that no instruction would ever retire.
 */
export interface BudgetExit {
  readonly kind: 'budget';
}

/** An intercepted exception. Nothing was pushed; faults leave RIP at the instruction, #DB traps leave it behind it. */
export interface ExceptionExit {
  readonly kind: 'exception';
  readonly vector: number;
  /** Present exactly for the vectors that push one (SDM 3A 6.13). */
  readonly errorCode: number | undefined;
  /** The faulting linear address, for vector 14 only. CR2 itself is not written on an intercepted #PF. */
  readonly cr2: bigint | undefined;
  /** For vector 1: the DR6 condition bits of this debug exception (BS = bit 14). */
  readonly dr6: number | undefined;
}

/** INT n, INT3, INTO or INT1 with the softwareInterrupt intercept; no gate was looked at. */
export interface SoftwareInterruptExit {
  readonly kind: 'softwareInterrupt';
  readonly vector: number;
  readonly opcode: 'int' | 'int3' | 'into' | 'int1';
  /** Size of the instruction in bytes. */
  readonly length: number;
}

/** SYSCALL (64-bit or compatibility mode) or SYSENTER with the intercept; RCX and R11 are untouched. */
export interface SyscallExit {
  readonly kind: 'syscall';
  readonly opcode: 'syscall' | 'sysenter';
  readonly length: number;
}

/** VMCALL or VMMCALL, where 'hypercall' is among the intercepted instructions; #UD elsewhere. */
export interface HypercallExit {
  readonly kind: 'hypercall';
  readonly opcode: 'vmcall' | 'vmmcall';
  readonly length: number;
}

/** An intercepted instruction that the host performs: read operands from the registers, write results, `advance(length)`. */
export interface InstructionExit {
  readonly kind: 'instruction';
  readonly name: InterceptedInstruction;
  readonly length: number;
}

/** 'mov_cr' stands for CLTS and LMSW, too. */
export type InterceptedInstruction =
  | 'cpuid'
  | 'rdtsc'
  | 'rdtscp'
  | 'rdpmc'
  | 'rdmsr'
  | 'wrmsr'
  | 'in'
  | 'out'
  | 'ins'
  | 'outs'
  | 'invlpg'
  | 'xsetbv'
  | 'mov_cr'
  | 'mov_dr'
  | 'monitor'
  | 'mwait'
  | 'pause';

/** HLT executed at CPL 0; RIP is behind it. */
export interface HaltExit {
  readonly kind: 'halt';
}

/** A triple fault: an exception while delivering a double fault. */
export interface ShutdownExit {
  readonly kind: 'shutdown';
}

/** `requestInterruptWindow` was called, and an interrupt can be taken now: RIP is at an instruction boundary. */
export interface InterruptWindowExit {
  readonly kind: 'interruptWindow';
}

/**
 * The guest asked for what this CPU lacks: a task switch (task gate, far transfer to a TSS, IRET with NT) or virtual-8086
 * mode. Nothing has changed, so running on comes here again.
 */
export interface UnsupportedExit {
  readonly kind: 'unsupported';
  readonly what: 'task switch' | 'virtual-8086 mode';
}

/**
 * The nested tables (nested.ts) lack a page or forbid an access to it. Nothing has changed: the host may repair its
 * tables, flush the TLB and run again.
 */
export interface NestedFaultExit {
  readonly kind: 'nestedFault';
  /** First byte that could not be accessed; `vaddr` is its linear address, or for a walk the address being translated. */
  readonly gpa: bigint;
  readonly vaddr: bigint;
  readonly access: 'read' | 'write' | 'execute';
  /** Bytes of the access on this page. */
  readonly size: number;
  /** There is a page, with too few rights. */
  readonly present: boolean;
  /** The access was the CPU's own, to an entry of the guest's page tables. */
  readonly isWalk: boolean;
}

/** RIP has come to one of the host's breakpoints (`setBreakpoints`); the instruction there has not run. */
export interface BreakpointExit {
  readonly kind: 'breakpoint';
}

/** `requestStop` was called while the CPU ran; RIP is at an instruction boundary. */
export interface StoppedExit {
  readonly kind: 'stopped';
}
