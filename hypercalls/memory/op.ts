/**
 * XENMEM_*; the frame work of the reservation calls is emulator/memory/reservation.ts's, extent by extent in reservation.ts
 * here. What is for translated guests or for the toolstack is refused as Xen refuses it, in the order of its checks.
 */
import type { Domain } from '../../emulator/domain.ts';
import { PAGE_SIZE } from '../../emulator/memory/machine_memory.ts';
import { p2m } from '../../emulator/memory/p2m.ts';
import { defineSlot } from '../../emulator/slot.ts';
import {
  E820_ENTRY_SIZE,
  E820_RAM,
  E820MAX,
  MEMOP_CMD_MASK,
  MEMOP_EXTENT_SHIFT,
  memory_op,
  RESERVED_REGION_SIZE,
  XENMEM_RDM_ALL,
} from '../abi/memory.ts';
import { arch_shared_info, DOMID_SELF, shared_info } from '../abi/xen.ts';
import type { Call } from '../call.ts';
import { copyFromGuest, copyToGuest, isGuestArray, writeU64 } from '../guest_memory.ts';
import { type HandlersOf, implement } from '../implement.ts';
import { exchange } from './exchange.ts';
import { addToPhysmap, addToPhysmapBatch, removeFromPhysmap } from './physmap.ts';
import { changeReservation } from './reservation.ts';

export interface E820Entry {
  readonly address: bigint;
  readonly size: bigint;
  readonly type: number;
}

/** What XENMEM_memory_map answers; without one it is -ENOSYS, as for a domain whose builder gave none. */
export const memoryMap = defineSlot<Domain, { entries: readonly E820Entry[] }>(() => ({ entries: [] }), { name: 'memory.map' });

/** As xl does: RAM from 0 for all the pages that the domain may have. */
export function setMemoryMap(domain: Domain, pages: number): void {
  memoryMap.of(domain).entries = [{ address: 0n, size: BigInt(pages * PAGE_SIZE), type: E820_RAM }];
}

/** By number or as DOMID_SELF. */
const domainOf = (call: Call, domid: number): Domain | undefined => (domid === DOMID_SELF ? call.domain : call.host.domains.get(domid));

/** The domain that an unprivileged caller may ask about: itself. */
function askedDomain(call: Call, domid: number): Domain | 'ESRCH' | 'EPERM' {
  const domain = domainOf(call, domid);
  if (domain === undefined) return 'ESRCH';
  return domain === call.domain || call.domain.isInitial ? domain : 'EPERM';
}

/** Another domain, by its number alone. */
function remoteDomain(call: Call, domid: number): Domain | 'ESRCH' | 'EPERM' {
  const domain = call.host.domains.get(domid);
  if (domain === undefined) return 'ESRCH';
  return domain === call.domain ? 'EPERM' : domain;
}

function readE820(call: Call, buffer: bigint, count: number): E820Entry[] | undefined {
  const bytes = new Uint8Array(count * E820_ENTRY_SIZE);
  if (count > 0 && !copyFromGuest(call.host, buffer, bytes)) return undefined;
  const view = new DataView(bytes.buffer);
  return Array.from({ length: count }, (_, i) => ({
    address: view.getBigUint64(i * E820_ENTRY_SIZE, true),
    size: view.getBigUint64(i * E820_ENTRY_SIZE + 8, true),
    type: view.getUint32(i * E820_ENTRY_SIZE + 16, true),
  }));
}

const M2P_VIRT_START = 0xffff_8000_0000_0000n;
const M2P_VIRT_END = 0xffff_8040_0000_0000n;
const MAX_MFN = 0x7_ffff_ffffn;
const FRAMES_PER_2M = 512;
const MAX_PFN = shared_info.offset.arch + arch_shared_info.offset.max_pfn;

const { body } = memory_op;
/** Commands that are never continued: a progress above them is refused, by the architecture's part of Xen as unknown. */
const CONTINUES_NEVER = new Set(
  [
    body.maximum_ram_page,
    body.current_reservation,
    body.maximum_reservation,
    body.maximum_gpfn,
    body.remove_from_physmap,
    body.claim_pages,
    body.get_vnumainfo,
    body.reserved_device_memory_map,
  ].map(({ cmd }) => cmd),
);
const CONTINUES_NEVER_ARCH = new Set(
  [
    body.machphys_mfn_list,
    body.memory_map,
    body.machine_memory_map,
    body.machphys_mapping,
    body.set_memory_map,
    body.set_pod_target,
    body.get_pod_target,
    body.get_sharing_freed_pages,
    body.get_sharing_shared_pages,
    body.machphys_compat_mfn_list,
  ].map(({ cmd }) => cmd),
);

/** What a translated guest is refused before its arguments are read. */
function refuseTranslated(cmd: number): 'ENOSYS' | 'EACCES' | undefined {
  if (cmd === body.machine_memory_map.cmd || cmd === body.machphys_mapping.cmd) return 'ENOSYS';
  return cmd === body.acquire_resource.cmd ? 'EACCES' : undefined;
}

function refuseCommand(call: Call): 'EINVAL' | 'ENOSYS' | 'EACCES' | undefined {
  const command = Number(call.args[0]! & 0xffff_ffffn);
  const cmd = command & MEMOP_CMD_MASK;
  const refusal = call.domain.type === 'pvh' ? refuseTranslated(cmd) : undefined;
  if (refusal !== undefined) return refusal;
  if (command >>> MEMOP_EXTENT_SHIFT === 0) return undefined;
  if (CONTINUES_NEVER.has(cmd)) return 'EINVAL';
  return CONTINUES_NEVER_ARCH.has(cmd) ? 'ENOSYS' : undefined;
}

/** No populate-on-demand for a PV domain, whoever asks. */
const podTarget = (call: Call, { domid }: { readonly domid: number }) => (domainOf(call, domid) === undefined ? 'ESRCH' : 'EINVAL');

const handlers: HandlersOf<typeof memory_op.params, typeof memory_op.body> = {
  increase_reservation: (call) => changeReservation(call, 'increase'),
  decrease_reservation: (call) => changeReservation(call, 'decrease'),
  populate_physmap: (call) => changeReservation(call, 'populate'),
  exchange,

  maximum_ram_page: (call) => call.host.memory.frameCount - 1,

  current_reservation(call, { domid }) {
    const domain = askedDomain(call, domid);
    return typeof domain === 'string' ? domain : call.host.memory.pageCount(domain.id);
  },

  maximum_reservation(call, { domid }) {
    const domain = askedDomain(call, domid);
    return typeof domain === 'string' ? domain : domain.maxPages;
  },

  /** A PV domain keeps its own p2m: there is only the number of pfns that the guest says in its shared_info. */
  maximum_gpfn(call, { domid }) {
    const domain = askedDomain(call, domid);
    if (typeof domain === 'string') return domain;
    if (domain.type === 'pvh') return p2m.of(domain).maxGfn;
    if (domain.sharedInfoMfn < 0) return 0;
    const pfns = call.host.memory.view.getBigUint64(domain.sharedInfoMfn * PAGE_SIZE + MAX_PFN, true);
    return BigInt.asIntN(64, pfns === 0n ? 0n : pfns - 1n);
  },

  machphys_mfn_list(call, { max_extents, extent_start }) {
    const { memory } = call.host;
    const extents = Math.min(max_extents, Math.ceil(memory.m2pFrames / FRAMES_PER_2M));
    for (let i = 0; i < extents; i++) {
      const pointer = BigInt.asUintN(64, extent_start + BigInt(i * 8));
      if (!writeU64(call.host, pointer, BigInt(memory.m2pMfn + i * FRAMES_PER_2M))) return 'EFAULT';
    }
    return { nr_extents: extents };
  },

  memory_map(call, { nr_entries, buffer }) {
    const { entries } = memoryMap.of(call.domain);
    if (entries.length === 0) return 'ENOSYS';
    const count = Math.min(nr_entries, entries.length);
    const bytes = new Uint8Array(count * E820_ENTRY_SIZE);
    const view = new DataView(bytes.buffer);
    entries.slice(0, count).forEach(({ address, size, type }, i) => {
      view.setBigUint64(i * E820_ENTRY_SIZE, address, true);
      view.setBigUint64(i * E820_ENTRY_SIZE + 8, size, true);
      view.setUint32(i * E820_ENTRY_SIZE + 16, type, true);
    });
    if (count > 0 && (!isGuestArray(call.host, buffer, count, E820_ENTRY_SIZE) || !copyToGuest(call.host, buffer, bytes))) return 'EFAULT';
    return { nr_entries: count };
  },

  /** A domain may replace its own. */
  set_memory_map(call, { domid, map: { nr_entries, buffer } }) {
    if (nr_entries > E820MAX) return 'EINVAL';
    const domain = askedDomain(call, domid);
    if (typeof domain === 'string') return domain;
    const entries = readE820(call, buffer, nr_entries);
    if (entries === undefined) return 'EFAULT';
    memoryMap.of(domain).entries = entries;
    return;
  },

  /** Only the initial domain is told how much of the table there is. */
  machphys_mapping: (call) => ({
    v_start: M2P_VIRT_START,
    v_end: M2P_VIRT_END,
    max_mfn: call.domain.isInitial ? BigInt(call.host.memory.frameCount - 1) : MAX_MFN,
  }),
  get_vnumainfo(call, { domid, pad }) {
    if (pad !== 0) return 'EINVAL';
    const domain = askedDomain(call, domid);
    return typeof domain === 'string' ? domain : 'EOPNOTSUPP';
  },
  reserved_device_memory_map(call, { flags, nr_entries, buffer }) {
    if (!isGuestArray(call.host, buffer, nr_entries, RESERVED_REGION_SIZE)) return 'EFAULT';
    return flags & ~XENMEM_RDM_ALL ? 'EINVAL' : { nr_entries: 0 };
  },

  get_sharing_freed_pages: () => undefined,
  get_sharing_shared_pages: () => undefined,

  add_to_physmap: addToPhysmap,
  add_to_physmap_batch: addToPhysmapBatch,
  remove_from_physmap: removeFromPhysmap,

  set_pod_target: podTarget,
  get_pod_target: podTarget,
  access_op(call, { domid }) {
    const domain = remoteDomain(call, domid);
    return typeof domain === 'string' ? domain : 'EINVAL';
  },
  claim_pages(call, { extent_start, extent_order, mem_flags, domid }) {
    if (extent_start !== 0n || extent_order !== 0 || mem_flags !== 0) return 'EINVAL';
    return call.host.domains.has(domid) ? 'EPERM' : 'EINVAL';
  },
  acquire_resource(call, { domid, pad, nr_frames, frame }) {
    if (pad !== 0 || (frame + BigInt(nr_frames)) >> 32n !== 0n) return 'EINVAL';
    const domain = remoteDomain(call, domid);
    return typeof domain === 'string' ? domain : 'EPERM';
  },
};

export const memoryFamily = [implement(memory_op, handlers, refuseCommand)];
