/** The sub-operations of mmuext_op, each on one element of the batch (xen:arch/x86/mm.c do_mmuext_op). */
import { descriptorTables, setLdt } from '../../emulator/memory/descriptor_mapping.ts';
import { isGuestAddress } from '../../emulator/memory/guest_walk.ts';
import { FRAME_PINNED, PAGE_SIZE } from '../../emulator/memory/machine_memory.ts';
import { type PageTableType, PGT_l1_page_table, PGT_writable_page } from '../../emulator/memory/page_type.ts';
import { getPageAndType, getPageType, putPageAndType } from '../../emulator/memory/page_types.ts';
import { setKernelTable, setUserTable } from '../../emulator/memory/pv_cr3.ts';
import { mmuextCmds as cmds } from '../abi/mmu.ts';
import type { Call } from '../call.ts';
import { loadLdtr } from '../pv_cpu/segment_load.ts';
import { flushOwnTlb, flushPage, flushTlbs, hasVcpuInMask } from './flush.ts';

export type MmuextErrno = 'EINVAL' | 'EPERM' | 'EBUSY' | 'EACCES' | 'ENOMEM' | 'ENOSYS' | 'EOPNOTSUPP';
type Outcome = MmuextErrno | undefined;

interface Element {
  readonly cmd: number;
  readonly arg1: bigint;
  readonly arg2: bigint;
}

/** An mfn of the guest's: anything too big is no frame. */
const mfnOf = (value: bigint): number => (value < 1n << 40n ? Number(value) : -1);

export function performMmuext(call: Call, { cmd, arg1, arg2 }: Element, pgOwner: number): Outcome {
  if (call.domain.type === 'pvh') return 'EINVAL';
  const isOwn = pgOwner === call.domain.id;
  switch (cmd) {
    case cmds.MMUEXT_PIN_L1_TABLE:
    case cmds.MMUEXT_PIN_L2_TABLE:
    case cmds.MMUEXT_PIN_L3_TABLE:
    case cmds.MMUEXT_PIN_L4_TABLE:
      return pin(call, mfnOf(arg1), (PGT_l1_page_table + cmd) as PageTableType, pgOwner);
    case cmds.MMUEXT_UNPIN_TABLE:
      return unpin(call, mfnOf(arg1), pgOwner);
    case cmds.MMUEXT_CLEAR_PAGE:
      return writePage(call, mfnOf(arg1), pgOwner, (page) => page.fill(0));
    case cmds.MMUEXT_COPY_PAGE:
      return copyPage(call, mfnOf(arg1), mfnOf(arg2), pgOwner);
    case cmds.MMUEXT_MARK_SUPER:
    case cmds.MMUEXT_UNMARK_SUPER:
      return 'EOPNOTSUPP';
    case cmds.MMUEXT_NEW_BASEPTR:
    case cmds.MMUEXT_NEW_USER_BASEPTR:
    case cmds.MMUEXT_TLB_FLUSH_LOCAL:
    case cmds.MMUEXT_INVLPG_LOCAL:
    case cmds.MMUEXT_TLB_FLUSH_MULTI:
    case cmds.MMUEXT_INVLPG_MULTI:
    case cmds.MMUEXT_TLB_FLUSH_ALL:
    case cmds.MMUEXT_INVLPG_ALL:
    case cmds.MMUEXT_FLUSH_CACHE:
    case cmds.MMUEXT_FLUSH_CACHE_GLOBAL:
    case cmds.MMUEXT_SET_LDT:
      return isOwn ? performOnSelf(call, cmd, arg1, arg2) : 'EPERM';
    default:
      return 'ENOSYS';
  }
}

function performOnSelf(call: Call, cmd: number, arg1: bigint, arg2: bigint): Outcome {
  const { host, vcpu, domain } = call;
  switch (cmd) {
    case cmds.MMUEXT_NEW_BASEPTR: {
      const refusal = setKernelTable(host.memory, vcpu, mfnOf(arg1));
      if (refusal !== undefined) return refusal;
      host.cpu.cr3 = arg1 << 12n;
      flushOwnTlb(call);
      return undefined;
    }
    case cmds.MMUEXT_NEW_USER_BASEPTR:
      return setUserTable(host.memory, vcpu, mfnOf(arg1));
    case cmds.MMUEXT_TLB_FLUSH_LOCAL:
      flushOwnTlb(call);
      return undefined;
    case cmds.MMUEXT_TLB_FLUSH_ALL:
      flushTlbs(call);
      return undefined;
    case cmds.MMUEXT_INVLPG_LOCAL:
    case cmds.MMUEXT_INVLPG_ALL:
      flushPage(call, arg1, cmd === cmds.MMUEXT_INVLPG_LOCAL);
      return undefined;
    case cmds.MMUEXT_TLB_FLUSH_MULTI:
    case cmds.MMUEXT_INVLPG_MULTI: {
      const hasVcpu = hasVcpuInMask(call, arg2);
      if (hasVcpu === undefined) return 'EINVAL';
      if (hasVcpu && cmd === cmds.MMUEXT_TLB_FLUSH_MULTI) flushTlbs(call);
      else if (hasVcpu) flushPage(call, arg1, false);
      return undefined;
    }
    case cmds.MMUEXT_FLUSH_CACHE:
      return domain.isInitial ? undefined : 'EACCES';
    case cmds.MMUEXT_FLUSH_CACHE_GLOBAL:
      return domain.isInitial ? undefined : 'EINVAL';
    default:
      return loadLdt(call, arg1, Number(arg2 & 0xffff_ffffn));
  }
}

function pin(call: Call, mfn: number, type: PageTableType, pgOwner: number): Outcome {
  const { memory } = call.host;
  const refusal = getPageAndType(memory, mfn, type, pgOwner);
  if (refusal !== undefined) return refusal;
  if (memory.flags[mfn]! & FRAME_PINNED) {
    putPageAndType(memory, mfn);
    return 'EINVAL';
  }
  memory.flags[mfn]! |= FRAME_PINNED;
  return undefined;
}

function unpin(call: Call, mfn: number, pgOwner: number): Outcome {
  const { memory } = call.host;
  if (!memory.getPage(mfn, pgOwner)) return 'EINVAL';
  const isPinned = (memory.flags[mfn]! & FRAME_PINNED) !== 0;
  if (isPinned) {
    memory.flags[mfn]! &= ~FRAME_PINNED;
    putPageAndType(memory, mfn);
  }
  memory.putPage(mfn);
  return isPinned ? undefined : 'EINVAL';
}

/** Changes a page that the guest may itself write. */
function writePage(call: Call, mfn: number, pgOwner: number, write: (page: Uint8Array) => void): Outcome {
  const { memory } = call.host;
  if (!memory.getPage(mfn, pgOwner)) return 'EINVAL';
  if (getPageType(memory, mfn, PGT_writable_page) !== undefined) {
    memory.putPage(mfn);
    return 'EINVAL';
  }
  write(memory.frameBytes(mfn));
  memory.written(mfn * PAGE_SIZE, PAGE_SIZE);
  putPageAndType(memory, mfn);
  return undefined;
}

function copyPage(call: Call, mfn: number, source: number, pgOwner: number): Outcome {
  const { memory } = call.host;
  if (!memory.getPage(source, pgOwner)) return 'EINVAL';
  const outcome = writePage(call, mfn, pgOwner, (page) => page.set(memory.frameBytes(source)));
  memory.putPage(source);
  return outcome;
}

/** MMUEXT_SET_LDT: LDTR points at the vCPU's LDT area, whose pages are mapped as the CPU reaches them. */
function loadLdt(call: Call, linearAddress: bigint, entries: number): Outcome {
  const { host, vcpu } = call;
  const vaddr = entries === 0 ? 0n : linearAddress;
  if (vaddr & 0xfffn || !isGuestAddress(vaddr) || entries > 8192) return 'EINVAL';
  const tables = descriptorTables.of(vcpu);
  if (tables.ldtEntries === entries && tables.ldtBase === vaddr) return undefined;
  setLdt(host.memory, vcpu, vaddr, entries);
  loadLdtr(host, vcpu);
  return undefined;
}
