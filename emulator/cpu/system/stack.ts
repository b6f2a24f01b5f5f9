/**
 * Stacks that are not the current one yet, or whose frames may wrap: the stack of a more privileged level as the 16- or
 * 32-bit task state segment tells it (SDM 3A 5.8.5), and pushes onto a stack of any width, all or none.
 */
import type { CpuCore } from '../cpu.ts';
import { Fault, SS, TS } from '../fault.ts';
import { RSP, type Segment } from '../interface.ts';
import { ATTR_DB, ATTR_L, boundsOf, CS_INDEX, isWritable, SS_INDEX, TR_INDEX } from '../state.ts';
import { sizeMask, stackImage } from './operand.ts';
import {
  codeOf,
  type Descriptor,
  isLongMode,
  isNull,
  isWritableData,
  markAccessed,
  needDescriptor,
  readTss,
  setStackPointer,
  toSegment,
} from './segments.ts';

const TSS_IS_32 = 8;

export interface Stack {
  readonly segment: Segment;
  readonly pointer: bigint;
  /** Bytes of the pointer that count. */
  readonly width: 2 | 4 | 8;
  /** Whose descriptor is to be marked accessed when the stack is loaded. */
  readonly descriptor: Descriptor | undefined;
}

export function currentStack(cpu: CpuCore): Stack {
  const { state } = cpu;
  const segment = state.getSegment(SS_INDEX);
  const is64 = isLongMode(cpu) && (state.getSegment(CS_INDEX).attributes & ATTR_L) !== 0;
  return { segment, pointer: cpu.gpr[RSP]!, width: is64 ? 8 : segment.attributes & ATTR_DB ? 4 : 2, descriptor: undefined };
}

/** SS and ESP (SP) of a privilege level below 3, outside long mode; what is wrong with them is #TS. */
export function innerStack(cpu: CpuCore, cpl: number, external: number): Stack {
  const is32 = (cpu.state.getSegment(TR_INDEX).attributes & TSS_IS_32) !== 0;
  const size = is32 ? 4 : 2;
  const at = is32 ? 4 + 8 * cpl : 2 + 4 * cpl;
  // Both fields must lie within the limit before either is used.
  const selector = Number(readTss(cpu, at + size, 2, external));
  const pointer = readTss(cpu, at, size, external);
  const code = codeOf(selector) | external;
  if (isNull(selector)) throw new Fault(TS, external);
  const descriptor = needDescriptor(cpu, selector, TS, external);
  if ((selector & 3) !== cpl || descriptor.dpl !== cpl || !isWritableData(descriptor)) throw new Fault(TS, code);
  if (!descriptor.isPresent) throw new Fault(SS, code);
  const segment = toSegment(descriptor);
  return { segment, pointer, width: segment.attributes & ATTR_DB ? 4 : 2, descriptor };
}

/** Pushes values of `size` bytes, the first one first, all or none; the new stack pointer. `errorCode`: of #SS for the limit. */
export function pushOnto(cpu: CpuCore, stack: Stack, size: number, values: readonly bigint[], isUser: boolean, errorCode: number): bigint {
  const { segment, pointer, width } = stack;
  const total = BigInt(size * values.length);
  const mask = sizeMask(width);
  const top = (pointer - total) & mask;
  if (width === 8) {
    cpu.mmu.writeBytes(top, stackImage(8, values), isUser, true);
    return top;
  }
  const { low, high } = boundsOf(segment);
  const isWithin = (offset: bigint, count: bigint): boolean => offset >= BigInt(low) && offset + count - 1n <= BigInt(high);
  const linear = (offset: bigint): bigint => BigInt.asUintN(32, segment.base + offset);
  if (!isWritable(segment)) throw new Fault(SS, errorCode);
  if (top + total <= mask + 1n) {
    if (!isWithin(top, total)) throw new Fault(SS, errorCode);
    cpu.mmu.writeBytes(linear(top), stackImage(size, values), isUser, true);
    return top;
  }
  const offsets = values.map((_, i) => (pointer - BigInt(size * (i + 1))) & mask);
  if (!offsets.every((offset) => isWithin(offset, BigInt(size)))) throw new Fault(SS, errorCode);
  for (const offset of offsets) cpu.mmu.locate(linear(offset), 'write', isUser, true);
  offsets.forEach((offset, i) => {
    cpu.mmu.write(linear(offset), size, values[i]!, isUser, true);
  });
  return top;
}

/** Makes a stack the current one; CS is loaded already, and with SS comes the privilege level. */
export function switchStack(cpu: CpuCore, { segment, descriptor }: Stack, pointer: bigint): void {
  if (descriptor) {
    markAccessed(cpu, descriptor);
    cpu.state.setSegment(SS_INDEX, segment);
  }
  setStackPointer(cpu, pointer);
}
