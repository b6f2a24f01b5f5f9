/** PHYSDEVOP_*: a domain here has no physical interrupts; what is left is the virtual IOPL and the I/O bitmap. */
import type { Domain } from '../../emulator/domain.ts';
import { holdOwnFrame, letGo } from '../../emulator/memory/held_frames.ts';
import { defineSlot } from '../../emulator/slot.ts';
import { physdev_map_pirq, physdev_op } from '../abi/physdev.ts';
import { DOMID_SELF } from '../abi/xen.ts';
import type { Call } from '../call.ts';
import { NR_PIRQS } from '../event_channel/ports.ts';
import { isGuestAddress, writeU32 } from '../guest_memory.ts';
import { implement } from '../implement.ts';
import { pvVcpu } from '../pv_cpu/state.ts';

/** The frame of pirq_eoi_gmfn, -1: none. Nothing is ever marked there. */
export const eoiPage = defineSlot<Domain, { mfn: number }>(() => ({ mfn: -1 }), { name: 'physdev.eoi_page' });

function setEoiPage(call: Call, gmfn: bigint): 'EBUSY' | 'EINVAL' | undefined {
  const { memory } = call.host;
  if (gmfn >= BigInt(memory.frameCount)) return 'EINVAL';
  const mfn = Number(gmfn);
  if (holdOwnFrame(memory, call.domain, mfn) !== undefined) return 'EINVAL';
  const page = eoiPage.of(call.domain);
  if (page.mfn >= 0) {
    letGo(memory, call.domain, mfn, true);
    return 'EBUSY';
  }
  page.mfn = mfn;
  return undefined;
}

/** The interrupt numbers of I/O APIC pins that are no ISA interrupt, given upwards; those above are for MSIs, downwards. */
const MAP_PIRQ_TYPE_MSI = 0;
const MAP_PIRQ_TYPE_GSI = 1;
const MAP_PIRQ_TYPE_MSI_SEG = 3;
const MAP_PIRQ_TYPE_MULTI_MSI = 4;
const FIRST_GSI = 16;
const NR_IRQS_GSI = 24;
const XENIRQSTAT_needs_eoi = 1;

/** The numbers that get_free_pirq has given. */
const takenPirqs = defineSlot<Domain, Set<number>>(() => new Set(), { name: 'physdev.taken_pirqs' });

function takePirq(domain: Domain, isGsi: boolean): number | undefined {
  const taken = takenPirqs.of(domain);
  const count = isGsi ? NR_IRQS_GSI - FIRST_GSI : NR_PIRQS - NR_IRQS_GSI;
  for (let i = 0; i < count; i++) {
    const pirq = isGsi ? FIRST_GSI + i : NR_PIRQS - 1 - i;
    if (taken.has(pirq)) continue;
    taken.add(pirq);
    return pirq;
  }
  return undefined;
}

const mayNotMap = (call: Call, domid: number): 'EPERM' | 'ESRCH' =>
  domid === DOMID_SELF || call.host.domains.has(domid) ? 'EPERM' : 'ESRCH';

/** The machine's PCI devices are the initial domain's; of which there is one for certain, the host bridge 0000:00:00.0. */
const mayNotRestore = (address: number): 'EPERM' | 'ENODEV' => (address === 0 ? 'EPERM' : 'ENODEV');

const physdev = implement(physdev_op, {
  irq_unmask_notify: () => undefined,
  irq_status_query: (_call, { irq }) => (irq >= NR_PIRQS ? 'EINVAL' : { flags: XENIRQSTAT_needs_eoi }),
  set_iopl(call, { iopl }) {
    if (iopl > 3) return 'EINVAL';
    pvVcpu.of(call.vcpu).iopl = iopl << 12;
  },
  set_iobitmap(call, { bitmap, nr_ports }) {
    if (!isGuestAddress(bitmap) || nr_ports > 65536) return 'EINVAL';
    const vcpu = pvVcpu.of(call.vcpu);
    vcpu.iobmp = bitmap;
    vcpu.iobmpLimit = nr_ports;
  },
  pirq_eoi_gmfn_v1: (call, { gmfn }) => setEoiPage(call, gmfn),
  /** The guest is told what was asked, in one of two ways to say it, whatever the answer. */
  map_pirq(call, { domid, type, table_base }) {
    if (type === MAP_PIRQ_TYPE_MULTI_MSI && table_base !== 0n) return 'EINVAL';
    const told = type === MAP_PIRQ_TYPE_MSI_SEG ? MAP_PIRQ_TYPE_MSI : type;
    const pointer = BigInt.asUintN(64, call.args[1]! + BigInt(physdev_map_pirq.offset.type));
    return writeU32(call.host, pointer, told) ? mayNotMap(call, domid) : 'EFAULT';
  },
  unmap_pirq: (call, { domid }) => mayNotMap(call, domid),
  restore_msi: (_call, { bus, devfn }) => mayNotRestore(bus | devfn),
  restore_msi_ext: (_call, { seg, bus, devfn }) => mayNotRestore(seg | bus | devfn),
  manage_pci_add_ext: (_call, { is_extfn, is_virtfn }) => (is_extfn > 1 || is_virtfn > 1 ? 'EINVAL' : 'EPERM'),
  setup_gsi: (_call, { gsi }) => (gsi < 0 || gsi >= NR_IRQS_GSI ? 'EINVAL' : 'EPERM'),
  get_free_pirq(call, { type }) {
    const pirq = takePirq(call.domain, type === MAP_PIRQ_TYPE_GSI);
    return pirq === undefined ? 'ENOSPC' : { pirq };
  },
  pirq_eoi_gmfn_v2: (call, { gmfn }) => setEoiPage(call, gmfn),
});

export const physdevFamily = [physdev];
