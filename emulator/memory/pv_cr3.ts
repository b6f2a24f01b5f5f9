/**
 * The two L4 tables of a PV64 vCPU: one for kernel mode, one for user mode (0: none). Each is held as an L4. Who changes
 * the mode loads CR3 from here; who changes a table in use loads CR3 anew and flushes.
 */
import { defineSlot } from '../slot.ts';
import { hideM2p, isM2pStrict, showM2p } from './address_space.ts';
import { destroyLdt } from './descriptor_mapping.ts';
import type { MachineMemory } from './machine_memory.ts';
import type { MemoryVcpu, Refusal } from './memory_domain.ts';
import { PGT_l4_page_table } from './page_type.ts';
import { getPageAndType, putPageAndType } from './page_types.ts';

export interface PvCr3 {
  kernelMfn: number;
  userMfn: number;
}

export const pvCr3 = defineSlot<MemoryVcpu, PvCr3>(() => ({ kernelMfn: 0, userMfn: 0 }), { name: 'memory.pv_cr3' });

/** xen new_guest_cr3; a TLB flush follows, whatever the table. */
export function setKernelTable(memory: MachineMemory, vcpu: MemoryVcpu, mfn: number): Refusal | undefined {
  const tables = pvCr3.of(vcpu);
  const old = tables.kernelMfn;
  if (mfn === old) return undefined;
  const refusal = getPageAndType(memory, mfn, PGT_l4_page_table, vcpu.domain.id);
  if (refusal !== undefined) return refusal;
  destroyLdt(memory, vcpu);
  if (!isM2pStrict(vcpu.domain)) showM2p(memory, mfn);
  tables.kernelMfn = mfn;
  if (old !== 0) putPageAndType(memory, old);
  return undefined;
}

/** MMUEXT_NEW_USER_BASEPTR; 0 takes the user tables away. */
export function setUserTable(memory: MachineMemory, vcpu: MemoryVcpu, mfn: number): Refusal | undefined {
  const tables = pvCr3.of(vcpu);
  const old = tables.userMfn;
  if (mfn === old) return undefined;
  if (mfn !== 0) {
    const refusal = getPageAndType(memory, mfn, PGT_l4_page_table, vcpu.domain.id);
    if (refusal !== undefined) return refusal;
    if (isM2pStrict(vcpu.domain)) hideM2p(memory, mfn);
  }
  tables.userMfn = mfn;
  if (old !== 0) putPageAndType(memory, old);
  return undefined;
}

/** The vCPU holds no tables any more: it is reset or its domain is gone. */
export function releaseTables(memory: MachineMemory, vcpu: MemoryVcpu): void {
  const tables = pvCr3.of(vcpu);
  if (tables.kernelMfn !== 0) putPageAndType(memory, tables.kernelMfn);
  if (tables.userMfn !== 0) putPageAndType(memory, tables.userMfn);
  tables.kernelMfn = 0;
  tables.userMfn = 0;
}
