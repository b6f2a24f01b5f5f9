/** EVTCHNOP_*: the checks, in Xen's order; ports.ts does the work. */
import type { Domain } from '../../emulator/domain.ts';
import { PAGE_SIZE } from '../../emulator/memory/machine_memory.ts';
import {
  EVTCHN_FIFO_LINK_BITS,
  EVTCHNSTAT_closed,
  EVTCHNSTAT_interdomain,
  EVTCHNSTAT_ipi,
  EVTCHNSTAT_unbound,
  EVTCHNSTAT_virq,
  event_channel_op,
  evtchn_fifo_control_block,
} from '../abi/event_channel.ts';
import { DOMID_SELF, NR_VIRQS } from '../abi/xen.ts';
import type { Call } from '../call.ts';
import { implement } from '../implement.ts';
import type { Port } from './port.ts';
import {
  bind,
  close,
  connect,
  expandArray,
  initControl,
  isGlobalVirq,
  isUsable,
  NR_PIRQS,
  portsOf,
  raise,
  reset,
  send,
  setPriority,
  unmaskPort,
  virqPorts,
} from './ports.ts';

const domainOf = (call: Call, domid: number): Domain | undefined => (domid === DOMID_SELF ? call.domain : call.host.domains.get(domid));
const ownPort = (call: Call, number: number): Port | undefined => portsOf.of(call.domain).get(number);
/** A port that the guest may close, rebind or send on: in range, and not ring -1's. */
const guestPort = (call: Call, number: number): Port | undefined => {
  const port = ownPort(call, number);
  return port?.onEvent === undefined ? port : undefined;
};

const event_channel = implement(event_channel_op, {
  alloc_unbound(call, { dom, remote_dom }) {
    const domain = domainOf(call, dom);
    if (domain === undefined) return 'ESRCH';
    const port = portsOf.of(domain).findFree(call.host, domain);
    if (port === undefined) return 'ENOSPC';
    if (domain !== call.domain && !call.domain.isInitial) return 'EPERM';
    bind(port, { kind: 'unbound', remoteDomid: remote_dom === DOMID_SELF ? call.domain.id : remote_dom });
    return { port: port.number };
  },

  bind_interdomain(call, { remote_dom, remote_port }) {
    const remote = domainOf(call, remote_dom);
    if (remote === undefined) return 'ESRCH';
    const port = portsOf.of(call.domain).findFree(call.host, call.domain);
    if (port === undefined) return 'ENOSPC';
    const far = portsOf.of(remote).get(remote_port);
    if (far === undefined || far.binding.kind !== 'unbound' || far.binding.remoteDomid !== call.domain.id) return 'EINVAL';
    connect(call.domain, port, remote, far);
    // Events sent while the far port was unbound are lost; one event now makes the guest look.
    raise(call.host, call.domain, port);
    return { local_port: port.number };
  },

  bind_virq(call, { virq, vcpu }) {
    if (virq >= NR_VIRQS) return 'EINVAL';
    if (isGlobalVirq(virq) && vcpu !== 0) return 'EINVAL';
    const target = call.domain.vcpus[vcpu];
    if (target === undefined) return 'ENOENT';
    const ports = virqPorts.of(target);
    if (ports[virq] !== 0) return 'EEXIST';
    const port = portsOf.of(call.domain).findFree(call.host, call.domain);
    if (port === undefined) return 'ENOSPC';
    bind(port, { kind: 'virq', virq }, vcpu);
    ports[virq] = port.number;
    return { port: port.number };
  },

  bind_pirq: (_call, { pirq }) => (pirq >= NR_PIRQS ? 'EINVAL' : 'EPERM'),

  bind_ipi(call, { vcpu }) {
    if (call.domain.vcpus[vcpu] === undefined) return 'ENOENT';
    const port = portsOf.of(call.domain).findFree(call.host, call.domain);
    if (port === undefined) return 'ENOSPC';
    bind(port, { kind: 'ipi' }, vcpu);
    return { port: port.number };
  },

  close(call, { port: number }) {
    const port = guestPort(call, number);
    if (port === undefined || !isUsable(port)) return 'EINVAL';
    close(call.host, call.domain, port);
  },

  send(call, { port: number }) {
    const ports = portsOf.of(call.domain);
    const port = ports.get(number);
    return port === undefined || port.onEvent !== undefined ? 'EINVAL' : send(call.host, call.domain, port, ports);
  },

  status(call, { dom, port: number }) {
    const domain = domainOf(call, dom);
    if (domain === undefined) return 'ESRCH';
    const port = portsOf.of(domain).get(number);
    if (port === undefined) return 'EINVAL';
    if (domain !== call.domain && !call.domain.isInitial) return 'EPERM';
    if (port.onEvent !== undefined) return 'EACCES';
    const { binding } = port;
    const vcpu = port.notifyVcpu;
    switch (binding.kind) {
      case 'free':
      case 'reserved':
        return { status: EVTCHNSTAT_closed, vcpu, u: undefined };
      case 'unbound':
        return { status: EVTCHNSTAT_unbound, vcpu, u: { unbound: { dom: binding.remoteDomid } } };
      case 'interdomain':
        return { status: EVTCHNSTAT_interdomain, vcpu, u: { interdomain: { dom: binding.remote.id, port: binding.remotePort } } };
      case 'virq':
        return { status: EVTCHNSTAT_virq, vcpu, u: { virq: binding.virq } };
      case 'ipi':
        return { status: EVTCHNSTAT_ipi, vcpu, u: undefined };
    }
  },

  bind_vcpu(call, { port: number, vcpu }) {
    if (call.domain.vcpus[vcpu] === undefined) return 'ENOENT';
    const port = guestPort(call, number);
    const binding = port?.binding;
    if (port === undefined || binding === undefined) return 'EINVAL';
    const isMovable = binding.kind === 'virq' ? isGlobalVirq(binding.virq) : binding.kind === 'unbound' || binding.kind === 'interdomain';
    if (!isMovable) return 'EINVAL';
    port.notifyVcpu = vcpu;
  },

  unmask(call, { port: number }) {
    const port = ownPort(call, number);
    if (port === undefined) return 'EINVAL';
    unmaskPort(call.host, call.domain, port);
  },

  reset(call, { dom }) {
    const domain = resettable(call, dom);
    if (typeof domain === 'string') return domain;
    reset(call.host, domain);
  },

  init_control(call, { control_gfn, offset, vcpu }) {
    const target = call.domain.vcpus[vcpu];
    if (target === undefined) return 'ENOENT';
    if (offset > PAGE_SIZE - evtchn_fifo_control_block.size || offset & 7) return 'EINVAL';
    return initControl(call.host, target, control_gfn, offset) ?? { link_bits: EVTCHN_FIFO_LINK_BITS };
  },

  expand_array: (call, { array_gfn }) => expandArray(call.host, call.domain, array_gfn),

  set_priority(call, { port: number, priority }) {
    const port = ownPort(call, number);
    return port === undefined ? 'EINVAL' : setPriority(call.domain, port, priority);
  },

  reset_cont(call, { dom }) {
    const domain = resettable(call, dom);
    return typeof domain === 'string' ? domain : 'EBUSY';
  },
});

/** The domain that the caller may reset: itself. Xen lets dom0 reset one that its toolstack has paused; none is paused here. */
function resettable(call: Call, dom: number): Domain | 'ESRCH' | 'EPERM' | 'EINVAL' {
  const domain = domainOf(call, dom);
  if (domain === undefined) return 'ESRCH';
  if (domain === call.domain) return domain;
  return call.domain.isInitial ? 'EINVAL' : 'EPERM';
}

export const eventChannel = [event_channel];
