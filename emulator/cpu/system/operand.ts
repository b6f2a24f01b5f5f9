/**
 * Operands of instructions that the system unit performs: general registers by size, memory under its segment's checks,
 * and the stack. Everything that can fault here does so before it changes anything.
 */

import type { CpuCore } from '../cpu.ts';
import type { Insn } from '../decoder.ts';
import { AC_VECTOR, Fault, GP, SS } from '../fault.ts';
import { RSP } from '../interface.ts';
import * as L from '../layout.ts';
import { SS_INDEX } from '../state.ts';
import { currentStack, pushOnto } from './stack.ts';

const sizeMasks = Array.from({ length: 9 }, (_, size) => (1n << BigInt(size * 8)) - 1n);
export const sizeMask = (size: number): bigint => sizeMasks[size]!;

export function isCanonical(value: bigint): boolean {
  return BigInt.asIntN(48, value) === BigInt.asIntN(64, value);
}

export function getRegister(cpu: CpuCore, number: number, size: number): bigint {
  return cpu.gpr[number]! & sizeMask(size);
}

/** 4 bytes clear the upper half, 1 and 2 leave the rest. */
export function setRegister(cpu: CpuCore, number: number, size: number, value: bigint): void {
  const kept = size >= 4 ? 0n : cpu.gpr[number]! & ~sizeMask(size);
  cpu.gpr[number] = kept | (value & sizeMask(size));
}

/** The linear address of `size` bytes at an offset of a segment; outside 64-bit code under its limits and rights. */
export function linearAddress(cpu: CpuCore, insn: Insn, segment: number, offset: bigint, size: number, isWrite = false): bigint {
  const { view } = cpu.state;
  const base = view.getBigUint64(L.SEG_BASE + 8 * segment, true);
  if (insn.shape.mode === 64) return BigInt.asUintN(64, offset + (segment >= 4 ? base : 0n));
  const low = BigInt(view.getUint32(L.SEG_LOW + 4 * segment, true));
  const high = BigInt(view.getUint32(L.SEG_HIGH + 4 * segment, true));
  const isRefused = isWrite && ((view.getInt32(L.SEG_WRITABLE, true) >> segment) & 1) === 0;
  if (isRefused || offset < low || offset + BigInt(size - 1) > high) throw new Fault(segment === SS_INDEX ? SS : GP, 0);
  return BigInt.asUintN(32, offset + base);
}

/** Offset of the memory operand in its segment; `rsp` stands for RSP, which POP has moved by then. */
export function memoryOffset(cpu: CpuCore, insn: Insn, rsp = cpu.gpr[RSP]!): bigint {
  const register = (number: number): bigint => (number < 0 ? 0n : number === RSP ? rsp : cpu.gpr[number]!);
  const base = insn.shape.ea === 'rip' ? insn.rip + BigInt(insn.length) : register(insn.baseNumber);
  return (base + (register(insn.indexNumber) << BigInt(insn.scale)) + BigInt(insn.disp)) & sizeMask(insn.shape.addressSize);
}

/** Reads `size` bytes of the memory operand, `skip` bytes behind its start. */
export function readMemory(cpu: CpuCore, insn: Insn, size: number, skip = 0): bigint {
  const offset = (memoryOffset(cpu, insn) + BigInt(skip)) & sizeMask(insn.shape.addressSize);
  return readAt(cpu, insn, insn.segment, offset, size);
}

export function writeMemory(cpu: CpuCore, insn: Insn, size: number, value: bigint): void {
  writeAt(cpu, insn, insn.segment, memoryOffset(cpu, insn), size, value);
}

export function readAt(cpu: CpuCore, insn: Insn, segment: number, offset: bigint, size: number): bigint {
  const vaddr = linearAddress(cpu, insn, segment, offset, size);
  const isUser = cpu.cpl === 3;
  const value = cpu.mmu.read(vaddr, size, isUser, segment === SS_INDEX);
  checkAlignment(insn, vaddr, size);
  return value;
}

export function writeAt(cpu: CpuCore, insn: Insn, segment: number, offset: bigint, size: number, value: bigint): void {
  const vaddr = linearAddress(cpu, insn, segment, offset, size, true);
  const isUser = cpu.cpl === 3;
  cpu.mmu.locate(vaddr, 'write', isUser, segment === SS_INDEX);
  checkAlignment(insn, vaddr, size);
  cpu.mmu.write(vaddr, size, value, isUser, segment === SS_INDEX);
}

function checkAlignment(insn: Insn, vaddr: bigint, size: number): void {
  if (insn.shape.alignCheck && size <= 8 && (size & (size - 1)) === 0 && vaddr & BigInt(size - 1)) throw new Fault(AC_VECTOR, 0);
}

/** ModRM.rm as register or memory. */
export function readOperand(cpu: CpuCore, insn: Insn, size: number): bigint {
  return insn.shape.ea === 'reg' ? getRegister(cpu, insn.rmNumber, size) : readMemory(cpu, insn, size);
}

/** ModRM.rm as register of `registerSize` (zero-extended) or memory of `memorySize`. */
export function writeOperand(cpu: CpuCore, insn: Insn, registerSize: number, memorySize: number, value: bigint): void {
  if (insn.shape.ea === 'reg') setRegister(cpu, insn.rmNumber, registerSize, value);
  else writeMemory(cpu, insn, memorySize, value);
}

/** The stack slot `index` places of `size` bytes above the top. */
export function readStack(cpu: CpuCore, insn: Insn, index: number, size: number, skip = 0): bigint {
  const { stackSize } = insn.shape;
  const offset = (cpu.gpr[RSP]! + BigInt(index * size + skip)) & sizeMask(stackSize);
  return readAt(cpu, insn, SS_INDEX, offset, size);
}

export function moveStack(cpu: CpuCore, insn: Insn, count: number): void {
  const { stackSize } = insn.shape;
  setRegister(cpu, RSP, stackSize, cpu.gpr[RSP]! + BigInt(count));
}

/** Pushes values of `size` bytes, the first one first, all or none. */
export function pushAll(cpu: CpuCore, insn: Insn, size: number, values: readonly bigint[]): void {
  const { stackSize, alignCheck } = insn.shape;
  const total = size * values.length;
  const top = (cpu.gpr[RSP]! - BigInt(total)) & sizeMask(stackSize);
  if (top + BigInt(total) > sizeMask(stackSize) + 1n) {
    setRegister(cpu, RSP, stackSize, pushOnto(cpu, currentStack(cpu), size, values, cpu.cpl === 3, 0));
    return;
  }
  const vaddr = linearAddress(cpu, insn, SS_INDEX, top, total, true);
  if (alignCheck) checkAlignment(insn, vaddr, size);
  cpu.mmu.writeBytes(vaddr, stackImage(size, values), cpu.cpl === 3, true);
  setRegister(cpu, RSP, stackSize, top);
}

/** Memory as it looks after the pushes, from the top up. */
export function stackImage(size: number, values: readonly bigint[]): Uint8Array {
  const bytes = new Uint8Array(size * values.length);
  values.forEach((value, i) => {
    const at = bytes.length - size * (i + 1);
    for (let b = 0, rest = value; b < size; b++, rest >>= 8n) bytes[at + b] = Number(rest & 0xffn);
  });
  return bytes;
}
