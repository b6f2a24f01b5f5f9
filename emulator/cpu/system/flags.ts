/** POPF and STI where they need more than the loop, INT n and its kin, HLT, VMCALL and VMMCALL (SDM 2A-2C, APM3). */
import type { CpuCore } from '../cpu.ts';
import type { Insn } from '../decoder.ts';
import { BP, DB, Fault, OF_VECTOR, UD } from '../fault.ts';
import { AC, ARITHMETIC, DF, ID, IF, IOPL_SHIFT, NT, OF, RF, TF } from '../flags.ts';
import { defineSystem, type SystemResult } from './index.ts';
import { deliverSoftwareInterrupt, interceptException } from './interrupts.ts';
import { moveStack, readStack } from './operand.ts';

export const SYSTEM_POPF = defineSystem((cpu, insn) => {
  const { size } = insn.shape;
  const { state } = cpu;
  const image = Number(BigInt.asIntN(32, readStack(cpu, insn, 0, size)));
  const iopl = (state.systemFlags >> IOPL_SHIFT) & 3;
  let mask = ARITHMETIC | TF | DF | NT | (state.cpl <= iopl ? IF : 0) | (state.cpl === 0 ? 3 << IOPL_SHIFT : 0);
  if (size > 2) mask |= AC | ID;
  moveStack(cpu, insn, size);
  state.flags = (state.flags & ~(mask | RF)) | (image & mask);
  cpu.modeChanged();
  return undefined;
});

/** STI that sets IF: the next instruction still runs without interrupts. */
export const SYSTEM_STI = defineSystem((cpu) => {
  cpu.state.systemFlags |= IF;
  return 'shadow';
});

export const SYSTEM_HLT = defineSystem((cpu, insn) => {
  // A single-step trap would wake it at once.
  if (cpu.state.systemFlags & TF) return undefined;
  cpu.advance(insn.length);
  return { kind: 'halt' };
});

type Opcode = 'int' | 'int3' | 'into' | 'int1';

function softwareInterrupt(cpu: CpuCore, insn: Insn, vector: number, opcode: Opcode): SystemResult {
  if (cpu.intercepts.softwareInterrupts) return { kind: 'softwareInterrupt', vector, opcode, length: insn.length };
  // INT3 and INTO raise exceptions, INT n does not.
  const exit = opcode === 'int' ? undefined : interceptException(cpu, new Fault(vector));
  if (exit) return exit;
  deliverSoftwareInterrupt(cpu, vector, insn.length);
  return 'switched';
}

export const SYSTEM_INT = defineSystem((cpu, insn) => softwareInterrupt(cpu, insn, Number(insn.imm), 'int'));
export const SYSTEM_INT3 = defineSystem((cpu, insn) => softwareInterrupt(cpu, insn, BP, 'int3'));
export const SYSTEM_INTO = defineSystem((cpu, insn) =>
  cpu.state.flags & OF ? softwareInterrupt(cpu, insn, OF_VECTOR, 'into') : undefined,
);

/** INT1 is a #DB trap, so RIP is behind it, without a condition in DR6; its gate's DPL does not count. */
export const SYSTEM_INT1 = defineSystem((cpu, insn) => {
  if (cpu.intercepts.softwareInterrupts) return { kind: 'softwareInterrupt', vector: DB, opcode: 'int1', length: insn.length };
  cpu.rip = BigInt.asUintN(insn.shape.mode === 64 ? 64 : 32, cpu.rip + BigInt(insn.length));
  throw new Fault(DB);
});

const hypercall = (opcode: 'vmcall' | 'vmmcall') =>
  defineSystem((cpu, insn) => {
    if (!cpu.intercepts.instructions.has('hypercall')) throw new Fault(UD);
    return { kind: 'hypercall', opcode, length: insn.length };
  });

export const SYSTEM_VMCALL = hypercall('vmcall');
export const SYSTEM_VMMCALL = hypercall('vmmcall');
