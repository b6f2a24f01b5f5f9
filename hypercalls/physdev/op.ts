/** PHYSDEVOP_*: a domain here has no physical interrupts; what is left is the virtual IOPL and the I/O bitmap. */
import type { Domain } from '../../emulator/domain.ts';
import { holdOwnFrame, letGo } from '../../emulator/memory/held_frames.ts';
import { defineSlot } from '../../emulator/slot.ts';
import { physdev_op } from '../abi/physdev.ts';
import type { Call } from '../call.ts';
import { NR_PIRQS } from '../event_channel/ports.ts';
import { isGuestAddress } from '../guest_memory.ts';
import { implement } from '../implement.ts';
import { pvVcpu } from '../pv_cpu/state.ts';

/** The frame of pirq_eoi_gmfn, -1: none. Nothing is ever marked there. */
export const eoiPage = defineSlot<Domain, { mfn: number }>(() => ({ mfn: -1 }));

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
  memory.frameBytes(mfn).fill(0);
  memory.written(mfn * 4096, 4096);
  return undefined;
}

/** GET_FREE_PIRQ's type: MAP_PIRQ_TYPE_GSI has none to give. */
const MAP_PIRQ_TYPE_GSI = 1;
const FIRST_MSI_PIRQ = 16;

const physdev = implement(physdev_op, {
  irq_unmask_notify: () => undefined,
  irq_status_query: (_call, { irq }) => (irq >= NR_PIRQS ? 'EINVAL' : { flags: 0 }),
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
  get_free_pirq: (_call, { type }) => (type === MAP_PIRQ_TYPE_GSI ? 'EINVAL' : { pirq: FIRST_MSI_PIRQ }),
  pirq_eoi_gmfn_v2: (call, { gmfn }) => setEoiPage(call, gmfn),
});

export const physdevFamily = [physdev];
