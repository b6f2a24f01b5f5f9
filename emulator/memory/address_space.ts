/**
 * Ring -1's part of every PV64 address space, L4 slots 256-271 (xen:arch/x86/include/asm/config.h). Slot 256 is the
 * read-only machine-to-physical table, slot 260 the per-domain area, which here holds each vCPU's GDT and LDT as the CPU
 * reads them. The other slots are as in Xen, for the supervisor, because the P bit of a guest's page fault there shows
 * them: 258 the page tables themselves, 262 all RAM, 257 and 261 nothing. Their page tables are ring -1's frames; guests
 * can neither write nor replace them.
 */
import { defineSlot } from '../slot.ts';
import { INVALID_M2P_ENTRY, type MachineMemory, OWNER_RING, PAGE_SIZE } from './machine_memory.ts';
import type { MemoryDomain, MemoryVcpu } from './memory_domain.ts';
import * as pte from './pte.ts';
import { FIRST_RESERVED_GDT_PAGE } from './segment_descriptor.ts';

export const PERDOMAIN_VIRT_START = 0xffff_8200_0000_0000n;
const L4_SLOT_M2P = 256;
const L4_SLOT_MMCFG = 257;
const L4_SLOT_LINEAR = 258;
const L4_SLOT_PERDOMAIN = 260;
const L4_SLOT_XEN = 261;
const L4_SLOT_DIRECTMAP = 262;
const VMASST_TYPE_m2p_strict = 32n;

/** Pages of the GDT and LDT area of one vCPU: 16 of GDT, then 16 of LDT. */
const GDT_LDT_PAGES = 32;
const LDT_FIRST_PAGE = 16;
/** GDTR.limit of a PV guest: its own 14 pages and ring -1's one. */
export const LAST_RESERVED_GDT_BYTE = (FIRST_RESERVED_GDT_PAGE + 1) * PAGE_SIZE - 1;
const TABLE_FLAGS = pte.PAGE_PRESENT | pte.PAGE_RW | pte.PAGE_ACCESSED | pte.PAGE_DIRTY;
const USER_READ_FLAGS = pte.PAGE_PRESENT | pte.PAGE_USER | pte.PAGE_ACCESSED;

export function GDT_VIRT_START(vcpuId: number): bigint {
  return PERDOMAIN_VIRT_START + BigInt(vcpuId * GDT_LDT_PAGES * PAGE_SIZE);
}

export function LDT_VIRT_START(vcpuId: number): bigint {
  return GDT_VIRT_START(vcpuId) + BigInt(LDT_FIRST_PAGE * PAGE_SIZE);
}

/** Descriptors of ring -1 in page 14 of every GDT, by selector (xen:public/arch-x86/xen-x86_64.h FLAT_*). */
const RESERVED_DESCRIPTORS: readonly (readonly [selector: number, descriptor: bigint])[] = [
  [0xe008, 0x00af_9b00_0000_ffffn], // __HYPERVISOR_CS
  [0xe010, 0x00cf_9300_0000_ffffn], // __HYPERVISOR_DS
  [0xe020, 0x00cf_fb00_0000_ffffn], // FLAT_RING3_CS32, with RPL 3
  [0xe028, 0x00cf_f300_0000_ffffn], // FLAT_RING3_SS64
  [0xe030, 0x00af_fb00_0000_ffffn], // FLAT_RING3_CS64
  [0xe038, 0x00cf_9b00_0000_ffffn], // __HYPERVISOR_CS32
];

const sharedTables = defineSlot(
  (memory: MachineMemory) => ({
    m2pL3: buildM2pTables(memory),
    directmapL3: buildDirectmap(memory),
    reservedGdt: buildReservedGdt(memory),
    /** What GDT pages without a guest frame show, and a table without entries. */
    zero: allocateTable(memory),
  }),
  { name: 'memory.shared_tables', isTransient: true },
);

interface PerdomainArea {
  readonly l3: number;
  readonly l2: number;
  /** By 16 vCPUs one L1. */
  readonly l1: number[];
}

const perdomainAreas = defineSlot<MemoryDomain, { area: PerdomainArea | undefined }>(() => ({ area: undefined }), {
  name: 'memory.perdomain_area',
  isTransient: true,
});

function allocateTable(memory: MachineMemory): number {
  const mfn = memory.allocate(OWNER_RING);
  if (mfn < 0) throw new Error('out of machine memory for ring -1 itself');
  return mfn;
}

function writeEntry(memory: MachineMemory, table: number, slot: number, entry: bigint): void {
  const maddr = table * PAGE_SIZE + slot * 8;
  memory.view.setBigUint64(maddr, entry, true);
  memory.written(maddr, 8);
}

function buildReservedGdt(memory: MachineMemory): number {
  const mfn = allocateTable(memory);
  for (const [selector, descriptor] of RESERVED_DESCRIPTORS) {
    memory.view.setBigUint64(mfn * PAGE_SIZE + (selector & 0xff8), descriptor, true);
  }
  return mfn;
}

/** Machine frames beyond the RAM read as invalid up to the border of the last 2 MiB of table, and fault from there on. */
function buildM2pTables(memory: MachineMemory): number {
  const l3 = allocateTable(memory);
  const beyond = allocateTable(memory);
  memory.frameBytes(beyond).fill(Number(INVALID_M2P_ENTRY & 0xffn));
  let l2 = -1;
  for (let l1Index = 0; l1Index * 512 < memory.m2pFrames; l1Index++) {
    if (l1Index % 512 === 0) {
      l2 = allocateTable(memory);
      writeEntry(memory, l3, l1Index / 512, pte.entryOf(l2, USER_READ_FLAGS));
    }
    const l1 = allocateTable(memory);
    writeEntry(memory, l2, l1Index % 512, pte.entryOf(l1, USER_READ_FLAGS));
    for (let slot = 0; slot < 512; slot++) {
      const page = l1Index * 512 + slot;
      writeEntry(memory, l1, slot, pte.entryOf(page < memory.m2pFrames ? memory.m2pMfn + page : beyond, USER_READ_FLAGS | pte.PAGE_NX));
    }
  }
  return l3;
}

/** In pages of 1 GiB. */
function buildDirectmap(memory: MachineMemory): number {
  const l3 = allocateTable(memory);
  for (let slot = 0; slot * 2 ** 18 < memory.frameCount; slot++) {
    writeEntry(memory, l3, slot, pte.entryOf(slot * 2 ** 18, pte.PAGE_HYPERVISOR_RW | pte.PAGE_PSE));
  }
  return l3;
}

function areaOf(memory: MachineMemory, domain: MemoryDomain): PerdomainArea {
  const slot = perdomainAreas.of(domain);
  if (slot.area === undefined) {
    const area: PerdomainArea = { l3: allocateTable(memory), l2: allocateTable(memory), l1: [] };
    writeEntry(memory, area.l3, 0, pte.entryOf(area.l2, TABLE_FLAGS));
    slot.area = area;
  }
  return slot.area;
}

function perdomainL1(memory: MachineMemory, domain: MemoryDomain, vcpuId: number): number {
  const area = areaOf(memory, domain);
  const index = Math.floor((vcpuId * GDT_LDT_PAGES) / 512);
  let l1 = area.l1[index];
  if (l1 === undefined) {
    l1 = allocateTable(memory);
    area.l1[index] = l1;
    writeEntry(memory, area.l2, index, pte.entryOf(l1, TABLE_FLAGS));
  }
  return l1;
}

/** Gives the vCPU its GDT area: empty guest pages, and ring -1's descriptors behind them. Before its first instruction. */
export function prepareVcpuArea(memory: MachineMemory, vcpu: MemoryVcpu): void {
  for (let page = 0; page < FIRST_RESERVED_GDT_PAGE; page++) mapGdtPage(memory, vcpu, page, -1);
  mapGdtPage(memory, vcpu, FIRST_RESERVED_GDT_PAGE, sharedTables.of(memory).reservedGdt);
}

/** Shows the frame as page `page` of the vCPU's GDT; -1: an empty page. Flushing is the caller's. */
export function mapGdtPage(memory: MachineMemory, vcpu: MemoryVcpu, page: number, mfn: number): void {
  const entry = mfn < 0 ? pte.entryOf(sharedTables.of(memory).zero, pte.PAGE_HYPERVISOR_RO) : pte.entryOf(mfn, pte.PAGE_HYPERVISOR_RW);
  writeEntry(memory, perdomainL1(memory, vcpu.domain, vcpu.id), ((vcpu.id * GDT_LDT_PAGES) % 512) + page, entry);
}

/** Shows the frame as page `page` of the vCPU's LDT; -1: none, an access faults. Flushing is the caller's. */
export function mapLdtPage(memory: MachineMemory, vcpu: MemoryVcpu, page: number, mfn: number): void {
  const slot = ((vcpu.id * GDT_LDT_PAGES) % 512) + LDT_FIRST_PAGE + page;
  writeEntry(memory, perdomainL1(memory, vcpu.domain, vcpu.id), slot, mfn < 0 ? 0n : pte.entryOf(mfn, pte.PAGE_HYPERVISOR_RW));
}

export function isM2pStrict(domain: MemoryDomain): boolean {
  return ((domain.vmAssist >> VMASST_TYPE_m2p_strict) & 1n) !== 0n;
}

/**
 * Ring -1's slots of a table that becomes an L4. Whether the M2P is there depends on m2p_strict: with it from now on until
 * the table is used for user mode, else from when the table is first used for kernel mode.
 */
export function fillHypervisorSlots(memory: MachineMemory, l4: number, domain: MemoryDomain): void {
  for (let slot = 256; slot <= 271; slot++) writeEntry(memory, l4, slot, 0n);
  const { directmapL3, zero } = sharedTables.of(memory);
  writeEntry(memory, l4, L4_SLOT_MMCFG, pte.entryOf(zero, TABLE_FLAGS));
  writeEntry(memory, l4, L4_SLOT_LINEAR, pte.entryOf(l4, pte.PAGE_HYPERVISOR_RW));
  writeEntry(memory, l4, L4_SLOT_PERDOMAIN, pte.entryOf(areaOf(memory, domain).l3, pte.PAGE_HYPERVISOR_RW));
  writeEntry(memory, l4, L4_SLOT_XEN, pte.entryOf(zero, TABLE_FLAGS));
  writeEntry(memory, l4, L4_SLOT_DIRECTMAP, pte.entryOf(directmapL3, pte.PAGE_HYPERVISOR_RW));
  if (isM2pStrict(domain)) showM2p(memory, l4);
}

export function showM2p(memory: MachineMemory, l4: number): void {
  writeEntry(memory, l4, L4_SLOT_M2P, pte.entryOf(sharedTables.of(memory).m2pL3, USER_READ_FLAGS | pte.PAGE_NX));
}

export function hideM2p(memory: MachineMemory, l4: number): void {
  writeEntry(memory, l4, L4_SLOT_M2P, 0n);
}

/** An L4 of a domain that was saved on another machine: ring -1's slots lead to the tables of this one. */
export function refillHypervisorSlots(memory: MachineMemory, l4: number, domain: MemoryDomain): void {
  const hadM2p = memory.view.getUint8(l4 * PAGE_SIZE + L4_SLOT_M2P * 8) & 1;
  fillHypervisorSlots(memory, l4, domain);
  if (hadM2p) showM2p(memory, l4);
  else hideM2p(memory, l4);
}

/** Frees the per-domain area of a domain that is gone. */
export function releasePerdomainArea(memory: MachineMemory, domain: MemoryDomain): void {
  const slot = perdomainAreas.of(domain);
  if (slot.area === undefined) return;
  for (const mfn of [slot.area.l3, slot.area.l2, ...slot.area.l1]) if (mfn !== undefined) memory.putPage(mfn);
  slot.area = undefined;
}
