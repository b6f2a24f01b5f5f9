/**
 * Transfers between code segments: far JMP, CALL and RET, call gates, and IRET to any ring (SDM 2A-2B, SDM 3A 5.8, APM2
 * 4.9), in real mode without checks. Task switches and virtual-8086 mode are not supported. As on AMD, REX.W does not
 * widen a far pointer in memory: it is m16:16 or m16:32.
 */

import type { CpuCore } from '../cpu.ts';
import type { Insn } from '../decoder.ts';
import { Fault, GP, NP, SS, Unsupported } from '../fault.ts';
import { AC, ARITHMETIC, DF, ID, IF, IOPL_SHIFT, NT, RF, TF } from '../flags.ts';
import { RSP } from '../interface.ts';
import { ACTIVITY_NMI_BLOCKED, CS_INDEX, SS_INDEX } from '../state.ts';
import { defineSystem, type SystemResult } from './index.ts';
import { isCanonical, moveStack, pushAll, readMemory, readStack, stackImage } from './operand.ts';
import {
  checkStack,
  checkTarget,
  codeOf,
  type Descriptor,
  dropDataSegments,
  hasValidCodeSize,
  isCode,
  isConforming,
  isLongCode,
  isLongMode,
  isNull,
  isRealMode,
  loadRealSegment,
  markAccessed,
  needDescriptor,
  nullStack,
  readTss,
  readUpperHalf,
  setCodeSegment,
  setStackPointer,
  TYPE_CALL_GATE,
  TYPE_CALL_GATE16,
  TYPE_TASK_GATE,
  TYPE_TSS_AVAILABLE,
  TYPE_TSS16_AVAILABLE,
  toSegment,
  tssStack,
} from './segments.ts';
import { currentStack, innerStack, pushOnto, switchStack } from './stack.ts';

const VM = 1 << 17,
  VIF = 1 << 19,
  VIP = 1 << 20;

const nextRip = (cpu: CpuCore, insn: Insn): bigint => BigInt.asUintN(insn.shape.mode === 64 ? 64 : 32, cpu.rip + BigInt(insn.length));
const csSelector = (cpu: CpuCore): bigint => BigInt(cpu.state.getSegment(CS_INDEX).selector);

function transfer(cpu: CpuCore, insn: Insn, selector: number, offset: bigint, isCall: boolean): SystemResult {
  if (isRealMode(cpu)) return transferReal(cpu, insn, selector, offset, isCall);
  if (isNull(selector)) throw new Fault(GP, 0);
  const d = needDescriptor(cpu, selector);
  if (d.isSystem) return isLongMode(cpu) ? throughLongGate(cpu, insn, d, isCall) : throughLegacyGate(cpu, insn, d, isCall);
  const cpl = cpu.cpl;
  const isAllowed = isConforming(d) ? d.dpl <= cpl : d.dpl === cpl && (selector & 3) <= cpl;
  if (!isCode(d) || !isAllowed || !hasValidCodeSize(cpu, d)) throw new Fault(GP, codeOf(selector));
  if (!d.isPresent) throw new Fault(NP, codeOf(selector));
  checkTarget(cpu, d, offset);
  if (isCall) pushAll(cpu, insn, Math.min(insn.shape.size, 4), [csSelector(cpu), nextRip(cpu, insn)]);
  enter(cpu, d, cpl, offset);
  return 'jumped';
}

function transferReal(cpu: CpuCore, insn: Insn, selector: number, offset: bigint, isCall: boolean): SystemResult {
  if (offset > BigInt(cpu.state.getSegment(CS_INDEX).limit)) throw new Fault(GP, 0);
  if (isCall) pushAll(cpu, insn, insn.shape.size, [csSelector(cpu), nextRip(cpu, insn)]);
  enterReal(cpu, selector, offset);
  return 'jumped';
}

function enterReal(cpu: CpuCore, selector: number, rip: bigint): void {
  loadRealSegment(cpu, CS_INDEX, selector);
  cpu.rip = rip;
  cpu.modeChanged();
}

function enter(cpu: CpuCore, d: Descriptor, cpl: number, rip: bigint): void {
  markAccessed(cpu, d);
  setCodeSegment(cpu, d, cpl);
  cpu.rip = rip;
  cpu.modeChanged();
}

/** The code segment behind a call gate that may be used. */
function gateTarget(cpu: CpuCore, gate: Descriptor, isCall: boolean): Descriptor {
  const selector = Number((gate.raw >> 16n) & 0xffffn);
  if (isNull(selector)) throw new Fault(GP, 0);
  const d = needDescriptor(cpu, selector);
  const isAllowed = isConforming(d) || isCall ? d.dpl <= cpu.cpl : d.dpl === cpu.cpl;
  const hasSize = !isLongMode(cpu) || (isLongCode(cpu, d) && hasValidCodeSize(cpu, d));
  if (!isCode(d) || !isAllowed || !hasSize) throw new Fault(GP, codeOf(selector));
  if (!d.isPresent) throw new Fault(NP, codeOf(selector));
  return d;
}

function checkGate(cpu: CpuCore, gate: Descriptor, types: readonly number[]): void {
  const isAllowed = types.includes(gate.type) && gate.dpl >= Math.max(cpu.cpl, gate.selector & 3);
  if (!isAllowed) throw new Fault(GP, codeOf(gate.selector));
  if (!gate.isPresent) throw new Fault(NP, codeOf(gate.selector));
}

const legacyTargets = [TYPE_CALL_GATE16, TYPE_CALL_GATE, TYPE_TASK_GATE, TYPE_TSS16_AVAILABLE, TYPE_TSS_AVAILABLE];

/** A 16- or 32-bit call gate, which may copy parameters from the caller's stack (SDM 3A 5.8.5). */
function throughLegacyGate(cpu: CpuCore, insn: Insn, gate: Descriptor, isCall: boolean): SystemResult {
  const { type } = gate;
  checkGate(cpu, gate, legacyTargets);
  if (type !== TYPE_CALL_GATE16 && type !== TYPE_CALL_GATE) throw new Unsupported('task switch');
  const size = type === TYPE_CALL_GATE ? 4 : 2;
  const d = gateTarget(cpu, gate, isCall);
  const cpl = cpu.cpl;
  const newCpl = isCall && !isConforming(d) ? d.dpl : cpl;
  const isInner = newCpl < cpl;
  const rip = (gate.raw & 0xffffn) | (size === 4 ? (gate.raw >> 32n) & 0xffff_0000n : 0n);
  const stack = isInner ? innerStack(cpu, newCpl, 0) : currentStack(cpu);
  const frame: bigint[] = [];
  if (isInner) {
    const count = Number((gate.raw >> 32n) & 31n);
    frame.push(BigInt(cpu.state.getSegment(SS_INDEX).selector), cpu.gpr[RSP]!);
    for (let i = count - 1; i >= 0; i--) frame.push(readStack(cpu, insn, i, size));
  }
  checkTarget(cpu, d, rip);
  let pointer = stack.pointer;
  if (isCall) {
    frame.push(csSelector(cpu), nextRip(cpu, insn));
    pointer = pushOnto(cpu, stack, size, frame, newCpl === 3, isInner ? codeOf(stack.segment.selector) : 0);
  }
  markAccessed(cpu, d);
  setCodeSegment(cpu, d, newCpl);
  switchStack(cpu, stack, pointer);
  cpu.rip = rip;
  cpu.modeChanged();
  return 'jumped';
}

/** A 64-bit call gate; task gates and task state segments are no targets in long mode. */
function throughLongGate(cpu: CpuCore, insn: Insn, gate: Descriptor, isCall: boolean): SystemResult {
  const cpl = cpu.cpl;
  checkGate(cpu, gate, [TYPE_CALL_GATE]);
  const upper = readUpperHalf(cpu, gate);
  const rip = (gate.raw & 0xffffn) | ((gate.raw >> 32n) & 0xffff_0000n) | ((upper & 0xffff_ffffn) << 32n);
  const d = gateTarget(cpu, gate, isCall);
  const isInner = isCall && !isConforming(d) && d.dpl < cpl;
  checkTarget(cpu, d, rip);
  const back = [csSelector(cpu), nextRip(cpu, insn)];
  if (isInner) {
    const frame = [BigInt(cpu.state.getSegment(SS_INDEX).selector), cpu.gpr[RSP]!, ...back];
    const rsp = BigInt.asUintN(64, readTss(cpu, tssStack(d.dpl), 8) - BigInt(8 * frame.length));
    if (!isCanonical(rsp)) throw new Fault(SS, 0);
    cpu.mmu.writeBytes(rsp, stackImage(8, frame), false, true);
    cpu.state.setSegment(SS_INDEX, nullStack(d.dpl, d.dpl));
    cpu.gpr[RSP] = rsp;
  } else if (isCall) pushAll(cpu, insn, 8, back);
  enter(cpu, d, isInner ? d.dpl : cpl, rip);
  return 'jumped';
}

/** The code segment that RET or IRET returns to: RPL is the privilege level to come, never a more privileged one. */
function returnTarget(cpu: CpuCore, selector: number): Descriptor {
  if (isNull(selector)) throw new Fault(GP, 0);
  const d = needDescriptor(cpu, selector);
  const rpl = selector & 3;
  const isAllowed = rpl >= cpu.cpl && (isConforming(d) ? d.dpl <= rpl : d.dpl === rpl);
  if (!isCode(d) || !isAllowed || !hasValidCodeSize(cpu, d)) throw new Fault(GP, codeOf(selector));
  if (!d.isPresent) throw new Fault(NP, codeOf(selector));
  return d;
}

interface Return {
  readonly code: Descriptor;
  readonly rip: bigint;
  /** Present when SS:RSP come from the frame. */
  readonly stack: { readonly selector: number; readonly rsp: bigint } | undefined;
}

/** Checks the frame's rest and commits everything but the flags; `release` is RET's count of bytes. */
function commitReturn(cpu: CpuCore, insn: Insn, { code, rip, stack }: Return, popped: number, release: number): void {
  const cpl = cpu.cpl;
  const newCpl = code.selector & 3;
  const ss = stack && checkStack(cpu, stack.selector, newCpl, isLongCode(cpu, code));
  checkTarget(cpu, code, rip);
  markAccessed(cpu, code);
  if (ss) markAccessed(cpu, ss);
  setCodeSegment(cpu, code, newCpl);
  if (stack) {
    cpu.state.setSegment(SS_INDEX, ss ? toSegment(ss) : nullStack(stack.selector, newCpl));
    setStackPointer(cpu, BigInt.asUintN(64, stack.rsp + BigInt(release)));
  } else moveStack(cpu, insn, popped + release);
  cpu.rip = rip;
  if (newCpl > cpl) dropDataSegments(cpu, newCpl);
}

export const SYSTEM_JMP_FAR = defineSystem((cpu, insn) => farPointer(cpu, insn, false));
export const SYSTEM_CALL_FAR = defineSystem((cpu, insn) => farPointer(cpu, insn, true));

function farPointer(cpu: CpuCore, insn: Insn, isCall: boolean): SystemResult {
  const size = Math.min(insn.shape.size, 4);
  if (insn.shape.ea === 'reg') {
    // ptr16:16 or ptr16:32 as immediate
    const offset = insn.imm & ((1n << BigInt(size * 8)) - 1n);
    return transfer(cpu, insn, Number(insn.imm >> BigInt(size * 8)), offset, isCall);
  }
  const offset = readMemory(cpu, insn, size);
  return transfer(cpu, insn, Number(readMemory(cpu, insn, 2, size)), offset, isCall);
}

function returnReal(cpu: CpuCore, insn: Insn, rip: bigint, selector: number, popped: number): SystemResult {
  if (rip > BigInt(cpu.state.getSegment(CS_INDEX).limit)) throw new Fault(GP, 0);
  moveStack(cpu, insn, popped);
  enterReal(cpu, selector, rip);
  return 'jumped';
}

export const SYSTEM_RET_FAR = defineSystem((cpu, insn) => {
  const { size } = insn.shape;
  const release = Number(insn.imm);
  const rip = readStack(cpu, insn, 0, size);
  if (isRealMode(cpu)) return returnReal(cpu, insn, rip, Number(readStack(cpu, insn, 1, size) & 0xffffn), 2 * size + release);
  const code = returnTarget(cpu, Number(readStack(cpu, insn, 1, size) & 0xffffn));
  const isOuter = (code.selector & 3) !== cpu.cpl;
  const stack = isOuter
    ? { rsp: readStack(cpu, insn, 2, size, release), selector: Number(readStack(cpu, insn, 3, size, release) & 0xffffn) }
    : undefined;
  commitReturn(cpu, insn, { code, rip, stack }, 2 * size, release);
  cpu.modeChanged();
  return 'jumped';
});

export const SYSTEM_IRET = defineSystem((cpu, insn) => {
  const { size, mode } = insn.shape;
  const { state } = cpu;
  const isReal = isRealMode(cpu);
  if (state.systemFlags & NT && !isReal) {
    if (!isLongMode(cpu)) throw new Unsupported('task switch');
    throw new Fault(GP, 0);
  }
  const cpl = state.cpl;
  const rip = readStack(cpu, insn, 0, size);
  const selector = Number(readStack(cpu, insn, 1, size) & 0xffffn);
  const image = Number(BigInt.asIntN(32, readStack(cpu, insn, 2, size)));
  const iopl = (state.systemFlags >> IOPL_SHIFT) & 3;
  if (isReal) returnReal(cpu, insn, rip, selector, 3 * size);
  else {
    if (image & VM && size > 2 && cpl === 0 && !isLongMode(cpu)) throw new Unsupported('virtual-8086 mode');
    const code = returnTarget(cpu, selector);
    const hasStack = mode === 64 || (selector & 3) !== cpl;
    const stack = hasStack ? { rsp: readStack(cpu, insn, 3, size), selector: Number(readStack(cpu, insn, 4, size) & 0xffffn) } : undefined;
    commitReturn(cpu, insn, { code, rip, stack }, 3 * size, 0);
  }
  state.activity &= ~ACTIVITY_NMI_BLOCKED;
  let mask = ARITHMETIC | TF | DF | NT | (cpl <= iopl ? IF : 0) | (cpl === 0 ? 3 << IOPL_SHIFT : 0);
  if (size > 2) mask |= RF | AC | ID | (cpl === 0 && !isReal ? VIF | VIP : 0);
  state.flags = (state.flags & ~mask) | (image & mask);
  cpu.modeChanged();
  return 'keepRf';
});
