/** HVMOP_*: parameters, upcall vectors and hints of an HVM (here: PVH) guest; a PV guest hears that it is none. */
import type { Domain } from '../../emulator/domain.ts';
import { guestNow } from '../../emulator/guest_time.ts';
import { gfnOf, p2m } from '../../emulator/memory/p2m.ts';
import { defineSlot } from '../../emulator/slot.ts';
import type { Vcpu } from '../../emulator/vcpu.ts';
import { DOMID_SELF } from '../abi/xen.ts';
import { hvm_op, xen_hvm_evtchn_upcall_vector } from '../abi/xen_calls.ts';
import type { Call } from '../call.ts';
import { copyFromGuest } from '../guest_memory.ts';
import { implement } from '../implement.ts';
import { getParam, HVM_NR_PARAMS, setParam } from './params.ts';

/** Below TRC_SUBCLS_SHIFT. */
const MAX_TRACE_EVENT = 0xfff;
/** The local APIC has no lower one. */
const MIN_VECTOR = 16;
const HVMMEM_ram_rw = 0;
const HVMMEM_ram_ro = 1;
const HVMMEM_mmio_dm = 2;

const upcallBytes = new Uint8Array(xen_hvm_evtchn_upcall_vector.size);
const upcallView = new DataView(upcallBytes.buffer);

/** The vector by which a vCPU's local APIC is to tell of events; -1: none. */
export const upcallVector = defineSlot<Vcpu, { vector: number }>(() => ({ vector: -1 }), { name: 'hvm.upcall_vector' });

/** The HVM domain that a caller may ask about: itself. `other` is what it hears of others. */
function ownDomain<E extends string>(call: Call, domid: number, own: E, other: E): Domain | E | 'ESRCH' {
  if (domid === DOMID_SELF || domid === call.domain.id) return call.domain.type === 'pvh' ? call.domain : own;
  return call.host.domains.has(domid) ? other : 'ESRCH';
}

const hvm = implement(hvm_op, {
  set_param(call, { domid, index, value }) {
    if (index >= HVM_NR_PARAMS) return 'EINVAL';
    const domain = ownDomain(call, domid, 'EINVAL', 'EINVAL');
    return typeof domain === 'string' ? domain : setParam(domain, index, value);
  },
  get_param(call, { domid, index }) {
    if (index >= HVM_NR_PARAMS) return 'EINVAL';
    const domain = ownDomain(call, domid, 'EINVAL', 'EINVAL');
    if (typeof domain === 'string') return domain;
    const value = getParam(domain, index);
    return typeof value === 'string' ? value : { value };
  },
  /** NULL: of the caller's vCPUs. */
  flush_tlbs(call) {
    if (call.domain.type !== 'pvh' || call.args[1] !== 0n) return 'EINVAL';
    call.host.memory.flushTlbs();
    return;
  },
  /** For shadow page tables, which no domain has. */
  pagetable_dying(call, { domid }) {
    const domain = ownDomain(call, domid, 'EINVAL', 'EOPNOTSUPP');
    return typeof domain === 'string' ? domain : 'EINVAL';
  },
  get_mem_type(call, { domid, pfn }) {
    const domain = ownDomain(call, domid, 'EINVAL', 'EPERM');
    if (typeof domain === 'string') return domain;
    const entry = p2m.of(domain).get(gfnOf(pfn));
    if (entry === undefined) return { mem_type: HVMMEM_mmio_dm };
    return { mem_type: entry.type === 'readonlyGrant' ? HVMMEM_ram_ro : HVMMEM_ram_rw };
  },
  set_evtchn_upcall_vector(call) {
    if (call.domain.type !== 'pvh') return 'EINVAL';
    if (!copyFromGuest(call.host, call.args[1]!, upcallBytes)) return 'EFAULT';
    const { vcpu, vector } = xen_hvm_evtchn_upcall_vector.read(upcallView, 0);
    if (vector < MIN_VECTOR) return 'EINVAL';
    const target = call.domain.vcpus[vcpu];
    if (target === undefined) return 'ENOENT';
    upcallVector.of(target).vector = vector;
    return;
  },
  /** Nobody listens. */
  guest_request_vm_event: (call) => (call.args[1] === 0n ? undefined : 'EINVAL'),
  get_time: (call) => ({ now: guestNow(call.host, call.domain) }),
  xentrace: (_call, { event, extra_bytes }) => (extra_bytes > 28 || event > MAX_TRACE_EVENT ? 'EINVAL' : undefined),
});

export const hvmFamily = [hvm];
