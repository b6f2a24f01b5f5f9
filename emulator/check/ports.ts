/** Event channel ports: used after they were closed, and events that nothing will tell the guest of. */
import { errno } from '../../hypercalls/abi/errno.ts';
import { sched_poll } from '../../hypercalls/abi/sched.ts';
import type { CallRecord } from '../../hypercalls/call.ts';
import type { Port } from '../../hypercalls/event_channel/port.ts';
import { isUsable, portsOf } from '../../hypercalls/event_channel/ports.ts';
import type { Domain } from '../domain.ts';
import type { Host } from '../host.ts';
import type { Vcpu } from '../vcpu.ts';
import { peekNumber } from './peek.ts';

/** Operations of event_channel_op that are made on a port, which their struct begins with. Asking for its status is no use. */
const USES = new Set(['close', 'send', 'bind_vcpu', 'unmask', 'set_priority'].map((name) => `event_channel_op.${name}`));

export class PortUse {
  readonly #closed = new Set<Port>();

  /** Before operation `op`. */
  calling(domain: Domain, op: string): void {
    // The ports that a reset closes are only known before it.
    if (op === 'event_channel_op.reset') for (const port of portsOf.of(domain)) if (isUsable(port)) this.#closed.add(port);
  }

  /** After it: what it did with closed ports. */
  called(host: Host, domain: Domain, record: CallRecord, op: string): string[] {
    if (op === 'sched_op.poll') return record.result === -errno.EINVAL ? this.#polled(host, domain, record) : [];
    if (!USES.has(op) || !record.hasStruct) return [];
    const port = portsOf.of(domain).get(record.view.getUint32(0, true));
    if (port === undefined) return [];
    if (op === 'event_channel_op.close' && record.result === 0) {
      this.#closed.add(port);
      return [];
    }
    return this.#complain(port);
  }

  #polled(host: Host, domain: Domain, record: CallRecord): string[] {
    const { ports, nr_ports } = sched_poll.read(record.view, 0);
    return Array.from({ length: nr_ports }, (_, i) => peekNumber(host, ports + BigInt(i * 4), 4)).flatMap((number) => {
      const port = number === undefined ? undefined : portsOf.of(domain).get(Number(number));
      return port === undefined ? [] : this.#complain(port);
    });
  }

  #complain(port: Port): string[] {
    return this.#closed.has(port) && port.binding.kind === 'free' ? [`port ${port.number} is used after it was closed`] : [];
  }
}

/** `vcpu` has gone to sleep until an event comes: ports whose event it was not told of, and will not be. */
export function lostEvents(host: Host, vcpu: Vcpu): string[] {
  return pendingPorts(host, vcpu, false).map(
    ({ number }) =>
      `the vCPU blocks while port ${number} is pending and unmasked: its selector or upcall flag was cleared, so this event is lost`,
  );
}

/** `vcpu` sleeps for good: ports whose event waits behind their mask. */
export function maskedEvents(host: Host, vcpu: Vcpu): string[] {
  return pendingPorts(host, vcpu, true).map(({ number }) => `the vCPU waits forever while port ${number} is pending and masked`);
}

function pendingPorts(host: Host, vcpu: Vcpu, isMasked: boolean): Port[] {
  const { domain } = vcpu;
  const ports = portsOf.of(domain);
  return [...ports].filter(
    (port) =>
      isUsable(port) &&
      port.notifyVcpu === vcpu.id &&
      ports.abi.isPending(host, domain, port) &&
      ports.abi.isMasked(host, domain, port) === isMasked,
  );
}
