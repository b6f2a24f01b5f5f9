/** xen:public/event_channel.h: notifications between domains, from ring -1 (VIRQs) and between vCPUs (IPIs). */
import { hypercall, op } from './hypercall.ts';
import { out, pad, struct, variant } from './struct.ts';
import { array, i32, ptr, symbols, typedef, u8, u32, u64, void_ } from './types.ts';
import { domid_t, virq_t, xen_pfn_t } from './xen.ts';

export const evtchn_port_t = typedef('evtchn_port_t', u32);

/** Ports that the 2-level ABI can name. */
export const EVTCHN_2L_NR_CHANNELS = 4096;

/** The FIFO ABI: bits of a port's word, the next port of the queue in its low bits. */
export const EVTCHN_FIFO_PENDING = 1 << 31;
export const EVTCHN_FIFO_MASKED = 1 << 30;
export const EVTCHN_FIFO_LINKED = 1 << 29;
export const EVTCHN_FIFO_LINK_BITS = 17;
export const EVTCHN_FIFO_NR_CHANNELS = 1 << EVTCHN_FIFO_LINK_BITS;
export const EVTCHN_FIFO_LINK_MASK = EVTCHN_FIFO_NR_CHANNELS - 1;
/** Priorities: 0 is the highest. */
export const EVTCHN_FIFO_MAX_QUEUES = 16;
export const EVTCHN_FIFO_PRIORITY_DEFAULT = 7;

/** In a page of the guest's, for each vCPU. */
export const evtchn_fifo_control_block = struct('evtchn_fifo_control_block', {
  /** Queues with news: [xen] sets, [guest] clears. */
  ready: u32,
  _rsvd: pad(4),
  /** First port of each queue: [xen] when the queue was empty, else [guest]. */
  head: array(u32, EVTCHN_FIFO_MAX_QUEUES),
});

export const EVTCHNSTAT_closed = 0;
export const EVTCHNSTAT_unbound = 1;
export const EVTCHNSTAT_interdomain = 2;
export const EVTCHNSTAT_pirq = 3;
export const EVTCHNSTAT_virq = 4;
export const EVTCHNSTAT_ipi = 5;

const status_t = symbols('status', u32, {
  EVTCHNSTAT_closed,
  EVTCHNSTAT_unbound,
  EVTCHNSTAT_interdomain,
  EVTCHNSTAT_pirq,
  EVTCHNSTAT_virq,
  EVTCHNSTAT_ipi,
});

export const evtchn_alloc_unbound = struct('evtchn_alloc_unbound', { dom: domid_t, remote_dom: domid_t, port: out(evtchn_port_t) });
export const evtchn_bind_interdomain = struct('evtchn_bind_interdomain', {
  remote_dom: domid_t,
  remote_port: evtchn_port_t,
  local_port: out(evtchn_port_t),
});
export const evtchn_bind_virq = struct('evtchn_bind_virq', { virq: virq_t, vcpu: u32, port: out(evtchn_port_t) });
export const evtchn_bind_pirq = struct('evtchn_bind_pirq', { pirq: u32, flags: u32, port: out(evtchn_port_t) });
export const evtchn_bind_ipi = struct('evtchn_bind_ipi', { vcpu: u32, port: out(evtchn_port_t) });
export const evtchn_close = struct('evtchn_close', { port: evtchn_port_t });
export const evtchn_send = struct('evtchn_send', { port: evtchn_port_t });
export const evtchn_status = struct('evtchn_status', {
  dom: domid_t,
  port: evtchn_port_t,
  status: out(status_t),
  vcpu: out(u32),
  u: out(
    variant('status', {
      unbound: [EVTCHNSTAT_unbound, struct('evtchn_status.u.unbound', { dom: domid_t })],
      interdomain: [EVTCHNSTAT_interdomain, struct('evtchn_status.u.interdomain', { dom: domid_t, port: evtchn_port_t })],
      pirq: [EVTCHNSTAT_pirq, u32],
      virq: [EVTCHNSTAT_virq, virq_t],
    }),
  ),
});
export const evtchn_bind_vcpu = struct('evtchn_bind_vcpu', { port: evtchn_port_t, vcpu: u32 });
export const evtchn_unmask = struct('evtchn_unmask', { port: evtchn_port_t });
export const evtchn_reset = struct('evtchn_reset', { dom: domid_t });
export const evtchn_init_control = struct('evtchn_init_control', {
  control_gfn: xen_pfn_t,
  offset: u32,
  vcpu: u32,
  link_bits: out(u8),
  _pad: pad(7),
});
export const evtchn_expand_array = struct('evtchn_expand_array', { array_gfn: u64 });
export const evtchn_set_priority = struct('evtchn_set_priority', { port: evtchn_port_t, priority: u32 });

const both = { pv64: true, pvh: true };

// biome-ignore format: one op a line
export const event_channel_op = hypercall('event_channel_op', 32, both, { cmd: i32, arg: ptr(void_) }, {
  bind_interdomain: op(0, evtchn_bind_interdomain, 'Bind a port to one that another domain reserved for the caller.', ['ESRCH', 'ENOSPC', 'EINVAL']),
  bind_virq:        op(1, evtchn_bind_virq, 'Receive a virtual interrupt on a port.', ['EINVAL', 'ENOENT', 'EEXIST', 'ENOSPC']),
  bind_pirq:        op(2, evtchn_bind_pirq, 'Receive a physical interrupt on a port.', ['EINVAL', 'EPERM']),
  close:            op(3, evtchn_close, 'Free a port; the other end becomes unbound.', ['EINVAL']),
  send:             op(4, evtchn_send, 'Notify the other end.', ['EINVAL']),
  status:           op(5, evtchn_status, 'What a port is bound to.', ['ESRCH', 'EINVAL', 'EPERM', 'EACCES']),
  alloc_unbound:    op(6, evtchn_alloc_unbound, 'Reserve a port for a remote domain.', ['ESRCH', 'ENOSPC', 'EPERM']),
  bind_ipi:         op(7, evtchn_bind_ipi, 'A port that notifies one of the own vCPUs.', ['ENOENT', 'ENOSPC']),
  bind_vcpu:        op(8, evtchn_bind_vcpu, 'Choose the vCPU that a port notifies.', ['ENOENT', 'EINVAL']),
  unmask:           op(9, evtchn_unmask, 'Clear the mask bit and deliver what is pending.', ['EINVAL']),
  reset:            op(10, evtchn_reset, 'Close all ports of a domain.', ['ESRCH', 'EPERM', 'EINVAL']),
  init_control:     op(11, evtchn_init_control, 'FIFO event channels: a vCPU\'s control block.', ['ENOENT', 'EINVAL']),
  expand_array:     op(12, evtchn_expand_array, 'FIFO event channels: one more page of event words.', ['EOPNOTSUPP', 'ENOSPC', 'EINVAL']),
  set_priority:     op(13, evtchn_set_priority, 'FIFO event channels: priority of a port.', ['EINVAL', 'ENOSYS', 'EACCES']),
  reset_cont:       op(14, evtchn_reset, 'Continuation of a reset; none is ever in progress here.', ['ESRCH', 'EPERM', 'EINVAL', 'EBUSY']),
});
