/**
 * Delivery of exceptions and interrupts through the guest's IDT (SDM 3A 6.12-6.14, APM2 8.9): in long mode the gate
 * checks, stack switch by privilege or IST and the frame (legacy_delivery.ts has the other modes), and what becomes of a
 * fault on the way (double and triple fault).
 */

import type { CpuCore } from '../cpu.ts';
import type { Exit } from '../exit.ts';
import { BP, DB, DE, DOUBLE_FAULT, Fault, GP, MC, NMI, NP, OF_VECTOR, PF_VECTOR, SS, TS } from '../fault.ts';
import { IF, NT, RF, TF } from '../flags.ts';
import { RSP } from '../interface.ts';
import * as L from '../layout.ts';
import { ACTIVITY_MOV_SS, ACTIVITY_STI, ATTR_DB, ATTR_L, CS_INDEX, SS_INDEX } from '../state.ts';
import { deliverProtected, deliverReal } from './legacy_delivery.ts';
import { isCanonical, stackImage } from './operand.ts';
import {
  checkTarget,
  codeOf,
  isCode,
  isConforming,
  isLongMode,
  isNull,
  isRealMode,
  markAccessed,
  needDescriptor,
  nullStack,
  readTss,
  setCodeSegment,
  TYPE_INTERRUPT_GATE,
  TYPE_TRAP_GATE,
  tssStack,
} from './segments.ts';

export interface CpuEvent {
  readonly vector: number;
  readonly errorCode: number | undefined;
  /** INT n, INT3, INTO: the gate's DPL is checked, and error codes on the way have EXT clear. */
  readonly isSoftware: boolean;
  /** RIP and RFLAGS of the frame. */
  readonly rip: bigint;
  readonly flags: number;
}

const VM = 1 << 17;
/** Error code bit: the index is a vector of the IDT. */
const ERROR_IDT = 2;
const DR6_BITS = 0xe00fn;
const DR7_GD = 0x2000n;
const IST1 = 36;

/** Reported after the instruction, or without a way back: RF stays as it is in the frame. */
const notFaults = new Set([DB, NMI, BP, OF_VECTOR, DOUBLE_FAULT, MC]);
const contributory = new Set([DE, TS, NP, SS, GP]);

/** The Exit of an exception that the host wants to see. */
export function interceptException(cpu: CpuCore, { vector, errorCode, cr2, dr6 }: Fault): Exit | undefined {
  if (((cpu.intercepts.exceptions >>> vector) & 1) === 0) return undefined;
  return { kind: 'exception', vector, errorCode, cr2, dr6: vector === DB ? dr6 : undefined };
}

/** Delivers an exception at RIP; an Exit when it ends in an intercepted exception or a triple fault. */
export function deliverException(cpu: CpuCore, fault: Fault): Exit | undefined {
  let current = fault;
  if (fault.vector === DB) noteDebugException(cpu, fault.dr6);
  for (;;) {
    if (current.vector === PF_VECTOR) cpu.cr2 = current.cr2!;
    try {
      const { vector, errorCode } = current;
      const flags = cpu.state.flags | (notFaults.has(vector) ? 0 : RF);
      deliverEvent(cpu, { vector, errorCode, isSoftware: false, rip: cpu.rip, flags });
      return undefined;
    } catch (next) {
      if (!(next instanceof Fault)) throw next;
      const combined = combine(current, next);
      if (!combined) return { kind: 'shutdown' };
      if (combined !== next && next.vector === PF_VECTOR) cpu.cr2 = next.cr2!;
      current = combined;
      const exit = interceptException(cpu, current);
      if (exit) return exit;
    }
  }
}

/** Delivers an interrupt from outside at RIP; what goes wrong on the way is an exception of its own. */
export function deliverInterrupt(cpu: CpuCore, vector: number): Exit | undefined {
  try {
    deliverEvent(cpu, { vector, errorCode: undefined, isSoftware: false, rip: cpu.rip, flags: cpu.state.flags });
    return undefined;
  } catch (fault) {
    if (!(fault instanceof Fault)) throw fault;
    return interceptException(cpu, fault) ?? deliverException(cpu, fault);
  }
}

/** What a second exception during the delivery of a first one becomes (SDM 3A table 6-5); undefined: a triple fault. */
function combine(first: Fault, second: Fault): Fault | undefined {
  const isSecondHard = contributory.has(second.vector) || second.vector === PF_VECTOR;
  if (first.vector === DOUBLE_FAULT) return isSecondHard ? undefined : second;
  const isDouble = contributory.has(first.vector) ? contributory.has(second.vector) : first.vector === PF_VECTOR && isSecondHard;
  return isDouble ? new Fault(DOUBLE_FAULT, 0) : second;
}

function noteDebugException(cpu: CpuCore, dr6: number): void {
  const { sys } = cpu.state;
  sys[L.SYS_DR6] = (sys[L.SYS_DR6]! & ~0xfn) | (BigInt(dr6) & DR6_BITS);
  sys[L.SYS_DR7] = sys[L.SYS_DR7]! & ~DR7_GD;
}

/** Enters a handler; throws the Fault that the way there raises, with nothing changed. */
function deliverEvent(cpu: CpuCore, event: CpuEvent): void {
  if (isLongMode(cpu)) deliverLong(cpu, event);
  else if (isRealMode(cpu)) deliverReal(cpu, event);
  else deliverProtected(cpu, event);
  cpu.state.activity &= ~(ACTIVITY_STI | ACTIVITY_MOV_SS);
  cpu.modeChanged();
}

function deliverLong(cpu: CpuCore, event: CpuEvent): void {
  const { state } = cpu;
  const { vector, isSoftware } = event;
  const external = isSoftware ? 0 : 1;
  const cpl = state.cpl;
  const gateCode = vector * 8 + ERROR_IDT + external;
  const { base, limit } = cpu.idtr;
  if (vector * 16 + 15 > limit) throw new Fault(GP, gateCode);
  const low = cpu.mmu.read(base + BigInt(vector * 16), 8, false);
  const high = cpu.mmu.read(base + BigInt(vector * 16 + 8), 8, false);
  const type = Number((low >> 40n) & 0x1fn);
  if ((type !== TYPE_INTERRUPT_GATE && type !== TYPE_TRAP_GATE) || (high >> 40n) & 0x1fn) throw new Fault(GP, gateCode);
  if (isSoftware && Number((low >> 45n) & 3n) < cpl) throw new Fault(GP, gateCode);
  if (((low >> 47n) & 1n) === 0n) throw new Fault(NP, gateCode);

  const selector = Number((low >> 16n) & 0xffffn);
  if (isNull(selector)) throw new Fault(GP, external);
  const code = needDescriptor(cpu, selector, GP, external);
  if (!isCode(code) || code.dpl > cpl || (code.attributes & (ATTR_L | ATTR_DB)) !== ATTR_L)
    throw new Fault(GP, codeOf(selector) | external);
  if (!code.isPresent) throw new Fault(NP, codeOf(selector) | external);
  const target = (low & 0xffffn) | ((low >> 32n) & 0xffff_0000n) | ((high & 0xffff_ffffn) << 32n);

  const newCpl = isConforming(code) ? cpl : code.dpl;
  const ist = Number((low >> 32n) & 7n);
  const isInner = newCpl < cpl;
  const top =
    ist > 0 ? readTss(cpu, IST1 + 8 * (ist - 1), 8, external) : isInner ? readTss(cpu, tssStack(newCpl), 8, external) : cpu.gpr[RSP]!;
  const start = top & ~0xfn;
  const frame = [
    BigInt(state.getSegment(SS_INDEX).selector),
    cpu.gpr[RSP]!,
    BigInt(event.flags >>> 0),
    BigInt(state.getSegment(CS_INDEX).selector),
    event.rip,
  ];
  if (event.errorCode !== undefined) frame.push(BigInt(event.errorCode));
  const rsp = BigInt.asUintN(64, start - BigInt(8 * frame.length));
  if (!isCanonical(rsp)) throw new Fault(SS, external);
  checkTarget(cpu, code, target, external);
  cpu.mmu.writeBytes(rsp, stackImage(8, frame), newCpl === 3, true);
  markAccessed(cpu, code);

  setCodeSegment(cpu, code, newCpl);
  if (isInner) state.setSegment(SS_INDEX, nullStack(newCpl, newCpl));
  cpu.gpr[RSP] = rsp;
  cpu.rip = target;
  state.systemFlags &= ~(TF | NT | RF | VM | (type === TYPE_INTERRUPT_GATE ? IF : 0));
}

/** An interrupt that the instruction at RIP asks for: INT n, INT3, INTO. */
export function deliverSoftwareInterrupt(cpu: CpuCore, vector: number, length: number): void {
  const rip = BigInt.asUintN(64, cpu.rip + BigInt(length));
  deliverEvent(cpu, { vector, errorCode: undefined, isSoftware: true, rip, flags: cpu.state.flags & ~RF });
}
