/** Handlers of mmu_update, mmuext_op and update_va_mapping; the rules are in emulator/memory. */
import { findL1Entry } from '../../emulator/memory/guest_walk.ts';
import { PAGE_SIZE } from '../../emulator/memory/machine_memory.ts';
import { updateEntry } from '../../emulator/memory/page_table_update.ts';
import { PGT_l1_page_table, PGT_writable_page } from '../../emulator/memory/page_type.ts';
import { getPageType, isLivePageTable, putPageType } from '../../emulator/memory/page_types.ts';
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
  },
  each(call, element) {
    const low = structWords[PTR]! >>> 0;
    const high = structWords[PTR + 1]! >>> 0;
    const cmd = low & 7;
    switch (cmd) {
      case abi.MMU_NORMAL_PT_UPDATE:
      case abi.MMU_PT_UPDATE_PRESERVE_AD:
      case abi.MMU_PT_UPDATE_NO_TRANSLATE:
        return updateTable(call, high * 2 ** 20 + (low >>> 12), (low & 0xfff) - cmd, cmd === abi.MMU_PT_UPDATE_PRESERVE_AD);
      case abi.MMU_MACHPHYS_UPDATE:
        return updateMachphys(call, high * 2 ** 20 + (low >>> 12), element.val);
      default:
        return 'ENOSYS';
    }
  },
  end: countDone,
});

/** Writes what the update has to `offset` of the frame. */
function updateTable(call: Call, mfn: number, offset: number, preservesAd: boolean): UpdateErrno | undefined {
  const { memory } = call.host;
  if (!mayMapFrom(call.domain, frameOwner) || !mayActOn(call.domain, tableOwner)) return 'EPERM';
  if (!memory.getPage(mfn, tableOwner)) return 'EINVAL';
  const maddr = mfn * PAGE_SIZE + offset;
  let outcome: UpdateErrno | undefined = 'EINVAL';
  if (isLivePageTable(memory, mfn)) {
    const isAllowed = memory.type[mfn] === PGT_l1_page_table || frameOwner === tableOwner;
    if (isAllowed) outcome = updateEntry(memory, maddr, structWords[VAL]!, structWords[VAL + 1]!, frameOwner, preservesAd);
  } else if (getPageType(memory, mfn, PGT_writable_page) === undefined) {
    memory.view.setInt32(maddr, structWords[VAL]!, true);
    memory.view.setInt32(maddr + 4, structWords[VAL + 1]!, true);
    memory.written(maddr, 8);
    putPageType(memory, mfn);
    outcome = undefined;
  }
  memory.putPage(mfn);
  return outcome;
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
  const refusal = updateEntry(memory, found.maddr, Number(val & 0xffff_ffffn), Number(val >> 32n), pgOwner);
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
