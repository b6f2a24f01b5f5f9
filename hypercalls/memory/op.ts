/** XENMEM_*; the frame work of the reservation calls is emulator/memory/reservation.ts's, extent by extent in reservation.ts here. */
import type { Domain } from '../../emulator/domain.ts';
import { defineSlot } from '../../emulator/slot.ts';
import { E820_ENTRY_SIZE, E820_RAM, memory_op } from '../abi/memory.ts';
import { arch_shared_info, DOMID_SELF, shared_info } from '../abi/xen.ts';
import type { Call } from '../call.ts';
import { copyToGuest, isGuestArray, writeU64 } from '../guest_memory.ts';
import { implement } from '../implement.ts';
import { exchange } from './exchange.ts';
import { changeReservation } from './reservation.ts';

export interface E820Entry {
  readonly address: bigint;
  readonly size: bigint;
  readonly type: number;
}

/** What XENMEM_memory_map answers; without one it is -ENOSYS, as for a domain whose builder gave none. */
export const memoryMap = defineSlot<Domain, { entries: readonly E820Entry[] }>(() => ({ entries: [] }));

/** As xl does: RAM from 0 for all the pages that the domain may have. */
export function setMemoryMap(domain: Domain, pages: number): void {
  memoryMap.of(domain).entries = [{ address: 0n, size: BigInt(pages) * 4096n, type: E820_RAM }];
}

/** The domain that an unprivileged caller may ask about: itself. */
function askedDomain(call: Call, domid: number): Domain | 'ESRCH' | 'EPERM' {
  const domain = domid === DOMID_SELF ? call.domain : call.host.domains.get(domid);
  if (domain === undefined) return 'ESRCH';
  return domain === call.domain || call.domain.isInitial ? domain : 'EPERM';
}

const M2P_VIRT_START = 0xffff_8000_0000_0000n;
const M2P_VIRT_END = 0xffff_8040_0000_0000n;
const MAX_MFN = 0x7_ffff_ffffn;
const FRAMES_PER_2M = 512;
const MAX_PFN = shared_info.offset.arch + arch_shared_info.offset.max_pfn;

const memory = implement(memory_op, {
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
    if (domain.sharedInfoMfn < 0) return 0;
    const pfns = call.host.memory.view.getBigUint64(domain.sharedInfoMfn * 4096 + MAX_PFN, true);
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
    if (!isGuestArray(call.host, buffer, count, E820_ENTRY_SIZE) || !copyToGuest(call.host, buffer, bytes)) return 'EFAULT';
    return { nr_entries: count };
  },

  machphys_mapping: () => ({ v_start: M2P_VIRT_START, v_end: M2P_VIRT_END, max_mfn: MAX_MFN }),
  get_vnumainfo(call, { domid }) {
    const domain = askedDomain(call, domid);
    return typeof domain === 'string' ? domain : 'EOPNOTSUPP';
  },

  get_sharing_freed_pages: () => undefined,
  get_sharing_shared_pages: () => undefined,
});

export const memoryFamily = [memory];
