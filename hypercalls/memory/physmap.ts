/**
 * XENMEM_add_to_physmap, add_to_physmap_batch and remove_from_physmap: a translated guest arranges its guest-physical
 * memory (xen:common/memory.c, xen:arch/x86/mm.c xenmem_add_to_physmap_one).
 */
import type { Domain } from '../../emulator/domain.ts';
import { frameOf, gfnOf, moveFrame, placeOf, unplaceFrame } from '../../emulator/memory/p2m.ts';
import { errno } from '../abi/errno.ts';
import {
  XENMAPIDX_grant_table_status,
  XENMAPSPACE_dev_mmio,
  XENMAPSPACE_gmfn,
  XENMAPSPACE_gmfn_foreign,
  XENMAPSPACE_gmfn_range,
  XENMAPSPACE_grant_table,
  XENMAPSPACE_shared_info,
} from '../abi/memory.ts';
import { DOMID_SELF } from '../abi/xen.ts';
import type { Call } from '../call.ts';
import { grantFrame } from '../grant_table/table.ts';
import { readU64, writeU32 } from '../guest_memory.ts';

type PhysmapErrno = 'EINVAL' | 'EXDEV' | 'ENOENT' | 'EPERM' | 'EACCES' | 'ESRCH';

const INVALID_GFN = 0xffff_ffff_ffff_ffffn;

/** The domain whose memory is meant, if the caller may arrange it. */
function targetOf(call: Call, domid: number): Domain | 'ESRCH' | 'EACCES' | 'EPERM' {
  const domain = domid === DOMID_SELF ? call.domain : call.host.domains.get(domid);
  if (domain === undefined) return 'ESRCH';
  if (domain.type !== 'pvh') return 'EACCES';
  return domain === call.domain || call.domain.isInitial ? domain : 'EPERM';
}

/** The frame that `space` and `idx` name, -1: none. */
function namedFrame(call: Call, domain: Domain, space: number, idx: bigint): number {
  const { memory } = call.host;
  switch (space) {
    case XENMAPSPACE_shared_info:
      return idx === 0n ? domain.sharedInfoMfn : -1;
    case XENMAPSPACE_grant_table:
      return grantFrame(call.host, domain, Number(idx & 0xffff_ffffn), XENMAPIDX_grant_table_status);
    case XENMAPSPACE_gmfn:
    case XENMAPSPACE_gmfn_range: {
      const mfn = frameOf(memory, domain, gfnOf(idx));
      return mfn >= 0 && memory.owner[mfn] === domain.id ? mfn : -1;
    }
    default:
      return -1;
  }
}

function addOne(call: Call, domain: Domain, space: number, idx: bigint, gpfn: bigint): PhysmapErrno | undefined {
  // Only the hardware domain might.
  if (space === XENMAPSPACE_gmfn_foreign) return 'EPERM';
  if (gpfn === INVALID_GFN) return 'EINVAL';
  const mfn = namedFrame(call, domain, space, idx);
  if (mfn < 0) return 'EINVAL';
  const isMove = space === XENMAPSPACE_gmfn || space === XENMAPSPACE_gmfn_range;
  if (isMove && placeOf(call.host.memory, domain, mfn) !== gfnOf(idx)) return 'EXDEV';
  return moveFrame(call.host.memory, domain, mfn, gfnOf(gpfn));
}

interface AddArgs {
  readonly domid: number;
  readonly size: number;
  readonly space: number;
  readonly idx: bigint;
  readonly gpfn: bigint;
}

export function addToPhysmap(call: Call, { domid, size, space, idx, gpfn }: AddArgs): PhysmapErrno | 'ENOSYS' | undefined {
  if (space === XENMAPSPACE_gmfn_foreign) return 'ENOSYS';
  const domain = targetOf(call, domid);
  if (typeof domain === 'string') return domain;
  if (space === XENMAPSPACE_dev_mmio) return 'EACCES';
  if (space !== XENMAPSPACE_gmfn_range) return addOne(call, domain, space, idx, gpfn);
  for (let i = 0n; i < BigInt(size); i++) {
    const refusal = addOne(call, domain, space, BigInt.asUintN(64, idx + i), BigInt.asUintN(64, gpfn + i));
    if (refusal !== undefined) return refusal;
  }
  return undefined;
}

interface BatchArgs {
  readonly domid: number;
  readonly space: number;
  readonly size: number;
  readonly idxs: bigint;
  readonly gpfns: bigint;
  readonly errs: bigint;
}

export function addToPhysmapBatch(call: Call, args: BatchArgs): 'EOPNOTSUPP' | 'ESRCH' | 'EACCES' | 'EPERM' | 'EFAULT' | undefined {
  const { domid, space, size, idxs, gpfns, errs } = args;
  if (space === XENMAPSPACE_gmfn_range) return 'EOPNOTSUPP';
  const domain = targetOf(call, domid);
  if (typeof domain === 'string') return domain;
  if (space === XENMAPSPACE_dev_mmio) return 'EACCES';
  for (let i = 0; i < size; i++) {
    const at = (list: bigint, width: number): bigint => BigInt.asUintN(64, list + BigInt(i * width));
    const idx = readU64(call.host, at(idxs, 8));
    const gpfn = readU64(call.host, at(gpfns, 8));
    if (idx === undefined || gpfn === undefined) return 'EFAULT';
    const refusal = addOne(call, domain, space, idx, gpfn);
    if (!writeU32(call.host, at(errs, 4), refusal === undefined ? 0 : -errno[refusal])) return 'EFAULT';
  }
  return undefined;
}

/** The page stays the domain's, without a place. */
export function removeFromPhysmap(
  call: Call,
  { domid, gpfn }: { readonly domid: number; readonly gpfn: bigint },
): 'ESRCH' | 'EACCES' | 'EPERM' | 'ENOENT' | undefined {
  const domain = targetOf(call, domid);
  if (typeof domain === 'string') return domain;
  const { memory } = call.host;
  const gfn = gfnOf(gpfn);
  const mfn = frameOf(memory, domain, gfn);
  if (mfn < 0 || memory.owner[mfn] !== domain.id) return 'ENOENT';
  unplaceFrame(memory, domain, gfn);
  return undefined;
}
