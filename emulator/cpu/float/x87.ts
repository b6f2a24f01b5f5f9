// The x87 FPU's interface to a CPU: what an encoding needs of memory, and its execution on a state and a piece of memory
// that the CPU provides, already checked and mapped. x87_forms.ts holds the opcode maps. The order of faults is #UD, #NM
// (the CPU's), those of the memory operand (the CPU's), #MF (SDM 3A 6.9).

import { type CpuPorts, memoryForm, type OperandSize, registerForm } from './x87_forms.ts';
import { waitX87, type X87State } from './x87_state.ts';

export { fxrstorX87, fxsaveX87 } from './x87_control.ts';
export { emptyMmx, enterMmx, initX87, waitX87, type X87State } from './x87_state.ts';

export interface X87Operand {
  /** Where the memory operand lies in the host and in the guest; unused by register forms. */
  view: DataView;
  offset: number;
  vaddr: bigint;
  selector: number;
  /** Of the x87 instruction itself, for FIP. */
  rip: bigint;
  cs: number;
  /** 2 with a 66h prefix: the 16-bit formats of environment and state. */
  operandSize: OperandSize;
  /** Read by FCMOVcc. */
  eflags: number;
}

/** `newEflags`: ZF PF CF, with OF SF AF cleared. `newAx`: FNSTSW AX. */
export type X87Outcome =
  | { readonly kind: 'ok'; readonly newEflags?: number; readonly newAx?: number }
  | { readonly kind: 'mf' }
  | { readonly kind: 'ud' };

const OK: X87Outcome = { kind: 'ok' };
const MF: X87Outcome = { kind: 'mf' };
const UD: X87Outcome = { kind: 'ud' };

/** The memory operand that the CPU must have checked and mapped before it calls executeX87. */
export function x87MemoryOperand(
  opcode: number,
  modrm: number,
  operandSize: OperandSize,
): { readonly size: number; readonly access: 'r' | 'w' | 'none' } | 'ud' {
  if (modrm >= 0xc0) return registerForm(opcode, modrm) === undefined ? 'ud' : { size: 0, access: 'none' };
  const form = memoryForm(opcode, modrm);
  return form === undefined ? 'ud' : { size: form.size(operandSize), access: form.access };
}

export function executeX87(state: X87State, opcode: number, modrm: number, operand: X87Operand): X87Outcome {
  const inMemory = modrm < 0xc0;
  const form = inMemory ? memoryForm(opcode, modrm) : registerForm(opcode, modrm);
  if (form === undefined) return UD;
  if (form.noWait === undefined && waitX87(state)) return MF;
  if (form.control === undefined) {
    state.opcode = ((opcode & 7) << 8) | modrm;
    state.instructionPointer = operand.rip;
    state.codeSelector = operand.cs;
    if (inMemory) {
      state.dataPointer = operand.vaddr;
      state.dataSelector = operand.selector;
    }
  }
  if ('access' in form) {
    form.execute(state, operand.view, operand.offset, operand.operandSize);
    return OK;
  }
  const cpu: CpuPorts = { eflags: operand.eflags };
  form.execute(state, modrm & 7, cpu);
  if (cpu.newEflags !== undefined) return { kind: 'ok', newEflags: cpu.newEflags };
  if (cpu.newAx !== undefined) return { kind: 'ok', newAx: cpu.newAx };
  return OK;
}
