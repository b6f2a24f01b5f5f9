/**
 * Event channel ports: which there are, what each is bound to, and how an event on one reaches its vCPU or, for a port of
 * the host's (console and xenstore backends live in TypeScript), its callback. two_level.ts sets the bits that the guest
 * sees. As xen:common/event_channel.c.
 */
import type { Domain } from '../../emulator/domain.ts';
import type { Host } from '../../emulator/host.ts';
import { defineSlot } from '../../emulator/slot.ts';
import type { Vcpu } from '../../emulator/vcpu.ts';
import { EVTCHN_2L_NR_CHANNELS } from '../abi/event_channel.ts';
import { NR_VIRQS, VIRQ_DEBUG, VIRQ_TIMER, VIRQ_XENOPROF, VIRQ_XENPMU } from '../abi/xen.ts';
import { kick, wakePollers } from './poll.ts';
import { clearPending, isPending, setPending, unmask } from './two_level.ts';

export type Binding =
  | { readonly kind: 'free' }
  | { readonly kind: 'reserved' }
  | { readonly kind: 'unbound'; readonly remoteDomid: number }
  | { readonly kind: 'interdomain'; readonly remote: Domain; readonly remotePort: number }
  | { readonly kind: 'virq'; readonly virq: number }
  | { readonly kind: 'ipi' };

export interface Port {
  readonly number: number;
  binding: Binding;
  /** Id of the vCPU that events on it notify. */
  notifyVcpu: number;
  /** The consumer is ring -1's host, not a vCPU. */
  onEvent: (() => void) | undefined;
}

/** Physical interrupts (GSIs and room for MSIs) that a domU may name, though not bind. */
export const NR_PIRQS = 56;

const FREE: Binding = { kind: 'free' };
/** Ports come into being in groups of this size; one beyond the last group is invalid, not closed. */
const PORTS_PER_BUCKET = 64;
/** xl's default `event_channels`. */
const DOMU_MAX_PORT = 1023;

export class Ports {
  readonly #ports: Port[] = [];
  readonly #maxPort: number;

  constructor(domain: Domain) {
    this.#maxPort = domain.isInitial || domain.id === 0 ? EVTCHN_2L_NR_CHANNELS - 1 : DOMU_MAX_PORT;
    this.#addBucket();
    this.#ports[0]!.binding = { kind: 'reserved' };
  }

  /** The port, unless the number is beyond all that were ever in use. */
  get(number: number): Port | undefined {
    return this.#ports[number];
  }

  /** The lowest free port, undefined when all are taken. */
  findFree(): Port | undefined {
    for (let number = 0; number <= this.#maxPort; number++) {
      if (number === this.#ports.length) this.#addBucket();
      const port = this.#ports[number]!;
      if (port.binding.kind === 'free') return port;
    }
    return undefined;
  }

  *[Symbol.iterator](): Iterator<Port> {
    yield* this.#ports;
  }

  #addBucket(): void {
    for (let i = 0; i < PORTS_PER_BUCKET; i++) {
      this.#ports.push({ number: this.#ports.length, binding: FREE, notifyVcpu: 0, onEvent: undefined });
    }
  }
}

export const portsOf = defineSlot<Domain, Ports>((domain) => new Ports(domain));
/** Per vCPU: the port that each VIRQ is bound to, 0 for none. A global VIRQ is vCPU 0's. */
export const virqPorts = defineSlot<Vcpu, Uint32Array>(() => new Uint32Array(NR_VIRQS));

export const isUsable = (port: Port): boolean => port.binding.kind !== 'free' && port.binding.kind !== 'reserved';

/** Only these VIRQs are bound per vCPU. */
export function isGlobalVirq(virq: number): boolean {
  return virq !== VIRQ_TIMER && virq !== VIRQ_DEBUG && virq !== VIRQ_XENOPROF && virq !== VIRQ_XENPMU;
}

/** An event on `port` of `domain`. */
export function raise(host: Host, domain: Domain, port: Port): void {
  if (port.onEvent !== undefined) {
    port.onEvent();
    return;
  }
  const vcpu = domain.vcpus[port.notifyVcpu];
  if (vcpu === undefined) return;
  if (setPending(host, vcpu, port.number)) kick(host, vcpu);
  wakePollers(host, domain, port.number);
}

/** Notifies the other end of `port`; false when it is not bound to anything that can be notified. */
export function send(host: Host, domain: Domain, port: Port): boolean {
  const { binding } = port;
  switch (binding.kind) {
    case 'interdomain':
      raise(host, binding.remote, portsOf.of(binding.remote).get(binding.remotePort)!);
      return true;
    case 'ipi':
      raise(host, domain, port);
      return true;
    case 'unbound':
      return true;
    default:
      return false;
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
  port.binding = FREE;
  port.onEvent = undefined;
  port.notifyVcpu = 0;
  clearPending(host, domain, port.number);
}

/** EVTCHNOP_unmask. */
export function unmaskPort(host: Host, domain: Domain, port: Port): void {
  const vcpu = domain.vcpus[port.notifyVcpu];
  if (vcpu !== undefined && isUsable(port) && unmask(host, vcpu, port.number)) kick(host, vcpu);
}

export function connect(domain: Domain, port: Port, remote: Domain, remotePort: Port): void {
  port.binding = { kind: 'interdomain', remote, remotePort: remotePort.number };
  remotePort.binding = { kind: 'interdomain', remote: domain, remotePort: port.number };
}

/** Whether SCHEDOP_poll on `port` need not wait. */
export function isPortPending(host: Host, domain: Domain, port: Port): boolean {
  return isUsable(port) && isPending(host, domain, port.number);
}

/** A host backend's end of a channel. */
export interface HostChannel {
  /** The guest's port, for its start_info or xenstore. */
  readonly port: number;
  /** Sends an event to the guest. */
  notify(): void;
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
  const near = portsOf.of(dom0).findFree();
  const far = guestPort === undefined ? guestPorts.findFree() : guestPorts.get(guestPort);
  if (near === undefined || far === undefined) return undefined;
  if (guestPort !== undefined && !(far.binding.kind === 'unbound' && far.binding.remoteDomid === 0)) return undefined;
  connect(dom0, near, domain, far);
  near.onEvent = onEvent;
  return { port: far.number, notify: () => void send(host, dom0, near) };
}
