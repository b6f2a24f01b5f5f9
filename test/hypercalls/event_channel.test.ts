/** Event channels of a domU, as the real Xen 4.17 has them. Rows marked (measured) were recorded there. */
import t from 'tap';
import * as ev from '../../hypercalls/abi/event_channel.ts';
import { connectToHost, raiseVirq } from '../../hypercalls/event_channel/ports.ts';
import { check, makeDomU, name } from '../support/dom_u.ts';
import { ARG, DOMID_SELF, type FakeHost, IN_XEN } from '../support/fake_host.ts';

t.test('event channels', (t) => {
  const evtchn = (guest: FakeHost, cmd: number, row: Parameters<FakeHost['op']>[2], values: Record<string, unknown>) =>
    name(guest.op(32, cmd, row, values));
  const status = (guest: FakeHost, port: number, dom = DOMID_SELF) => {
    const result = evtchn(guest, 5, ev.evtchn_status, { dom, port });
    return result === 0 ? guest.result(ev.evtchn_status) : result;
  };

  t.test('ports are given from the lowest free one; the toolstack made 1 and 2 (measured)', (t) => {
    const guest = makeDomU();
    t.same(
      [status(guest, 0), status(guest, 3)].map((s) => (s as { status: number }).status),
      [0, 0],
    );
    t.match(status(guest, 1), { status: 2, vcpu: 0, u: { interdomain: { dom: 0 } } });
    t.equal(status(guest, 64), 'EINVAL', 'ports come in groups of 64; beyond the last is no port');
    t.equal(evtchn(guest, 6, ev.evtchn_alloc_unbound, { dom: DOMID_SELF, remote_dom: DOMID_SELF }), 0);
    t.equal(guest.result(ev.evtchn_alloc_unbound).port, 3);
    t.match(status(guest, 3), { status: 1, u: { unbound: { dom: 1 } } });
    t.equal(evtchn(guest, 0, ev.evtchn_bind_interdomain, { remote_dom: DOMID_SELF, remote_port: 3 }), 0);
    t.match(status(guest, 4), { status: 2, u: { interdomain: { dom: 1, port: 3 } } });
    t.match(status(guest, 3), { status: 2, u: { interdomain: { dom: 1, port: 4 } } });
    t.ok(guest.isPending(4), 'binding raises the new port once');
    t.same(guest.upcall, { pending: 1, mask: 1, sel: 1n });
    t.equal(evtchn(guest, 3, ev.evtchn_close, { port: 3 }), 0);
    t.match(status(guest, 4), { status: 1, u: { unbound: { dom: 1 } } }, 'the other end is unbound then');
    t.equal(evtchn(guest, 3, ev.evtchn_close, { port: 3 }), 'EINVAL');
    t.equal(evtchn(guest, 6, ev.evtchn_alloc_unbound, { dom: DOMID_SELF, remote_dom: 999 }), 0, 'nobody checks the remote domain');
    t.end();
  });

  t.test('refusals (measured)', (t) => {
    const guest = makeDomU();
    const rows: readonly [string, number, Parameters<FakeHost['op']>[2], Record<string, unknown>, string | number][] = [
      ['alloc for another domain', 6, ev.evtchn_alloc_unbound, { dom: 0 }, 'EPERM'],
      ['alloc for none', 6, ev.evtchn_alloc_unbound, { dom: 999 }, 'ESRCH'],
      ['alloc for DOMID_XEN', 6, ev.evtchn_alloc_unbound, { dom: 0x7ff2 }, 'ESRCH'],
      ['send on port 0', 4, ev.evtchn_send, { port: 0 }, 'EINVAL'],
      ['send on a free port', 4, ev.evtchn_send, { port: 9 }, 'EINVAL'],
      ['send on no port', 4, ev.evtchn_send, { port: 100000 }, 'EINVAL'],
      ['close port 0', 3, ev.evtchn_close, { port: 0 }, 'EINVAL'],
      ['virq 24', 1, ev.evtchn_bind_virq, { virq: 24 }, 'EINVAL'],
      ['virq -1', 1, ev.evtchn_bind_virq, { virq: 0xffff_ffff }, 'EINVAL'],
      ['a timer for a vCPU that is not', 1, ev.evtchn_bind_virq, { virq: 0, vcpu: 1 }, 'ENOENT'],
      ['a global virq for another vCPU', 1, ev.evtchn_bind_virq, { virq: 2, vcpu: 1 }, 'EINVAL'],
      ['an IPI for a vCPU that is not', 7, ev.evtchn_bind_ipi, { vcpu: 1 }, 'ENOENT'],
      ['physical interrupt 0', 2, ev.evtchn_bind_pirq, { pirq: 0 }, 'EPERM'],
      ['physical interrupt 56', 2, ev.evtchn_bind_pirq, { pirq: 56 }, 'EINVAL'],
      ['bind_vcpu of the console port', 8, ev.evtchn_bind_vcpu, { port: 1, vcpu: 0 }, 0],
      ['bind_vcpu to no vCPU', 8, ev.evtchn_bind_vcpu, { port: 1, vcpu: 5 }, 'ENOENT'],
      ['bind_vcpu of port 0', 8, ev.evtchn_bind_vcpu, { port: 0, vcpu: 0 }, 'EINVAL'],
      ['unmask of port 0', 9, ev.evtchn_unmask, { port: 0 }, 0],
      ['unmask of no port', 9, ev.evtchn_unmask, { port: 99999 }, 'EINVAL'],
      ['status of another domain', 5, ev.evtchn_status, { dom: 0, port: 1 }, 'EPERM'],
      ['status of another domain, no port', 5, ev.evtchn_status, { dom: 0, port: 99999 }, 'EINVAL'],
      ['reset of another domain', 10, ev.evtchn_reset, { dom: 0 }, 'EPERM'],
      ['reset of no domain', 10, ev.evtchn_reset, { dom: 999 }, 'ESRCH'],
      ['continuing no reset', 14, ev.evtchn_reset, { dom: DOMID_SELF }, 'EBUSY'],
      ['unknown op', 15, ev.evtchn_reset, {}, 'ENOSYS'],
      ['a control block for no vCPU', 11, ev.evtchn_init_control, { vcpu: 1, offset: 4096 }, 'ENOENT'],
      ['a control block across the page', 11, ev.evtchn_init_control, { offset: 4032 }, 'EINVAL'],
      ['a control block in no frame', 11, ev.evtchn_init_control, { control_gfn: 1n << 40n }, 'EINVAL'],
      ['an array page without a control block', 12, ev.evtchn_expand_array, {}, 'EOPNOTSUPP'],
      ['a priority without a control block', 13, ev.evtchn_set_priority, { port: 1, priority: 99 }, 'ENOSYS'],
    ];
    for (const [claim, cmd, row, values, answer] of rows) t.equal(evtchn(guest, cmd, row, values), answer, claim);
    check(t, guest, [
      ['a NULL struct', 32, [4, 0], 'EFAULT'],
      ["a struct in ring -1's memory", 32, [4, IN_XEN], 'EFAULT'],
      ['only the low half of cmd counts', 32, [0x1_0000_0004n, guest.argument(ev.evtchn_send, { port: 1 })], 0],
      ['bind_interdomain by the old call', 16, [guest.vaddrOf(ARG)], 'EINVAL'],
      ['the old call, unmapped', 16, [8], 'EFAULT'],
    ]);
    t.end();
  });

  t.test('a domU has ports up to 1023, and no more (measured)', (t) => {
    const guest = makeDomU();
    let last = 0;
    while (evtchn(guest, 6, ev.evtchn_alloc_unbound, { dom: DOMID_SELF }) === 0)
      last = guest.result(ev.evtchn_alloc_unbound).port as number;
    t.equal(last, 1023);
    t.equal(evtchn(guest, 7, ev.evtchn_bind_ipi, { vcpu: 0 }), 'ENOSPC');
    t.equal(evtchn(guest, 0, ev.evtchn_bind_interdomain, { remote_dom: DOMID_SELF, remote_port: 99999 }), 'ENOSPC');
    t.end();
  });

  t.test('every VIRQ can be bound once', (t) => {
    const guest = makeDomU();
    for (let virq = 0; virq < 24; virq++) {
      t.equal(evtchn(guest, 1, ev.evtchn_bind_virq, { virq, vcpu: 0 }), 0);
      t.equal(evtchn(guest, 1, ev.evtchn_bind_virq, { virq, vcpu: 0 }), 'EEXIST');
    }
    const port = 3;
    t.equal(evtchn(guest, 8, ev.evtchn_bind_vcpu, { port, vcpu: 0 }), 'EINVAL', 'a timer stays where it is bound');
    t.equal(evtchn(guest, 8, ev.evtchn_bind_vcpu, { port: port + 2, vcpu: 0 }), 0, 'a global one may move');
    raiseVirq(guest.host, guest.vcpu, 0);
    t.ok(guest.isPending(port));
    evtchn(guest, 3, ev.evtchn_close, { port });
    t.notOk(guest.isPending(port), 'closing clears the pending bit');
    raiseVirq(guest.host, guest.vcpu, 0);
    t.notOk(guest.isPending(port));
    t.equal(evtchn(guest, 1, ev.evtchn_bind_virq, { virq: 0, vcpu: 0 }), 0, 'and it can be bound again');
    t.end();
  });

  t.test('pending, mask, selector and upcall', (t) => {
    const guest = makeDomU();
    evtchn(guest, 7, ev.evtchn_bind_ipi, { vcpu: 0 });
    const { port } = guest.result(ev.evtchn_bind_ipi) as { port: number };
    const send = () => evtchn(guest, 4, ev.evtchn_send, { port });
    guest.setMask(port, true);
    guest.vcpu.isBlocked = true;
    send();
    t.ok(guest.isPending(port));
    t.same([guest.upcall.pending, guest.upcall.sel, guest.vcpu.isBlocked], [0, 0n, true], 'a masked port tells nobody');
    evtchn(guest, 9, ev.evtchn_unmask, { port });
    t.same([guest.upcall.pending, guest.upcall.sel, guest.vcpu.isBlocked], [1, 1n, false], 'until it is unmasked');
    guest.clearEvents();
    evtchn(guest, 9, ev.evtchn_unmask, { port });
    t.equal(guest.upcall.pending, 0, 'unmasking without a pending event does nothing');
    send();
    guest.vcpu.isBlocked = true;
    send();
    t.ok(guest.vcpu.isBlocked, 'an event that is still pending wakes nobody again');
    t.end();
  });

  t.test('a channel to the host: both directions', (t) => {
    const guest = makeDomU();
    evtchn(guest, 4, ev.evtchn_send, { port: 1 });
    t.same(guest.heard, [1]);
    evtchn(guest, 6, ev.evtchn_alloc_unbound, { dom: DOMID_SELF, remote_dom: 0 });
    let heard = 0;
    const channel = connectToHost(guest.host, guest.domain, () => heard++, 3)!;
    t.equal(channel.port, 3);
    channel.notify();
    t.ok(guest.isPending(3));
    t.equal(
      connectToHost(guest.host, guest.domain, () => {}, 3),
      undefined,
      'a bound port is not waiting',
    );
    t.equal(evtchn(guest, 10, ev.evtchn_reset, { dom: DOMID_SELF }), 0);
    t.match(status(guest, 3), { status: 0 });
    channel.notify();
    t.notOk(guest.isPending(3), 'after the guest closed its end the host speaks to nobody');
    t.equal(heard, 0);
    t.end();
  });
  t.end();
});
