/**
 * The system unit: instructions performed in TypeScript, outside the loop, where the count of retired instructions is
 * exact and anything may change. A row says `q.system(SYSTEM_x)`; its function is here under that number.
 */
import type { CpuCore } from '../cpu.ts';
import type { Insn } from '../decoder.ts';
import type { Exit, InterceptedInstruction } from '../exit.ts';

/**
 * What became of it. undefined: RIP moves to the next instruction. 'jumped': RIP is set. 'keepRf': RIP and RFLAGS.RF are
 * set (IRET). 'switched': as 'jumped', and the new TF decides whether a single-step trap follows, not the old one
 * (SYSCALL, SYSRET, INT n). 'shadow': as undefined, and interrupts wait one instruction (STI). 'stackShadow': debug traps
 * wait, too (MOV SS, POP SS). An Exit leaves without retiring. It may throw a Fault before it has changed anything.
 */
export type SystemResult = undefined | 'jumped' | 'keepRf' | 'switched' | 'shadow' | 'stackShadow' | Exit;
export type SystemFunction = (cpu: CpuCore, insn: Insn) => SystemResult;

export const systemFunctions: SystemFunction[] = [];

export function defineSystem(perform: SystemFunction): number {
  return systemFunctions.push(perform) - 1;
}

/** The Exit of an instruction that the host performs itself, if it asked for that. */
export function intercepted(cpu: CpuCore, insn: Insn, name: InterceptedInstruction): Exit | undefined {
  return cpu.intercepts.instructions.has(name) ? { kind: 'instruction', name, length: insn.length } : undefined;
}
