/**
 * #PF of a PV64 guest: what ring -1 fixes up by itself before the guest hears of it (xen:arch/x86/traps.c
 * fixup_page_fault): the LDT's lazy mapping and writes to read-only page tables.
 */
import { isCanonical } from '../../hypercalls/pv_cpu/canonical.ts';
import { pvVcpu } from '../../hypercalls/pv_cpu/state.ts';
import type { Exit } from '../cpu/exit.ts';
import { GDT_VIRT_START, LDT_VIRT_START } from '../memory/address_space.ts';
import { descriptorTables, mapLdtOnFault } from '../memory/descriptor_mapping.ts';
import { isHypervisorAddress } from '../memory/guest_walk.ts';
import type { Vcpu } from '../vcpu.ts';
import { inject, injectPageFault, PFEC_FETCH, PFEC_PRESENT, PFEC_RESERVED, PFEC_USER, PFEC_WRITE } from './bounce.ts';
import { writePageTable } from './page_table_write.ts';
import type { TrapHost } from './trap_host.ts';

const VMASST_TYPE_writable_pagetables = 2n;
const VECTOR_GP = 13;
const DIRECTMAP_VIRT_START = 0xffff_8300_0000_0000n;
/** Bytes of each of the GDT and the LDT. */
const TABLE_SIZE = 0x1_0000n;
const TABLE_INDICATOR = 4;

/** Deals with the fault; the exit of an emulated instruction that itself ended in something else is handed on. */
export function handlePageFault(host: TrapHost, vcpu: Vcpu, errorCode: number, cr2: bigint): Exit | undefined {
  if (isHypervisorAddress(cr2)) {
    handleHypervisorAddress(host, vcpu, errorCode, cr2);
    return undefined;
  }
  const isProtectedWrite = (errorCode & (PFEC_PRESENT | PFEC_WRITE | PFEC_RESERVED | PFEC_FETCH)) === (PFEC_PRESENT | PFEC_WRITE);
  // The initial domain needs no assist for it: the same emulation serves its read-only I/O pages (xen:arch/x86/traps.c).
  const hasAssist = vcpu.domain.isInitial || ((vcpu.domain.vmAssist >> VMASST_TYPE_writable_pagetables) & 1n) !== 0n;
  if (isProtectedWrite && hasAssist && pvVcpu.of(vcpu).inKernelMode) {
    const exit = writePageTable(host, vcpu, cr2);
    if (exit !== undefined) return exit;
  }
  injectPageFault(host, vcpu, errorCode, cr2);
  return undefined;
}

function handleHypervisorAddress(host: TrapHost, vcpu: Vcpu, errorCode: number, cr2: bigint): void {
  // A table read by the CPU itself, for a segment load, is no user access.
  if (!(errorCode & (PFEC_USER | PFEC_RESERVED))) {
    const inGdt = cr2 - GDT_VIRT_START(vcpu.id);
    const inLdt = cr2 - LDT_VIRT_START(vcpu.id);
    if (inGdt >= 0n && inGdt < TABLE_SIZE) {
      inject(host, vcpu, VECTOR_GP, Number(inGdt) & ~7);
      return;
    }
    if (inLdt >= 0n && inLdt < TABLE_SIZE) {
      handleLdt(host, vcpu, errorCode, Number(inLdt));
      return;
    }
  }
  // Xen maps all RAM there, out of the guest's reach.
  const inDirectmap = cr2 >= DIRECTMAP_VIRT_START && cr2 < DIRECTMAP_VIRT_START + BigInt(host.memory.bytes.length);
  injectPageFault(host, vcpu, inDirectmap ? errorCode | PFEC_PRESENT : errorCode, cr2);
}

function handleLdt(host: TrapHost, vcpu: Vcpu, errorCode: number, offset: number): void {
  if (mapLdtOnFault(host.memory, vcpu, offset)) {
    host.cpu.flushTlbPage(LDT_VIRT_START(vcpu.id) + BigInt(offset));
    return;
  }
  const vaddr = descriptorTables.of(vcpu).ldtBase + BigInt(offset);
  if (isCanonical(vaddr)) injectPageFault(host, vcpu, errorCode, vaddr);
  else inject(host, vcpu, VECTOR_GP, (offset & ~7) | TABLE_INDICATOR);
}
