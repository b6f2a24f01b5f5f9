/** Handlers of mmu_update, mmuext_op and update_va_mapping; the rules are in emulator/memory. */
import { findL1Entry } from '../../emulator/memory/guest_walk.ts';
import { type MachineMemory, PAGE_SHIFT, PAGE_SIZE } from '../../emulator/memory/machine_memory.ts';
import { AD_FLAGS, updateEntry } from '../../emulator/memory/page_table_update.ts';
import { PGT_l1_page_table, PGT_writable_page } from '../../emulator/memory/page_type.ts';
import { getPageType, isLivePageTable, putPageType } from '../../emulator/memory/page_types.ts';
import { halvesOf } from '../../emulator/memory/pte.ts';
import * as abi from '../abi/mmu.ts';
import { type Call, structWords } from '../call.ts';
import { implement } from '../implement.ts';
import { countDone } from './batch_done.ts';
import { flushOwnTlb, flushPage, flushTlbs, hasVcpuInMask } from './flush.ts';
import { performMmuext } from './mmuext.ts';
import { findPageOwner, mayActOn, mayMapFrom } from './page_owner.ts';

type UpdateErrno = 'EINVAL' | 'EPERM' | 'EBUSY' | 'EACCES' | 'ENOMEM' | 'ENOSYS';

/** Whose page tables are meant by the upper half of `foreigndom`. */
function findTableOwner({ host, domain }: Call, upper: number): number | 'ESRCH' | 'EINVAL' {
  if (upper === 0) return domain.id;
  const owner = host.domains.get(upper - 1);
  if (owner === undefined) return 'ESRCH';
  return owner !== domain && owner.vcpus.length === 0 && !owner.isInitial ? 'EINVAL' : owner.id;
}

/** Of the mmu_update that runs: domids of the page tables' and of the frames' owner. */
let tableOwner: number;
let frameOwner: number;
/** Whether the caller may have it. */
let isPermitted: boolean;
/** A maddr beyond 32 bits lies in no frame. */
const NO_FRAME = -1;
const PTR = abi.mmu_update_t.offset.ptr >> 2;
const VAL = abi.mmu_update_t.offset.val >> 2;

const mmuUpdate = implement(abi.mmu_update, {
  begin(call, registers) {
    const found = findTableOwner(call, registers.foreigndom >>> 16);
    if (typeof found === 'string') return found;
    const frames = findPageOwner(call.host, call.domain, registers.foreigndom & 0xffff);
    if (frames === undefined) {
      countDone(call, registers, 0);
      return 'ESRCH';
    }
    tableOwner = found;
    frameOwner = frames;
    isPermitted = mayMapFrom(call.domain, frames) && mayActOn(call.domain, found);
  },
  each(call, element) {
    const low = structWords[PTR]!;
    const mfn = structWords[PTR + 1] === 0 ? low >>> PAGE_SHIFT : NO_FRAME;
    const cmd = low & 7;
    switch (cmd) {
      case abi.MMU_NORMAL_PT_UPDATE:
      case abi.MMU_PT_UPDATE_NO_TRANSLATE:
        return updateTable(call, mfn, (low & 0xfff) - cmd, 0);
      case abi.MMU_PT_UPDATE_PRESERVE_AD:
        return updateTable(call, mfn, (low & 0xfff) - cmd, AD_FLAGS);
      case abi.MMU_MACHPHYS_UPDATE:
        return updateMachphys(call, mfn, element.val);
      default:
        return 'ENOSYS';
    }
  },
  end: countDone,
});

/** xen get_page, for as long as nothing gives the page up. */
const isOwnedBy = (memory: MachineMemory, mfn: number, domid: number): boolean => memory.isFrame(mfn) && memory.owner[mfn] === domid;

/** Writes what the update has to `offset` of the frame; `kept`: flags that a page-table entry there keeps. */
function updateTable({ host }: Call, mfn: number, offset: number, kept: number): UpdateErrno | undefined {
  const { memory } = host;
  if (isPermitted !== true) return 'EPERM';
  if (!isOwnedBy(memory, mfn, tableOwner)) return 'EINVAL';
  const maddr = mfn * PAGE_SIZE + offset;
  if (isLivePageTable(memory, mfn)) {
    if (frameOwner !== tableOwner && memory.type[mfn] !== PGT_l1_page_table) return 'EINVAL';
    return updateEntry(memory, maddr, structWords[VAL]!, structWords[VAL + 1]!, frameOwner, kept, false);
  }
  if (getPageType(memory, mfn, PGT_writable_page) !== undefined) return 'EINVAL';
  memory.view.setInt32(maddr, structWords[VAL]!, true);
  memory.view.setInt32(maddr + 4, structWords[VAL + 1]!, true);
  memory.written(maddr, 8);
  putPageType(memory, mfn);
  return undefined;
}

function updateMachphys(call: Call, mfn: number, pfn: bigint): UpdateErrno | undefined {
  const { memory } = call.host;
  if (tableOwner !== call.domain.id || !mayMapFrom(call.domain, frameOwner)) return 'EPERM';
  if (!memory.getPage(mfn, frameOwner)) return 'EINVAL';
  memory.setM2p(mfn, pfn);
  memory.putPage(mfn);
  return undefined;
}

const mmuextOp = implement(abi.mmuext_op, {
  begin(call, { foreigndom }) {
    const pgOwner = findPageOwner(call.host, call.domain, foreigndom & 0xffff);
    if (pgOwner === undefined) return 'ESRCH';
    if (call.host.domains.get(pgOwner)?.type === 'pvh') return 'EINVAL';
    return mayActOn(call.domain, pgOwner) ? undefined : 'EPERM';
  },
  each(call, element, { foreigndom }) {
    const pgOwner = findPageOwner(call.host, call.domain, foreigndom & 0xffff);
    return pgOwner === undefined ? 'ESRCH' : performMmuext(call, element, pgOwner);
  },
  end: countDone,
});

const updateVaMapping = implement(abi.update_va_mapping, (call, { va, val, flags }) => mapVa(call, va, val, flags, call.domain.id));

const updateVaMappingOtherdomain = implement(abi.update_va_mapping_otherdomain, (call, { va, val, flags, domid }) => {
  const pgOwner = findPageOwner(call.host, call.domain, domid);
  return pgOwner === undefined ? 'ESRCH' : mapVa(call, va, val, flags, pgOwner);
});

function mapVa(call: Call, va: bigint, val: bigint, flags: bigint, pgOwner: number) {
  const { host, vcpu, domain } = call;
  const { memory } = host;
  if (!mayActOn(domain, pgOwner)) return 'EPERM';
  const found = findL1Entry(memory, vcpu, va);
  if (found === undefined || memory.owner[found.tableMfn] !== domain.id) return 'EINVAL';
  if (!isLivePageTable(memory, found.tableMfn) || memory.type[found.tableMfn] !== PGT_l1_page_table) return 'EINVAL';
  const { low, high } = halvesOf(val);
  const refusal = updateEntry(memory, found.maddr, low, high, pgOwner, 0, false);
  return refusal ?? flushAfter(call, va, flags);
}

function flushAfter(call: Call, va: bigint, flags: bigint): 'EFAULT' | undefined {
  const flushType = flags & abi.UVMF_FLUSHTYPE_MASK;
  if (flushType !== abi.UVMF_TLB_FLUSH && flushType !== abi.UVMF_INVLPG) return undefined;
  const where = flags & ~abi.UVMF_FLUSHTYPE_MASK;
  const isNeeded = where === abi.UVMF_LOCAL || where === abi.UVMF_ALL || hasVcpuInMask(call, where);
  if (isNeeded === undefined) return 'EFAULT';
  if (!isNeeded) return undefined;
  const isLocal = where === abi.UVMF_LOCAL;
  if (flushType === abi.UVMF_INVLPG) flushPage(call, va, isLocal);
  else if (isLocal) flushOwnTlb(call);
  else flushTlbs(call);
  return undefined;
}

export const mmu = [mmuUpdate, mmuextOp, updateVaMapping, updateVaMappingOtherdomain];
