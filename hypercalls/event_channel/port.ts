/** A port as Xen keeps it (struct evtchn), and what the two ABIs that tell a guest of its events have in common. */
import type { Domain } from '../../emulator/domain.ts';
import type { Host } from '../../emulator/host.ts';
import type { Vcpu } from '../../emulator/vcpu.ts';

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
  /** FIFO: the queue of that vCPU that the next event goes to ... */
  priority: number;
  /** ... the one that it was last linked in ... */
  lastVcpu: number;
  lastPriority: number;
  /** ... and an event that came before the port had a word. */
  isRaisedUnseen: boolean;
}

/** How a guest is told of events (struct evtchn_port_ops): two_level.ts, fifo.ts. */
export interface EventAbi {
  /** How many ports it can name. */
  readonly maxPorts: number;
  /** An event on `port`: marks it, tells and wakes `vcpu` unless the port is masked, and ends the polls for it. */
  setPending(host: Host, vcpu: Vcpu, port: Port): void;
  clearPending(host: Host, domain: Domain, port: Port): void;
  /** Clears the mask; an event that was held back reaches `vcpu`. */
  unmask(host: Host, vcpu: Vcpu, port: Port): void;
  isPending(host: Host, domain: Domain, port: Port): boolean;
  isMasked(host: Host, domain: Domain, port: Port): boolean;
  /** The guest still holds it in a queue: it cannot be given out. */
  isBusy(host: Host, domain: Domain, port: Port): boolean;
  /** Where it stands on its way to the guest, as debug key `e` shows it. */
  describe(host: Host, domain: Domain, port: Port): string;
}
