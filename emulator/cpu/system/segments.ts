/**
 * Descriptors and segment registers (SDM 3A 3.4-3.5 and 5; APM2 4): finding a descriptor in the GDT or LDT, the checks of
 * a data segment load, and the hidden parts that follow. Descriptor tables are read as supervisor, through the page tables.
 */
import type { CpuCore } from '../cpu.ts';
import { Fault, GP, NP, SS, TS } from '../fault.ts';
import type { Segment } from '../interface.ts';
import * as L from '../layout.ts';
import {
  ATTR_DB,
  ATTR_G,
  ATTR_L,
  ATTR_P,
  ATTR_S,
  CS_INDEX,
  DS_INDEX,
  ES_INDEX,
  FS_INDEX,
  GS_INDEX,
  LDTR_INDEX,
  SS_INDEX,
  TR_INDEX,
} from '../state.ts';
import { isCanonical } from './operand.ts';

/** Types of system descriptors (SDM 3A 3.5, table 3-2); long mode has only those from 9 up, and LDTs. */
export const TYPE_TSS16_AVAILABLE = 1,
  TYPE_LDT = 2,
  TYPE_CALL_GATE16 = 4,
  TYPE_TASK_GATE = 5,
  TYPE_INTERRUPT_GATE16 = 6,
  TYPE_TRAP_GATE16 = 7,
  TYPE_TSS_AVAILABLE = 9,
  TYPE_TSS_BUSY = 11,
  TYPE_CALL_GATE = 12,
  TYPE_INTERRUPT_GATE = 14,
  TYPE_TRAP_GATE = 15;
/** Bits of a code or data segment's type. */
export const TYPE_ACCESSED = 1,
  TYPE_WRITABLE = 2,
  TYPE_READABLE = 2,
  TYPE_CONFORMING = 4,
  TYPE_CODE = 8;

/** What real mode may do with a segment: present, accessed, writable, DPL 0. */
export const REAL_DATA = ATTR_P | ATTR_S | TYPE_WRITABLE | TYPE_ACCESSED;

export interface Descriptor {
  readonly selector: number;
  /** Linear address of its first byte. */
  readonly vaddr: bigint;
  readonly raw: bigint;
  readonly type: number;
  readonly isSystem: boolean;
  readonly dpl: number;
  readonly isPresent: boolean;
  /** As Segment.attributes. */
  readonly attributes: number;
  readonly base: bigint;
  readonly limit: number;
}

export const isNull = (selector: number): boolean => (selector & 0xfffc) === 0;
/** The error code that names a selector. */
export const codeOf = (selector: number): number => selector & 0xfffc;
export const isCode = (d: Descriptor): boolean => !d.isSystem && (d.type & TYPE_CODE) !== 0;
export const isConforming = (d: Descriptor): boolean => isCode(d) && (d.type & TYPE_CONFORMING) !== 0;
export const isWritableData = (d: Descriptor): boolean => !d.isSystem && (d.type & (TYPE_CODE | TYPE_WRITABLE)) === TYPE_WRITABLE;
export const isLongMode = (cpu: CpuCore): boolean => (cpu.efer & 0x400n) !== 0n;
export const isRealMode = (cpu: CpuCore): boolean => (cpu.cr0 & 1n) === 0n;

export function parseDescriptor(raw: bigint, selector: number, vaddr: bigint): Descriptor {
  const access = Number((raw >> 40n) & 0xffn);
  const attributes = access | (Number((raw >> 52n) & 15n) << 12);
  const rawLimit = Number((raw & 0xffffn) | ((raw >> 32n) & 0xf0000n));
  return {
    selector,
    vaddr,
    raw,
    attributes,
    type: access & 15,
    isSystem: (access & ATTR_S) === 0,
    dpl: (access >> 5) & 3,
    isPresent: (access & ATTR_P) !== 0,
    base: ((raw >> 16n) & 0xff_ffffn) | ((raw >> 32n) & 0xff00_0000n),
    limit: attributes & ATTR_G ? rawLimit * 4096 + 4095 : rawLimit,
  };
}

function table(cpu: CpuCore, selector: number): { base: bigint; limit: number } | undefined {
  if ((selector & 4) === 0) return cpu.gdtr;
  const ldt = cpu.state.getSegment(LDTR_INDEX);
  return ldt.attributes & ATTR_P ? ldt : undefined;
}

/** The descriptor that a selector names, or undefined outside its table; a null selector must be sorted out before. */
export function findDescriptor(cpu: CpuCore, selector: number): Descriptor | undefined {
  const within = table(cpu, selector);
  const offset = selector & 0xfff8;
  if (!within || offset + 7 > within.limit) return undefined;
  const vaddr = BigInt.asUintN(64, within.base + BigInt(offset));
  return parseDescriptor(cpu.mmu.read(vaddr, 8, false), selector, vaddr);
}

/** As `findDescriptor`, or the fault that names the selector. */
export function needDescriptor(cpu: CpuCore, selector: number, vector = GP, external = 0): Descriptor {
  const found = findDescriptor(cpu, selector);
  if (!found) throw new Fault(vector, codeOf(selector) | external);
  return found;
}

/** The second half of a 16-byte system descriptor; its type field must be 0. */
export function readUpperHalf(cpu: CpuCore, d: Descriptor): bigint {
  const offset = d.selector & 0xfff8;
  if (offset + 15 > table(cpu, d.selector)!.limit) throw new Fault(GP, codeOf(d.selector));
  const upper = cpu.mmu.read(d.vaddr + 8n, 8, false);
  if ((upper >> 40n) & 0x1fn) throw new Fault(GP, codeOf(d.selector));
  return upper;
}

/** Sets the accessed bit where it is clear, as a supervisor write. */
export function markAccessed(cpu: CpuCore, d: Descriptor): void {
  if ((d.type & TYPE_ACCESSED) === 0) writeType(cpu, d, d.type | TYPE_ACCESSED);
}

export function writeType(cpu: CpuCore, d: Descriptor, type: number): void {
  cpu.mmu.write(d.vaddr + 5n, 1, BigInt((d.attributes & 0xf0) | type), false);
}

/** The hidden part that a code or data descriptor gives a segment register. */
export function toSegment(d: Descriptor, selector = d.selector): Segment {
  return { selector, base: d.base, limit: d.limit, attributes: d.attributes | TYPE_ACCESSED };
}

/** SS without a descriptor, as 64-bit code may have it below CPL 3: only the privilege level counts. */
export function nullStack(selector: number, cpl: number): Segment {
  return { selector, base: 0n, limit: 0, attributes: cpl << 5 };
}

const unusable = (selector: number): Segment => ({ selector, base: 0n, limit: 0, attributes: 0 });

/** A selector for SS at a privilege level: its descriptor, or undefined when null is allowed (SDM 3A 5.7). */
export function checkStack(
  cpu: CpuCore,
  selector: number,
  cpl: number,
  isLongCode: boolean,
  options: { vector?: number; external?: number } = {},
): Descriptor | undefined {
  const { vector = GP, external = 0 } = options;
  if (isNull(selector)) {
    if (isLongCode && cpl < 3 && (selector & 3) === cpl) return undefined;
    throw new Fault(vector, external);
  }
  const d = needDescriptor(cpu, selector, vector, external);
  if ((selector & 3) !== cpl || !isWritableData(d) || d.dpl !== cpl) throw new Fault(vector, codeOf(selector) | external);
  if (!d.isPresent) throw new Fault(SS, codeOf(selector) | external);
  return d;
}

/** Real mode has no descriptors: the selector gives the base, anything may be done, and the limit stays (SDM 3A 21.1). */
export function loadRealSegment(cpu: CpuCore, index: number, selector: number): void {
  const { attributes, limit } = cpu.state.getSegment(index);
  const size = attributes & ATTR_P ? { limit, attributes: attributes & (ATTR_DB | ATTR_G) } : { limit: 0xffff, attributes: 0 };
  cpu.state.setSegment(index, { selector, base: BigInt(selector) << 4n, limit: size.limit, attributes: size.attributes | REAL_DATA });
}

/** Loads ES, SS, DS, FS or GS from a selector, as MOV and POP do (SDM 3A 5.6-5.7). */
export function loadSegment(cpu: CpuCore, index: number, selector: number, isLongCode: boolean): void {
  const { state } = cpu;
  if (isRealMode(cpu)) loadRealSegment(cpu, index, selector);
  else if (index === SS_INDEX) {
    const d = checkStack(cpu, selector, state.cpl, isLongCode);
    if (d) markAccessed(cpu, d);
    state.setSegment(SS_INDEX, d ? toSegment(d) : nullStack(selector, state.cpl));
  } else if (isNull(selector)) state.setSegment(index, unusable(selector));
  else {
    const d = needDescriptor(cpu, selector);
    const isReadable = !d.isSystem && (!isCode(d) || (d.type & TYPE_READABLE) !== 0);
    const isAllowed = isConforming(d) || Math.max(selector & 3, state.cpl) <= d.dpl;
    if (!isReadable || !isAllowed) throw new Fault(GP, codeOf(selector));
    if (!d.isPresent) throw new Fault(NP, codeOf(selector));
    markAccessed(cpu, d);
    state.setSegment(index, toSegment(d));
  }
  cpu.modeChanged();
}

/** Returning to a less privileged level: data segments that it may not use become null (SDM 3A 5.8.6). */
export function dropDataSegments(cpu: CpuCore, cpl: number): void {
  for (const index of [ES_INDEX, DS_INDEX, FS_INDEX, GS_INDEX]) {
    const { attributes } = cpu.state.getSegment(index);
    const isNonconforming = (attributes & (ATTR_S | TYPE_CODE | TYPE_CONFORMING)) !== (ATTR_S | TYPE_CODE | TYPE_CONFORMING);
    if (attributes & ATTR_P && isNonconforming && ((attributes >> 5) & 3) < cpl) cpu.state.setSegment(index, unusable(0));
  }
}

/** A code segment of long mode must not have both L and D set. */
export function hasValidCodeSize(cpu: CpuCore, d: Descriptor): boolean {
  return !isLongMode(cpu) || (d.attributes & (ATTR_L | ATTR_DB)) !== (ATTR_L | ATTR_DB);
}

export function isLongCode(cpu: CpuCore, d: Descriptor): boolean {
  return isLongMode(cpu) && (d.attributes & ATTR_L) !== 0;
}

/** RIP for a code segment, or #GP(0): canonical in 64-bit code, within the limit elsewhere. */
export function checkTarget(cpu: CpuCore, d: Descriptor, offset: bigint, external = 0): void {
  const isGood = isLongCode(cpu, d) ? isCanonical(offset) : offset <= BigInt(d.limit);
  if (!isGood) throw new Fault(GP, external);
}

/** Loads CS from a checked descriptor with RPL = `cpl`; the caller loads SS, which holds the CPL, and RIP. */
export function setCodeSegment(cpu: CpuCore, d: Descriptor, cpl: number): void {
  cpu.state.setSegment(CS_INDEX, toSegment(d, (d.selector & ~3) | cpl));
}

/** The stack pointer of the mode just entered. */
export function setStackPointer(cpu: CpuCore, value: bigint): void {
  const rsp = 4;
  const { state } = cpu;
  if (isLongMode(cpu) && state.getSegment(CS_INDEX).attributes & ATTR_L) cpu.gpr[rsp] = value;
  else if (state.getSegment(SS_INDEX).attributes & ATTR_DB) cpu.gpr[rsp] = value & 0xffff_ffffn;
  else cpu.gpr[rsp] = (cpu.gpr[rsp]! & ~0xffffn) | (value & 0xffffn);
}

/** A field of the task state segment (SDM 3A 7.2, 7.7). */
export function readTss(cpu: CpuCore, offset: number, size: number, external = 0): bigint {
  const tss = cpu.state.getSegment(TR_INDEX);
  if (!(tss.attributes & ATTR_P) || offset + size - 1 > tss.limit) throw new Fault(TS, codeOf(tss.selector) | external);
  return cpu.mmu.read(BigInt.asUintN(64, tss.base + BigInt(offset)), size, false);
}

/** Where RSP0-2 are in the 64-bit task state segment. */
export const tssStack = (cpl: number): number => 4 + 8 * cpl;

export function segmentBase(cpu: CpuCore, index: number): bigint {
  return cpu.state.view.getBigUint64(L.SEG_BASE + 8 * index, true);
}
