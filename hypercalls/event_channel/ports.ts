/**
 * Event channel ports: which there are, what each is bound to, and how an event on one reaches its vCPU or, for a port of
 * the host's (console and xenstore backends live in TypeScript), its callback. two_level.ts and fifo.ts set the bits that
 * the guest sees. As xen:common/event_channel.c.
 */
import type { Domain } from '../../emulator/domain.ts';
import type { Host } from '../../emulator/host.ts';
import { defineSlot, NotSavable } from '../../emulator/slot.ts';
import type { Timeline } from '../../emulator/timeline/timeline.ts';
import type { Vcpu } from '../../emulator/vcpu.ts';
import { EVTCHN_2L_NR_CHANNELS, EVTCHN_FIFO_MAX_QUEUES, EVTCHN_FIFO_PRIORITY_DEFAULT } from '../abi/event_channel.ts';
import { NR_VIRQS, VIRQ_DEBUG, VIRQ_TIMER, VIRQ_XENOPROF, VIRQ_XENPMU, virqs } from '../abi/xen.ts';
import { addArrayPage, fifo, lastArrayPage, leaveFifo, setControlBlock } from './fifo.ts';
import type { Binding, EventAbi, Port } from './port.ts';
import { isBitPending, twoLevel } from './two_level.ts';

/** Physical interrupts (GSIs and room for MSIs) that a domU may name, though not bind. */
export const NR_PIRQS = 56;

const FREE: Binding = { kind: 'free' };
/** Ports come into being in groups of this size; one beyond the last group is invalid, not closed. */
const PORTS_PER_BUCKET = 64;
/** xl's default `event_channels`; the initial domain has as many ports as the ABI names. */
const DOMU_MAX_PORT = 1023;

export class Ports {
  readonly #ports: Port[] = [];
  readonly #maxPort: number;
  /** No port below it is free. */
  #firstFree = 1;
  abi: EventAbi = twoLevel;

  constructor(domain: Domain) {
    this.#maxPort = domain.isInitial || domain.id === 0 ? Number.MAX_SAFE_INTEGER : DOMU_MAX_PORT;
    this.#addBucket();
    this.#ports[0]!.binding = { kind: 'reserved' };
  }

  /** The port, unless the number is beyond all that were ever in use. */
  get(number: number): Port | undefined {
    return this.#ports[number];
  }

  /** The lowest free port, undefined when all are taken. */
  findFree(host: Host, domain: Domain): Port | undefined {
    const last = Math.min(this.#maxPort, this.abi.maxPorts - 1);
    let firstFree = -1;
    for (let number = this.#firstFree; number <= last; number++) {
      if (number === this.#ports.length) this.#addBucket();
      const port = this.#ports[number]!;
      if (port.binding.kind !== 'free') continue;
      if (firstFree < 0) this.#firstFree = firstFree = number;
      if (!this.abi.isBusy(host, domain, port)) return port;
    }
    return undefined;
  }

  release(port: Port): void {
    port.binding = FREE;
    port.onEvent = undefined;
    port.notifyVcpu = 0;
    this.#firstFree = Math.min(this.#firstFree, port.number);
  }

  *[Symbol.iterator](): Iterator<Port> {
    yield* this.#ports;
  }

  /** The ports as they were saved; those of the host's wait for it to connect again. */
  load({ isFifo, ports }: SavedPorts, domain: Domain): void {
    this.abi = isFifo ? fifo : twoLevel;
    while (this.#ports.length < ports.length) this.#addBucket();
    for (const [number, { binding, ...state }] of ports.entries()) {
      Object.assign(this.#ports[number]!, state, {
        binding: binding.kind === 'loop' ? { ...binding, kind: 'interdomain', remote: domain } : binding,
      });
    }
  }

  #addBucket(): void {
    for (let i = 0; i < PORTS_PER_BUCKET; i++) {
      this.#ports.push({
        number: this.#ports.length,
        binding: FREE,
        notifyVcpu: 0,
        onEvent: undefined,
        priority: EVTCHN_FIFO_PRIORITY_DEFAULT,
        lastVcpu: 0,
        lastPriority: 0,
        isRaisedUnseen: false,
      });
    }
  }
}

type SavedBinding = Exclude<Binding, { kind: 'interdomain' }> | { readonly kind: 'loop'; readonly remotePort: number };

interface SavedPorts {
  readonly isFifo: boolean;
  readonly ports: readonly (Omit<Port, 'binding' | 'onEvent'> & { readonly binding: SavedBinding })[];
}

export const portsOf = defineSlot<Domain, Ports>((domain) => new Ports(domain), {
  name: 'event_channel.ports',
  save: (ports, domain): SavedPorts => ({
    isFifo: ports.abi === fifo,
    ports: [...ports].map(({ onEvent: _, binding, ...state }) => ({ ...state, binding: savedBinding(domain, binding) })),
  }),
  load(saved, domain) {
    const ports = new Ports(domain);
    ports.load(saved as SavedPorts, domain);
    return ports;
  },
});

function savedBinding(domain: Domain, binding: Binding): SavedBinding {
  if (binding.kind !== 'interdomain') return binding;
  const { remote, remotePort } = binding;
  if (remote === domain) return { kind: 'loop', remotePort };
  if (remote.id !== 0) throw new NotSavable(`it has an event channel to domain ${remote.id} (${remote.name})`);
  return { kind: 'unbound', remoteDomid: 0 };
}

/** Per vCPU: the port that each VIRQ is bound to, 0 for none. A global VIRQ is vCPU 0's. */
export const virqPorts = defineSlot<Vcpu, Uint32Array>(() => new Uint32Array(NR_VIRQS), { name: 'event_channel.virq_ports' });

/** Bound to something, and the guest's (evtchn_usable). */
export const isUsable = ({ binding, onEvent }: Port): boolean =>
  binding.kind !== 'free' && binding.kind !== 'reserved' && onEvent === undefined;

/** Only these VIRQs are bound per vCPU. */
export function isGlobalVirq(virq: number): boolean {
  return virq !== VIRQ_TIMER && virq !== VIRQ_DEBUG && virq !== VIRQ_XENOPROF && virq !== VIRQ_XENPMU;
}

/** An event on `port` of `domain`. */
export function raise(host: Host, domain: Domain, port: Port, ports = portsOf.of(domain)): void {
  if (port.onEvent !== undefined) return port.onEvent();
  const vcpu = domain.vcpus[port.notifyVcpu];
  if (vcpu === undefined) return;
  if (host.timeline !== undefined) showRaised(host.timeline, vcpu, port);
  ports.abi.setPending(host, vcpu, port);
}

const virqNames = new Map<number, string>(Object.entries(virqs).map(([name, virq]) => [virq, name]));

function showRaised(timeline: Timeline, vcpu: Vcpu, { number, binding }: Port): void {
  const source = binding.kind === 'virq' ? (virqNames.get(binding.virq) ?? `VIRQ ${binding.virq}`) : binding.kind;
  timeline.eventRaised(vcpu, number, source);
}

/** Gives a free port its meaning. */
export function bind(port: Port, binding: Binding, notifyVcpu = 0): void {
  port.binding = binding;
  port.notifyVcpu = notifyVcpu;
  port.priority = EVTCHN_FIFO_PRIORITY_DEFAULT;
}

/** Notifies the other end of `port`; EINVAL: it is not bound to anything that can be notified. */
export function send(host: Host, domain: Domain, port: Port, ports = portsOf.of(domain)): 'EINVAL' | undefined {
  const { binding } = port;
  switch (binding.kind) {
    case 'interdomain': {
      const { remote } = binding;
      const far = portsOf.of(remote);
      raise(host, remote, far.get(binding.remotePort)!, far);
      return undefined;
    }
    case 'ipi':
      raise(host, domain, port, ports);
      return undefined;
    default:
      return binding.kind === 'unbound' ? undefined : 'EINVAL';
  }
}

/** A VIRQ for `vcpu` (a global one: for vCPU 0's port of it); nothing happens when it is not bound. */
export function raiseVirq(host: Host, vcpu: Vcpu, virq: number): void {
  const number = virqPorts.of(vcpu)[virq]!;
  if (number !== 0) raise(host, vcpu.domain, portsOf.of(vcpu.domain).get(number)!);
}

/** Frees `port`, unbinding its other end. */
export function close(host: Host, domain: Domain, port: Port): void {
  const { binding } = port;
  if (binding.kind === 'virq') {
    for (const vcpu of domain.vcpus) {
      const ports = virqPorts.of(vcpu);
      if (ports[binding.virq] === port.number) ports[binding.virq] = 0;
    }
  } else if (binding.kind === 'interdomain') {
    const other = portsOf.of(binding.remote).get(binding.remotePort)!;
    other.binding = { kind: 'unbound', remoteDomid: domain.id };
  }
  const ports = portsOf.of(domain);
  ports.abi.clearPending(host, domain, port);
  ports.release(port);
}

/** EVTCHNOP_reset: all ports of the guest's are closed, and events come by the 2-level ABI again. */
export function reset(host: Host, domain: Domain): void {
  const ports = portsOf.of(domain);
  for (const port of ports) if (isUsable(port)) close(host, domain, port);
  if (ports.abi === fifo) leaveFifo(host, domain);
  ports.abi = twoLevel;
}

/** EVTCHNOP_init_control: the first control block of a domain makes the FIFO ABI its own. */
export function initControl(host: Host, vcpu: Vcpu, gfn: bigint, offset: number): 'EINVAL' | undefined {
  const refusal = setControlBlock(host, vcpu, gfn, offset);
  const { domain } = vcpu;
  const ports = portsOf.of(domain);
  if (refusal !== undefined || ports.abi === fifo) return refusal;
  ports.abi = fifo;
  for (const port of ports) {
    if (port.number === 0 || port.number >= EVTCHN_2L_NR_CHANNELS) continue;
    if (isBitPending(host, domain, port.number)) port.isRaisedUnseen = true;
    port.priority = EVTCHN_FIFO_PRIORITY_DEFAULT;
  }
  return undefined;
}

/** EVTCHNOP_expand_array: what was raised before its port had a word is raised now. */
export function expandArray(host: Host, domain: Domain, gfn: bigint): 'EOPNOTSUPP' | 'ENOSPC' | 'EINVAL' | undefined {
  const ports = portsOf.of(domain);
  if (ports.abi !== fifo) return 'EOPNOTSUPP';
  const refusal = addArrayPage(host, domain, gfn);
  if (refusal !== undefined) return refusal;
  const { first, end } = lastArrayPage(domain);
  for (let number = first; number < end; number++) {
    const port = ports.get(number);
    if (port === undefined) break;
    if (port.isRaisedUnseen && isUsable(port)) raise(host, domain, port);
    port.isRaisedUnseen = false;
  }
  return undefined;
}

/** EVTCHNOP_set_priority: from the next event on. */
export function setPriority(domain: Domain, port: Port, priority: number): 'ENOSYS' | 'EACCES' | 'EINVAL' | undefined {
  if (portsOf.of(domain).abi !== fifo) return 'ENOSYS';
  if (!isUsable(port)) return 'EACCES';
  if (priority >= EVTCHN_FIFO_MAX_QUEUES) return 'EINVAL';
  port.priority = priority;
  return undefined;
}

/** EVTCHNOP_unmask. */
export function unmaskPort(host: Host, domain: Domain, port: Port): void {
  const vcpu = domain.vcpus[port.notifyVcpu];
  if (vcpu !== undefined && isUsable(port)) portsOf.of(domain).abi.unmask(host, vcpu, port);
}

export function connect(domain: Domain, port: Port, remote: Domain, remotePort: Port): void {
  bind(port, { kind: 'interdomain', remote, remotePort: remotePort.number });
  remotePort.binding = { kind: 'interdomain', remote: domain, remotePort: port.number };
}

/** Whether SCHEDOP_poll on `port`, which is usable, need not wait. */
export function isPortPending(host: Host, domain: Domain, port: Port): boolean {
  return portsOf.of(domain).abi.isPending(host, domain, port);
}

/** A host backend's end of a channel. */
export interface HostChannel {
  /** The guest's port, for its start_info or xenstore. */
  readonly port: number;
  /** Sends an event to the guest. */
  notify(): void;
  /** The guest's port waits for domain 0 again. */
  close(): void;
}

/**
 * A channel between `domain` and ring -1's host, which stands in for domain 0: `onEvent` runs whenever the guest sends.
 * Without `guestPort` a new port is made for the guest (as xl does for console and xenstore); with it, that port must be
 * waiting for domain 0 (as a frontend's is), else the answer is undefined.
 */
export function connectToHost(host: Host, domain: Domain, onEvent: () => void, guestPort?: number): HostChannel | undefined {
  const dom0 = host.domains.get(0);
  if (dom0 === undefined || dom0 === domain) throw new Error('bug: a host channel needs a domain 0 beside the guest');
  const guestPorts = portsOf.of(domain);
  const near = portsOf.of(dom0).findFree(host, dom0);
  const far = guestPort === undefined ? guestPorts.findFree(host, domain) : guestPorts.get(guestPort);
  if (near === undefined || far === undefined) return undefined;
  if (guestPort !== undefined && !(far.binding.kind === 'unbound' && far.binding.remoteDomid === 0)) return undefined;
  connect(dom0, near, domain, far);
  near.onEvent = onEvent;
  return { port: far.number, notify: () => void send(host, dom0, near), close: () => close(host, dom0, near) };
}
