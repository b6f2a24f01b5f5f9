/**
 * Delivery of an event outside long mode: through real mode's vector table (SDM 3A 21.1.4), or through a 16- or 32-bit
 * interrupt or trap gate (SDM 3A 6.12). Task gates are not supported. interrupts.ts decides what is delivered.
 */

import type { CpuCore } from '../cpu.ts';
import { Fault, GP, NP, Unsupported } from '../fault.ts';
import { AC, IF, NT, RF, TF } from '../flags.ts';
import { RSP } from '../interface.ts';
import { CS_INDEX, SS_INDEX } from '../state.ts';
import type { CpuEvent } from './interrupts.ts';
import {
  checkTarget,
  codeOf,
  isCode,
  isConforming,
  isNull,
  loadRealSegment,
  markAccessed,
  needDescriptor,
  parseDescriptor,
  setCodeSegment,
  setStackPointer,
  TYPE_INTERRUPT_GATE,
  TYPE_INTERRUPT_GATE16,
  TYPE_TASK_GATE,
  TYPE_TRAP_GATE,
  TYPE_TRAP_GATE16,
} from './segments.ts';
import { currentStack, innerStack, pushOnto, switchStack } from './stack.ts';

const VM = 1 << 17;
const GATE_IS_32 = 8;

/** Real mode pushes no error code, and its faults have none. */
export function deliverReal(cpu: CpuCore, event: CpuEvent): void {
  const { state } = cpu;
  const { base, limit } = cpu.idtr;
  if (event.vector * 4 + 3 > limit) throw new Fault(GP, 0);
  const pointer = Number(cpu.mmu.read(BigInt.asUintN(32, base + BigInt(event.vector * 4)), 4, false));
  const offset = pointer & 0xffff;
  const cs = state.getSegment(CS_INDEX);
  if (offset > cs.limit) throw new Fault(GP, 0);
  const frame = [BigInt(event.flags >>> 0), BigInt(cs.selector), event.rip];
  setStackPointer(cpu, pushOnto(cpu, currentStack(cpu), 2, frame, false, 0));
  loadRealSegment(cpu, CS_INDEX, pointer >>> 16);
  cpu.rip = BigInt(offset);
  state.systemFlags &= ~(TF | IF | RF | AC);
}

export function deliverProtected(cpu: CpuCore, event: CpuEvent): void {
  const { state } = cpu;
  const { vector, isSoftware } = event;
  const external = isSoftware ? 0 : 1;
  const cpl = state.cpl;
  const gateCode = vector * 8 + 2 + external;
  const { base, limit } = cpu.idtr;
  if (vector * 8 + 7 > limit) throw new Fault(GP, gateCode);
  const at = BigInt.asUintN(32, base + BigInt(vector * 8));
  const gate = parseDescriptor(cpu.mmu.read(at, 8, false), 0, at);
  const { type, isSystem, dpl, raw } = gate;
  const isInterrupt = type === TYPE_INTERRUPT_GATE || type === TYPE_INTERRUPT_GATE16;
  if (!isSystem || !(isInterrupt || type === TYPE_TRAP_GATE || type === TYPE_TRAP_GATE16 || type === TYPE_TASK_GATE))
    throw new Fault(GP, gateCode);
  if (isSoftware && dpl < cpl) throw new Fault(GP, gateCode);
  if (!gate.isPresent) throw new Fault(NP, gateCode);
  if (type === TYPE_TASK_GATE) throw new Unsupported('task switch');

  const selector = Number((raw >> 16n) & 0xffffn);
  const is32 = (type & GATE_IS_32) !== 0;
  const target = (raw & 0xffffn) | (is32 ? (raw >> 32n) & 0xffff_0000n : 0n);
  if (isNull(selector)) throw new Fault(GP, external);
  const code = needDescriptor(cpu, selector, GP, external);
  if (!isCode(code) || code.dpl > cpl) throw new Fault(GP, codeOf(selector) | external);
  if (!code.isPresent) throw new Fault(NP, codeOf(selector) | external);
  const newCpl = isConforming(code) ? cpl : code.dpl;
  const isInner = newCpl < cpl;
  const stack = isInner ? innerStack(cpu, newCpl, external) : currentStack(cpu);
  const frame = isInner ? [BigInt(state.getSegment(SS_INDEX).selector), cpu.gpr[RSP]!] : [];
  frame.push(BigInt(event.flags >>> 0), BigInt(state.getSegment(CS_INDEX).selector), event.rip);
  if (event.errorCode !== undefined) frame.push(BigInt(event.errorCode));
  checkTarget(cpu, code, target, external);
  const stackCode = isInner ? codeOf(stack.segment.selector) | external : external;
  const pointer = pushOnto(cpu, stack, is32 ? 4 : 2, frame, newCpl === 3, stackCode);
  markAccessed(cpu, code);
  setCodeSegment(cpu, code, newCpl);
  switchStack(cpu, stack, pointer);
  cpu.rip = target;
  state.systemFlags &= ~(TF | NT | RF | VM | (isInterrupt ? IF : 0));
}
