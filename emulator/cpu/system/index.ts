/**
 * The system unit: instructions performed in TypeScript, outside the loop, where the count of retired instructions is
 * exact and anything may change. A row says `q.system(SYSTEM_x)`; its function is here under that number.
 */
import type { CpuCore } from '../cpu.ts';
import type { Insn } from '../decoder.ts';
import type { Exit } from '../exit.ts';

/**
 * What became of it: undefined, RIP moves to the next instruction; 'jumped', RIP is set; 'shadow', as undefined but with
 * an interrupt shadow; 'keepRf', RIP and RFLAGS.RF are set (IRET); an Exit leaves without retiring. May throw a Fault.
 */
export type SystemResult = undefined | 'jumped' | 'shadow' | 'keepRf' | Exit;
export type SystemFunction = (cpu: CpuCore, insn: Insn) => SystemResult;

export const systemFunctions: SystemFunction[] = [];

export function defineSystem(perform: SystemFunction): number {
  return systemFunctions.push(perform) - 1;
}
