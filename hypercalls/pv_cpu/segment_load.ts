/**
 * Loading segment registers on a guest's behalf: what IRET and MOV GS would do at CPL 0 with the guest's selectors, and
 * the fault they would raise (SDM 2A IRET, SDM 3A 5.7). The CPU's own loads go through the same tables.
 */
import type { Segment } from '../../emulator/cpu/interface.ts';
import type { Host } from '../../emulator/host.ts';
import { LDT_VIRT_START } from '../../emulator/memory/address_space.ts';
import { descriptorTables, mapLdtOnFault } from '../../emulator/memory/descriptor_mapping.ts';
import type { Vcpu } from '../../emulator/vcpu.ts';
import {
  nullSegment,
  SEGMENT_DB,
  SEGMENT_DPL_MASK,
  SEGMENT_L,
  SEGMENT_P,
  SEGMENT_S,
  SEGMENT_TYPE_CODE,
  SEGMENT_TYPE_CONFORMING,
  SEGMENT_TYPE_WRITABLE,
  segmentOf,
} from './selectors.ts';

/** The fault that a load would raise; its error code names the selector. */
export interface SegmentFault {
  readonly vector: number;
  readonly errorCode: number;
}

const VECTOR_NP = 11;
const VECTOR_SS = 12;
const VECTOR_GP = 13;
const DPL3 = 3 << 5;
const LDT_SELECTOR = 0xe050;
/** A present LDT. */
const LDT_ATTRIBUTES = 0x82;

/** The descriptor that `selector` names, undefined beyond the table's limit or where the table cannot be read. */
export function readDescriptor(host: Host, vcpu: Vcpu, selector: number): bigint | undefined {
  const { cpu } = host;
  const offset = selector & ~7;
  let vaddr: bigint;
  if (selector & 4) {
    if (selector >>> 3 >= descriptorTables.of(vcpu).ldtEntries) return undefined;
    vaddr = LDT_VIRT_START(vcpu.id) + BigInt(offset);
    if (!cpu.translate(vaddr, 'read', false).ok) mapLdtOnFault(host.memory, vcpu, offset);
  } else {
    if (offset + 7 > cpu.gdtr.limit) return undefined;
    vaddr = cpu.gdtr.base + BigInt(offset);
  }
  const translation = cpu.translate(vaddr, 'read', false);
  return translation.ok ? host.memory.view.getBigUint64(translation.maddr, true) : undefined;
}

const fault = (vector: number, selector: number): SegmentFault => ({ vector, errorCode: selector & ~3 });

/** CS as IRET to ring 3 would load it. */
export function loadCodeSegment(host: Host, vcpu: Vcpu, selector: number): Segment | SegmentFault {
  const descriptor = selector < 4 ? undefined : readDescriptor(host, vcpu, selector);
  if (descriptor === undefined) return fault(VECTOR_GP, selector);
  const segment = segmentOf(selector, descriptor);
  const { attributes } = segment;
  const isCode = (attributes & (SEGMENT_S | SEGMENT_TYPE_CODE)) === (SEGMENT_S | SEGMENT_TYPE_CODE);
  const isForRing3 = (attributes & SEGMENT_TYPE_CONFORMING) !== 0 || (attributes & SEGMENT_DPL_MASK) === DPL3;
  if (!isCode || !isForRing3 || (attributes & SEGMENT_L && attributes & SEGMENT_DB)) return fault(VECTOR_GP, selector);
  return attributes & SEGMENT_P ? segment : fault(VECTOR_NP, selector);
}

/** SS as IRET to ring 3 would load it. A null SS is refused there. */
export function loadStackSegment(host: Host, vcpu: Vcpu, selector: number): Segment | SegmentFault {
  const descriptor = selector < 4 ? undefined : readDescriptor(host, vcpu, selector);
  if (descriptor === undefined) return fault(VECTOR_GP, selector);
  const segment = segmentOf(selector, descriptor);
  const needed = SEGMENT_S | SEGMENT_TYPE_WRITABLE | DPL3;
  if ((segment.attributes & (needed | SEGMENT_TYPE_CODE)) !== needed) return fault(VECTOR_GP, selector);
  return segment.attributes & SEGMENT_P ? segment : fault(VECTOR_SS, selector);
}

/** A data segment register loaded at CPL 0 with RPL 3; `selector` is not null. */
export function loadDataSegment(host: Host, vcpu: Vcpu, selector: number): Segment | undefined {
  const descriptor = readDescriptor(host, vcpu, selector);
  if (descriptor === undefined) return undefined;
  const segment = segmentOf(selector, descriptor);
  const { attributes } = segment;
  if ((attributes & (SEGMENT_S | SEGMENT_P)) !== (SEGMENT_S | SEGMENT_P)) return undefined;
  const isCode = (attributes & SEGMENT_TYPE_CODE) !== 0;
  if (isCode && !(attributes & SEGMENT_TYPE_WRITABLE)) return undefined;
  if (!(isCode && attributes & SEGMENT_TYPE_CONFORMING) && (attributes & SEGMENT_DPL_MASK) !== DPL3) return undefined;
  return segment;
}

/** LDTR as the vCPU's last MMUEXT_SET_LDT left it; the core's copy must follow. */
export function loadLdtr(host: Host, vcpu: Vcpu): void {
  const entries = descriptorTables.of(vcpu).ldtEntries;
  host.cpu.setSegment(
    'ldtr',
    entries === 0
      ? nullSegment(0)
      : { selector: LDT_SELECTOR, base: LDT_VIRT_START(vcpu.id), limit: entries * 8 - 1, attributes: LDT_ATTRIBUTES },
  );
}
