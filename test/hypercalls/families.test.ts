/**
 * The hypercalls of a domU answer as the real Xen 4.17 does. Rows marked (measured) were recorded there, by a guest that
 * asks them all; the others follow from its headers.
 */
import t, { type Test } from 'tap';
import { type ErrnoName, errno } from '../../hypercalls/abi/errno.ts';
import * as ev from '../../hypercalls/abi/event_channel.ts';
import * as grant from '../../hypercalls/abi/grant_table.ts';
import * as mem from '../../hypercalls/abi/memory.ts';
import * as phys from '../../hypercalls/abi/physdev.ts';
import * as sched from '../../hypercalls/abi/sched.ts';
import * as vcpu from '../../hypercalls/abi/vcpu.ts';
import * as version from '../../hypercalls/abi/version.ts';
import { shared_info, vcpu_time_info } from '../../hypercalls/abi/xen.ts';
import { multicall_entry } from '../../hypercalls/abi/xen_calls.ts';
import { traceHypercalls } from '../../hypercalls/dispatch.ts';
import { connectToHost, raiseVirq } from '../../hypercalls/event_channel/ports.ts';
import { seedGrant } from '../../hypercalls/grant_table/toolstack.ts';
import { setMemoryMap } from '../../hypercalls/memory/op.ts';
import { pvVcpu } from '../../hypercalls/pv_cpu/state.ts';
import { enterCore, leaveCore } from '../../hypercalls/vcpu/runstate.ts';
import { updateTimeInfo, writeWallClock } from '../../hypercalls/vcpu/time.ts';
import { ARG, DATA, DOMID_SELF, FakeHost, IN_XEN, LIST, UNMAPPED } from '../support/fake_host.ts';

const name = (result: number): string | number => Object.entries(errno).find(([, value]) => value === -result)?.[0] ?? result;
const MS = 1_000_000n;

/** Console and xenstore ports as xl makes them: 1 and 2. */
function makeDomU(options = {}): FakeHost & { heard: number[] } {
  const guest = Object.assign(new FakeHost(options), { heard: [] as number[] });
  for (let i = 0; i < 2; i++) {
    const channel = connectToHost(guest.host, guest.domain, () => guest.heard.push(channel!.port));
  }
  return guest;
}

type Row = readonly [claim: string, nr: number, args: readonly (number | bigint)[], answer: ErrnoName | number];

function check(t: Test, guest: FakeHost, rows: readonly Row[]): void {
  for (const [claim, nr, args, answer] of rows) t.equal(name(guest.call(nr, ...args)), answer, claim);
}

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

t.test('sched_op and set_timer_op', (t) => {
  t.test('refusals (measured)', (t) => {
    const guest = makeDomU();
    const poll = (nr_ports: number, ports: bigint) => guest.argument(sched.sched_poll, { nr_ports, ports, timeout: 1n });
    const list = guest.vaddrOf(LIST);
    guest.memory.view.setUint32(Number(guest.maddrOf(LIST)), 99999, true);
    const at = (row: Parameters<FakeHost['op']>[2], values: Record<string, unknown>) => guest.argument(row, values);
    const rows: readonly [string, number, () => bigint | number, ErrnoName | number][] = [
      ['unknown op', 8, () => 0, 'ENOSYS'],
      ['negative op', -1, () => 0, 'ENOSYS'],
      ['shutdown, wild pointer', 2, () => 8, 'EFAULT'],
      ['remote_shutdown of dom0', 4, () => at(sched.sched_remote_shutdown, { domain_id: 0 }), 'EPERM'],
      ['remote_shutdown of none', 4, () => at(sched.sched_remote_shutdown, { domain_id: 999 }), 'ESRCH'],
      ['remote_shutdown of DOMID_SELF', 4, () => at(sched.sched_remote_shutdown, { domain_id: DOMID_SELF }), 'ESRCH'],
      ['pin_override, even with a wild pointer', 7, () => 8, 'EPERM'],
      ['poll of 129 ports', 3, () => poll(129, IN_XEN), 'EINVAL'],
      ['poll of a bad port', 3, () => poll(1, list), 'EINVAL'],
      ['poll, list in ring -1', 3, () => poll(0, IN_XEN), 'EFAULT'],
      ['poll, wild list', 3, () => poll(1, 8n), 'EFAULT'],
      ['watchdog 3', 6, () => at(sched.sched_watchdog, { id: 3 }), 'EINVAL'],
      ['watchdog 1, not running', 6, () => at(sched.sched_watchdog, { id: 1 }), 'EINVAL'],
      ['first watchdog', 6, () => at(sched.sched_watchdog, { id: 0, timeout: 10 }), 1],
      ['second', 6, () => at(sched.sched_watchdog, { id: 0, timeout: 1000 }), 2],
      ['third: -ENOSPC as 32 bits', 6, () => at(sched.sched_watchdog, { id: 0, timeout: 1000 }), 0xffff_ffe4],
      ['second stopped', 6, () => at(sched.sched_watchdog, { id: 2, timeout: 0 }), 0],
      ['second stopped again', 6, () => at(sched.sched_watchdog, { id: 2, timeout: 0 }), 'EINVAL'],
    ];
    for (const [claim, cmd, argument, answer] of rows) t.equal(name(guest.call(29, cmd, argument())), answer, claim);
    check(t, guest, [['old sched_op 9', 6, [9, 0], 'ENOSYS']]);
    guest.advance(11_000n * MS);
    t.equal(guest.shutdownReason, 4, 'the watchdog that nobody patted ends the domain');
    t.end();
  });

  t.test('block waits unless an event is there', (t) => {
    const guest = makeDomU();
    guest.clearEvents();
    t.equal(guest.call(29, 1), 0);
    t.same([guest.upcall.mask, guest.vcpu.isBlocked], [0, true]);
    guest.vcpu.isBlocked = false;
    guest.op(32, 6, ev.evtchn_alloc_unbound, { dom: DOMID_SELF, remote_dom: DOMID_SELF });
    guest.op(32, 0, ev.evtchn_bind_interdomain, { remote_dom: DOMID_SELF, remote_port: 3 });
    guest.call(29, 1);
    t.notOk(guest.vcpu.isBlocked);
    t.end();
  });

  t.test('poll waits for its port or its time', (t) => {
    const guest = makeDomU();
    guest.op(32, 7, ev.evtchn_bind_ipi, { vcpu: 0 });
    guest.memory.view.setUint32(Number(guest.maddrOf(LIST)), 3, true);
    const poll = (timeout: bigint) => guest.op(29, 3, sched.sched_poll, { nr_ports: 1, ports: guest.vaddrOf(LIST), timeout });
    t.equal(poll(guest.now + 5n * MS), 0);
    t.ok(guest.vcpu.isBlocked);
    guest.advance(4n * MS);
    t.ok(guest.vcpu.isBlocked);
    guest.advance(1n * MS);
    t.notOk(guest.vcpu.isBlocked, 'the time is over');
    poll(0n);
    guest.setMask(3, true);
    guest.op(32, 4, ev.evtchn_send, { port: 3 });
    t.notOk(guest.vcpu.isBlocked, 'an event on the port ends it, masked or not');
    poll(0n);
    t.notOk(guest.vcpu.isBlocked, 'a pending port is not waited for');
    guest.clearEvents();
    poll(1n);
    guest.advance(0n);
    t.notOk(guest.vcpu.isBlocked, 'a time in the past is over at once');
    t.end();
  });

  t.test('shutdown gives the low byte of the reason, or the code fixed before', (t) => {
    for (const [reason, before, expected] of [
      [0x100, undefined, 0],
      [1, undefined, 1],
      [0, 3, 3],
    ] as const) {
      const guest = makeDomU();
      if (before !== undefined) t.equal(guest.op(29, 5, sched.sched_shutdown, { reason: before }), 0);
      if (before !== undefined) t.equal(name(guest.op(29, 5, sched.sched_shutdown, { reason: before })), 'EBUSY');
      t.equal(guest.op(29, 2, sched.sched_shutdown, { reason }), 0);
      t.equal(guest.shutdownReason, expected);
    }
    t.end();
  });

  t.test('times that wrapped fire after 100 ms (measured)', (t) => {
    for (const [timeout, after] of [
      [-1n, 100n],
      [-5_000_000_000n, 100n],
      [1n << 52n, 100n],
      [1n << 62n, 100n],
      [1n, 0n],
      [1_050_000_000n, 50n],
    ] as const) {
      const guest = makeDomU();
      guest.op(32, 1, ev.evtchn_bind_virq, { virq: 0, vcpu: 0 });
      t.equal(guest.call(15, timeout), 0);
      guest.advance(after * MS - 1n);
      if (after > 0n) t.notOk(guest.isPending(3), `${timeout} not before`);
      guest.advance(1n);
      t.ok(guest.isPending(3), `${timeout} after ${after} ms`);
    }
    const guest = makeDomU();
    guest.op(32, 1, ev.evtchn_bind_virq, { virq: 0, vcpu: 0 });
    guest.call(15, guest.now + MS);
    guest.call(15, 0);
    guest.advance(10n * MS);
    t.notOk(guest.isPending(3), '0 stops it');
    t.end();
  });
  t.end();
});

t.test('vcpu_op', (t) => {
  t.test('answers (measured)', (t) => {
    const guest = makeDomU();
    const at = (row: Parameters<FakeHost['op']>[2], values: Record<string, unknown>) => guest.argument(row, values);
    for (let cmd = 0; cmd < 16; cmd++) t.equal(name(guest.call(24, cmd, 1, 8)), 'ENOENT', `op ${cmd} of a vCPU that is not`);
    const rows: readonly [string, number, () => bigint | number, ErrnoName | number][] = [
      ['unknown op', 99, () => 0, 'ENOSYS'],
      ['is_up', 3, () => 0, 1],
      ['initialise what runs', 0, () => guest.vaddrOf(ARG), 'EEXIST'],
      ['initialise, wild pointer', 0, () => 8, 'EFAULT'],
      ['up', 1, () => 0, 0],
      ['runstate', 4, () => guest.vaddrOf(ARG), 0],
      ['runstate, wild pointer', 4, () => 8, 'EFAULT'],
      ['runstate area, wild', 5, () => at(vcpu.vcpu_register_runstate_memory_area, { addr: 8n }), 0],
      ['runstate area in ring -1', 5, () => at(vcpu.vcpu_register_runstate_memory_area, { addr: IN_XEN }), 'EFAULT'],
      ['period below 1 ms', 6, () => at(vcpu.vcpu_set_periodic_timer, { period_ns: 999_999n }), 'EINVAL'],
      ['period of 2^62', 6, () => at(vcpu.vcpu_set_periodic_timer, { period_ns: 1n << 62n }), 'EINVAL'],
      ['period of 2^63', 6, () => at(vcpu.vcpu_set_periodic_timer, { period_ns: 1n << 63n }), 'EINVAL'],
      ['period of 2^57', 6, () => at(vcpu.vcpu_set_periodic_timer, { period_ns: 1n << 57n }), 0],
      ['stop it', 7, () => 8, 0],
      ['one shot in the past, future flag', 8, () => at(vcpu.vcpu_set_singleshot_timer, { timeout_abs_ns: 1n, flags: 1 }), 0],
      ['one shot, wild pointer', 8, () => 8, 'EFAULT'],
      ['stop it', 9, () => 0, 0],
      ['physical core', 12, () => 8, 'EINVAL'],
      ['NMI with an argument', 11, () => 8, 'EINVAL'],
      ['time area, wild', 13, () => at(vcpu.vcpu_register_time_memory_area, { addr: 8n }), 0],
      ['time area in ring -1', 13, () => at(vcpu.vcpu_register_time_memory_area, { addr: IN_XEN }), 'EFAULT'],
      ['vcpu_info beyond the page', 10, () => at(vcpu.vcpu_register_vcpu_info, { mfn: 0n, offset: 4033 }), 'ENXIO'],
      ['vcpu_info unaligned', 10, () => at(vcpu.vcpu_register_vcpu_info, { mfn: BigInt(guest.p2m[DATA]!), offset: 3 }), 'ENXIO'],
      ['vcpu_info in frame 0', 10, () => at(vcpu.vcpu_register_vcpu_info, { mfn: 0n }), 'EINVAL'],
      ['vcpu_info in no frame', 10, () => at(vcpu.vcpu_register_vcpu_info, { mfn: (1n << 64n) - 1n }), 'EINVAL'],
      ['vcpu_info in a page table', 10, () => at(vcpu.vcpu_register_vcpu_info, { mfn: BigInt(guest.boot.l4Mfn) }), 'EINVAL'],
      ['vcpu_info', 10, () => at(vcpu.vcpu_register_vcpu_info, { mfn: BigInt(guest.p2m[DATA]!), offset: 64 }), 0],
      ['vcpu_info twice', 10, () => at(vcpu.vcpu_register_vcpu_info, { mfn: BigInt(guest.p2m[DATA]!), offset: 64 }), 'EINVAL'],
    ];
    for (const [claim, cmd, argument, answer] of rows) t.equal(name(guest.call(24, cmd, 0, argument())), answer, claim);
    t.same(guest.upcall, { pending: 1, mask: 1, sel: 0xffff_ffff_ffff_ffffn }, 'after a move the guest looks at everything');
    t.equal(guest.vcpu.vcpuInfoMaddr, guest.p2m[DATA]! * 4096 + 64);
    t.end();
  });

  t.test('the periodic timer ticks at 100 Hz from the start, only while the vCPU is on a core (measured)', (t) => {
    const guest = makeDomU();
    guest.op(32, 1, ev.evtchn_bind_virq, { virq: 0, vcpu: 0 });
    const ticks = (ms: number) => {
      let count = 0;
      for (let i = 0; i < ms; i++) {
        guest.advance(MS);
        if (guest.isPending(3)) count++;
        guest.clearEvents();
      }
      return count;
    };
    enterCore(guest.host, guest.vcpu);
    guest.clearEvents();
    t.equal(ticks(100), 10);
    guest.vcpu.isBlocked = true;
    leaveCore(guest.host, guest.vcpu);
    t.equal(ticks(100), 0);
    enterCore(guest.host, guest.vcpu);
    t.ok(guest.isPending(3), 'one tick stands for all the missed ones');
    guest.call(24, 6, 0, guest.argument(vcpu.vcpu_set_periodic_timer, { period_ns: 5n * MS }));
    guest.clearEvents();
    t.equal(ticks(100), 20);
    guest.call(24, 7, 0, 0);
    t.equal(ticks(100), 0);
    t.equal(guest.timers.next(), Number.POSITIVE_INFINITY);
    t.end();
  });

  t.test('runstate: where the time went, also in the area that the guest registered', (t) => {
    const guest = makeDomU();
    enterCore(guest.host, guest.vcpu);
    guest.advance(3n * MS);
    guest.vcpu.isBlocked = true;
    leaveCore(guest.host, guest.vcpu);
    guest.advance(5n * MS);
    guest.vcpu.isBlocked = false;
    enterCore(guest.host, guest.vcpu);
    guest.call(24, 5, 0, guest.argument(vcpu.vcpu_register_runstate_memory_area, { addr: guest.vaddrOf(DATA) }));
    t.match(guest.result(vcpu.vcpu_runstate_info, DATA), { state: 0, state_entry_time: guest.now, time: [3n * MS, 0n, 5n * MS] });
    guest.advance(2n * MS);
    guest.call(24, 4, 0, guest.vaddrOf(ARG));
    t.match(guest.result(vcpu.vcpu_runstate_info), { state: 0, time: [5n * MS, 0n, 5n * MS] });
    t.end();
  });

  t.test('time records tell the TSC in nanoseconds', (t) => {
    const guest = makeDomU();
    updateTimeInfo(guest.host, guest.vcpu, true);
    writeWallClock(guest.host, guest.domain);
    const at = guest.vcpu.vcpuInfoMaddr + 32;
    const first = vcpu_time_info.read(guest.memory.view, at);
    t.match(first, { version: 2, system_time: guest.now, tsc_timestamp: guest.now * 2n, flags: 0 });
    const tsc = (guest.now + 500n * MS) * 2n - first.tsc_timestamp;
    const shifted = first.tsc_shift < 0 ? tsc >> BigInt(-first.tsc_shift) : tsc << BigInt(first.tsc_shift);
    const ns = (shifted * BigInt(first.tsc_to_system_mul)) >> 32n;
    t.ok(ns > 500n * MS - 10n && ns <= 500n * MS, String(ns));
    updateTimeInfo(guest.host, guest.vcpu);
    t.equal(vcpu_time_info.read(guest.memory.view, at).version, 2, 'a record serves for a second');
    guest.advance(1000n * MS);
    updateTimeInfo(guest.host, guest.vcpu);
    t.equal(vcpu_time_info.read(guest.memory.view, at).version, 4);
    guest.call(24, 13, 0, guest.argument(vcpu.vcpu_register_time_memory_area, { addr: guest.vaddrOf(DATA) }));
    t.same(guest.result(vcpu_time_info, DATA), vcpu_time_info.read(guest.memory.view, at));
    const wall = guest.sharedInfo + shared_info.offset.wc_version;
    t.same(
      [0, 4, 8, 12].map((i) => guest.memory.view.getUint32(wall + i, true)),
      [2, 1_700_000_000, 123_456_789, 0],
    );
    t.end();
  });
  t.end();
});

t.test("xen_version says what Debian 12's Xen says (measured)", (t) => {
  const guest = makeDomU();
  const dirty = () => guest.memory.bytes.fill(0x55, Number(guest.maddrOf(ARG)), Number(guest.maddrOf(ARG)) + 4096);
  t.equal(guest.call(17, 0), 0x40011);
  const sizes: readonly [cmd: number, size: number][] = [
    [1, 16],
    [2, 144],
    [3, 1024],
    [4, 64],
    [5, 8],
    [8, 16],
    [9, 9],
  ];
  for (const [cmd, size] of sizes) {
    dirty();
    t.equal(guest.call(17, cmd, guest.vaddrOf(ARG)), 0);
    const page = guest.memory.frameBytes(guest.p2m[ARG]!);
    t.equal(page.findLastIndex((byte) => byte !== 0x55) + 1, size, `op ${cmd} writes ${size} bytes`);
  }
  t.equal(guest.call(17, 1, guest.vaddrOf(ARG)), 0);
  t.equal(guest.result(version.xen_extraversion_t).text, '.7');
  t.equal(guest.op(17, 6, version.xen_feature_info, { submap_idx: 0 }), 0);
  t.equal(guest.result(version.xen_feature_info).submap, 0x220e0);
  t.equal(guest.call(21, 0, 3), 0);
  guest.op(17, 6, version.xen_feature_info, { submap_idx: 0 });
  t.equal(guest.result(version.xen_feature_info).submap, 0x220f0, 'with the assist pae_extended_cr3');
  check(t, guest, [
    ['features 1', 17, [6, guest.argument(version.xen_feature_info, { submap_idx: 1 })], 'EINVAL'],
    ['page size', 17, [7, 0], 4096],
    ['page size with a pointer', 17, [7, guest.vaddrOf(ARG)], 'EINVAL'],
    ['build id', 17, [10, 0], 'EPERM'],
    ['unknown', 17, [11, 0], 'ENOSYS'],
    ['extraversion to nowhere', 17, [1, 0], 'EFAULT'],
  ]);
  t.end();
});

t.test('console_io', (t) => {
  const text = 'words\n';
  const write = (guest: FakeHost) => {
    guest.memory.bytes.set(
      Uint8Array.from(text, (c) => c.charCodeAt(0)),
      Number(guest.maddrOf(DATA)),
    );
    return name(guest.call(18, 0, text.length, guest.vaddrOf(DATA)));
  };
  const domU = makeDomU();
  t.same([write(domU), name(domU.call(18, 1, 3, 8)), name(domU.call(18, 2))], ['EPERM', 'EPERM', 'EPERM'], 'nothing for a domU (measured)');
  t.equal(write(makeDomU({ verboseDebug: true })), 0);
  const dom0 = new FakeHost({ isInitial: true });
  t.same([write(dom0), dom0.console], [0, text]);
  dom0.keys = 'abc';
  t.equal(dom0.call(18, 1, 2, dom0.vaddrOf(DATA)), 2);
  t.same([...dom0.memory.frameBytes(dom0.p2m[DATA]!).subarray(0, 2)], [97, 98]);
  check(t, dom0, [
    ['a wild pointer', 18, [0, 5, UNMAPPED], 'EFAULT'],
    ['unknown', 18, [2, 0, 0], 'ENOSYS'],
    ['nothing typed', 18, [1, 0, 0], 0],
  ]);
  dom0.console = '';
  t.equal(dom0.call(18, 0, 10000, dom0.vaddrOf(DATA)), 0, 'a long text comes whole');
  t.equal(dom0.console.length, 10000);
  t.end();
});

t.test('memory_op', (t) => {
  const guest = makeDomU();
  setMemoryMap(guest.domain, 2048);
  const self = guest.argument(mem.xen_memory_domain, { domid: DOMID_SELF }, LIST);
  const other = guest.argument(mem.xen_memory_domain, { domid: 0 }, DATA);
  check(t, guest, [
    ['frames of the machine', 12, [2, 8], guest.memory.frameCount - 1],
    ['own pages', 12, [3, self], guest.memory.pageCount(1)],
    ["dom0's pages", 12, [3, other], 'EPERM'],
    ['own limit', 12, [4, self], 2048],
    ['highest pfn of a PV guest', 12, [14, self], 0],
    ['wild pointer', 12, [3, 8], 'EFAULT'],
    ['add_to_physmap', 12, [7, guest.vaddrOf(ARG)], 'EACCES'],
    ['machine map', 12, [10, 8], 'EPERM'],
    ['compat list', 12, [25, 8], 'EOPNOTSUPP'],
    ['unknown', 12, [63, 8], 'ENOSYS'],
    ['increase, wild pointer', 12, [0, 8], 0],
    ['decrease, wild pointer', 12, [1, 8], 0],
    ['populate, zeros', 12, [6, guest.vaddrOf(ARG)], 0],
    ['exchange of nothing', 12, [11, guest.vaddrOf(ARG)], 0],
  ]);
  t.equal(guest.op(12, 12, mem.xen_machphys_mapping, {}), 0);
  t.same(guest.result(mem.xen_machphys_mapping), { v_start: IN_XEN, v_end: 0xffff_8040_0000_0000n, max_mfn: 0x7_ffff_ffffn });
  t.equal(guest.op(12, 9, mem.xen_memory_map, { nr_entries: 32, buffer: guest.vaddrOf(LIST) }), 0);
  t.same([guest.result(mem.xen_memory_map).nr_entries, guest.peek(LIST, 0), guest.peek(LIST, 1)], [1, 0n, 0x80_0000n]);
  t.equal(name(guest.op(12, 9, mem.xen_memory_map, { nr_entries: 1, buffer: 8n })), 'EFAULT');
  t.equal(guest.op(12, 9, mem.xen_memory_map, { nr_entries: 0 }), 0);
  t.equal(guest.op(12, 5, mem.xen_machphys_mfn_list, { max_extents: 4, extent_start: guest.vaddrOf(LIST) }), 0);
  t.same([guest.result(mem.xen_machphys_mfn_list).nr_extents, guest.peek(LIST)], [1, BigInt(guest.memory.m2pMfn)]);

  t.test('pages given back can be had again', (t) => {
    const pages = guest.memory.pageCount(1);
    const mfns = [0x300, 0x301, 0x302].map((pfn) => guest.p2m[pfn]!);
    for (const pfn of [0x300, 0x301, 0x302]) t.equal(guest.call(14, guest.vaddrOf(pfn), 0, 2), 0, 'unmapped first');
    guest.poke(LIST, ...mfns);
    const reservation = { extent_start: guest.vaddrOf(LIST), nr_extents: 3n, domid: DOMID_SELF };
    t.equal(guest.op(12, 1, mem.xen_memory_reservation, reservation), 3);
    t.equal(guest.memory.pageCount(1), pages - 3);
    t.equal(guest.op(12, 1, mem.xen_memory_reservation, reservation), 0, 'not twice');
    guest.poke(LIST, 0x300, 0x301, 0x302);
    t.equal(guest.op(12, 6, mem.xen_memory_reservation, { ...reservation, nr_extents: 3n }), 3);
    t.equal(guest.memory.getM2p(Number(guest.peek(LIST, 2))), 0x302n);
    t.equal(guest.op(12, 0, mem.xen_memory_reservation, reservation), 0, 'but no more than the limit');
    t.equal(guest.op(12, 1, mem.xen_memory_reservation, { ...reservation, domid: 999 }), 0, 'no such domain: nothing done (measured)');
    t.equal(guest.op(12, 1, mem.xen_memory_reservation, { ...reservation, extent_order: 40 }), 0);
    t.equal(guest.op(12, 1, mem.xen_memory_reservation, { ...reservation, nr_extents: 1n << 60n }), 0);
    const given = { ...reservation, extent_order: 0, mem_flags: 0, nr_extents: 1n };
    const page = guest.peek(LIST, 0);
    guest.poke(DATA, 0x345);
    t.equal(guest.op(12, 11, mem.xen_memory_exchange, { in: given, out: { ...given, extent_start: guest.vaddrOf(DATA) } }), 0);
    t.equal(guest.result(mem.xen_memory_exchange).nr_exchanged, 1n);
    t.equal(guest.memory.getM2p(Number(guest.peek(DATA))), 0x345n);
    guest.poke(LIST, page);
    t.equal(name(guest.op(12, 11, mem.xen_memory_exchange, { in: { ...given, domid: 5 }, out: given })), 'EINVAL');
    t.equal(name(guest.op(12, 11, mem.xen_memory_exchange, { in: { ...given, extent_order: 20 }, out: given })), 'EPERM');
    t.end();
  });
  t.end();
});

t.test('grant_table_op', (t) => {
  const guest = makeDomU();
  const op = (cmd: number, row: Parameters<FakeHost['op']>[2], values: Record<string, unknown>, count: number | bigint = 1) => {
    const result = name(guest.call(20, cmd, guest.argument(row, values), count));
    return [result, result === 0 ? guest.result(row).status : undefined];
  };
  const list = guest.vaddrOf(LIST);
  t.same(op(6, grant.gnttab_query_size, { dom: DOMID_SELF }), [0, 0]);
  t.match(guest.result(grant.gnttab_query_size), { nr_frames: 1, max_nr_frames: 64 });
  const rows: readonly [string, unknown, unknown][] = [
    ['query of dom0', op(6, grant.gnttab_query_size, { dom: 0 }), [0, -8]],
    ['query of none', op(6, grant.gnttab_query_size, { dom: 999 }), [0, -2]],
    ['query twice', op(6, grant.gnttab_query_size, { dom: DOMID_SELF }, 2), ['EINVAL', undefined]],
    ['65 frames', op(2, grant.gnttab_setup_table, { dom: DOMID_SELF, nr_frames: 65, frame_list: list }), [0, -1]],
    ['4 frames', op(2, grant.gnttab_setup_table, { dom: DOMID_SELF, nr_frames: 4, frame_list: list }), [0, 0]],
    ["dom0's frames", op(2, grant.gnttab_setup_table, { dom: 0, nr_frames: 1, frame_list: list }), [0, -8]],
    ['wild list', op(2, grant.gnttab_setup_table, { dom: DOMID_SELF, nr_frames: 1, frame_list: 8n }), [0, -5]],
    ['version', op(10, grant.gnttab_get_version, { dom: DOMID_SELF }), [0, undefined]],
    ['version of dom0', op(10, grant.gnttab_get_version, { dom: 0 }), ['EPERM', undefined]],
    ['version of none', op(10, grant.gnttab_get_version, { dom: 999 }), ['ESRCH', undefined]],
    ['set version 1', op(8, grant.gnttab_set_version, { version: 1 }), [0, undefined]],
    ['set version 0', op(8, grant.gnttab_set_version, { version: 0 }), ['EINVAL', undefined]],
    ['negative count', op(6, grant.gnttab_query_size, { dom: DOMID_SELF }, 0xffff_ffff), ['EINVAL', undefined]],
    ['a continuation that is none', op(0x100006, grant.gnttab_query_size, { dom: DOMID_SELF }), ['EINVAL', undefined]],
  ];
  for (const [claim, found, wanted] of rows) t.same(found, wanted, claim);
  const frames = [0, 1, 2, 3].map((i) => Number(guest.peek(LIST, i)));
  t.equal(new Set(frames).size, 4);
  t.ok(
    frames.every((mfn) => guest.memory.owner[mfn] === 1),
    'the guest may map them',
  );
  const mfn = guest.p2m[DATA]!;
  seedGrant(guest.host, guest.domain, 1, guest.host.domains.get(0)!, mfn);
  t.same([...guest.memory.frameBytes(frames[0]!).subarray(8, 16)], [0x19, 0, 0, 0, mfn & 0xff, mfn >> 8, 0, 0], 'it is mapped, too');
  t.end();
});

t.test('physdev_op, vm_assist, hvm_op and what is not for a domU (measured)', (t) => {
  const guest = makeDomU();
  const page = guest.vaddrOf(ARG);
  const physdev = (cmd: number, row: Parameters<FakeHost['op']>[2], values: Record<string, unknown>) =>
    name(guest.op(33, cmd, row, values));
  t.equal(physdev(6, phys.physdev_set_iopl, { iopl: 4 }), 'EINVAL');
  t.equal(physdev(6, phys.physdev_set_iopl, { iopl: 1 }), 0);
  t.equal(name(guest.call(33, 6, 8)), 'EFAULT');
  t.equal(pvVcpu.of(guest.vcpu).iopl, 0x1000);
  t.equal(physdev(7, phys.physdev_set_iobitmap, { bitmap: guest.vaddrOf(DATA), nr_ports: 65537 }), 'EINVAL');
  t.equal(physdev(7, phys.physdev_set_iobitmap, { bitmap: guest.vaddrOf(DATA), nr_ports: 65536 }), 0);
  t.equal(physdev(7, phys.physdev_set_iobitmap, { bitmap: IN_XEN, nr_ports: 0 }), 'EINVAL');
  t.equal(physdev(28, phys.physdev_pirq_eoi_gmfn, { gmfn: 0n }), 'EINVAL');
  t.equal(physdev(28, phys.physdev_pirq_eoi_gmfn, { gmfn: BigInt(guest.p2m[DATA]!) }), 0);
  t.equal(physdev(17, phys.physdev_pirq_eoi_gmfn, { gmfn: BigInt(guest.p2m[DATA]!) }), 'EBUSY');
  const answers = [
    4, 0, 5, 0, 8, -1, 9, -1, 10, -1, 11, -38, 12, -22, 13, -1, 14, -1, 15, -1, 16, -1, 18, -38, 19, -1, 20, -1, 21, -1, 22, -38, 23, 0, 24,
    -1, 25, -1, 29, -1, 32, -38,
  ];
  guest.memory.bytes.fill(0, Number(guest.maddrOf(ARG)), Number(guest.maddrOf(ARG)) + 64);
  for (let i = 0; i < answers.length; i += 2) t.equal(guest.call(33, answers[i]!, page), answers[i + 1]!, `physdev ${answers[i]}`);
  check(t, guest, [
    ...[0, 1, 2, 3, 4, 5, 32].map((type): Row => [`assist ${type}`, 21, [0, type], 0]),
    ...[6, 31, 33, 63, 64, 0xffff_ffff].map((type): Row => [`assist ${type}`, 21, [0, type], 'EINVAL']),
    ['vm_assist 2', 21, [2, 2], 'ENOSYS'],
    ['vm_assist 2 of a bad type', 21, [2, 77], 'EINVAL'],
    ['set_param', 34, [0, page], 'EINVAL'],
    ['set_param, wild pointer', 34, [0, 8], 'EFAULT'],
    ['get_time', 34, [10, page], 0],
    ['altp2m', 34, [25, 8], 'EOPNOTSUPP'],
    ['hvm_op 26', 34, [26, 8], 'ENOSYS'],
    ['xenpmu_op', 40, [5, 8], 'EOPNOTSUPP'],
    ['kexec_op', 37, [page, 0], 'EPERM'],
    ['hypfs_op', 42, [page, 0], 'EPERM'],
    ['mca', 48, [page, 0], 'EPERM'],
    ...[11, 19, 27, 38, 39, 43, 47, 50, 63, 64, 1000, 0xffff_ffff].map((nr): Row => [`hypercall ${nr}`, nr, [page, 0], 'ENOSYS']),
  ]);
  guest.poke(ARG, 0, 0);
  for (const [nr, interfaceVersion] of [
    [7, 0x0300_0001],
    [35, 0x15],
    [36, 0x15],
  ] as const) {
    guest.memory.view.setUint32(Number(guest.maddrOf(ARG)) + 4, 0, true);
    t.equal(name(guest.call(nr, page)), 'EACCES', 'of another Xen');
    guest.memory.view.setUint32(Number(guest.maddrOf(ARG)) + 4, interfaceVersion, true);
    t.equal(name(guest.call(nr, page)), 'EPERM');
  }
  t.end();
});

t.test('multicall', (t) => {
  const guest = makeDomU();
  const list = guest.vaddrOf(LIST);
  const entry = (i: number, op: bigint, ...args: (bigint | number)[]) => {
    const at = Number(guest.maddrOf(LIST)) + i * multicall_entry.size;
    multicall_entry.write(guest.memory.view, at, { op, result: 0x77n, args: Array.from({ length: 6 }, (_, k) => BigInt(args[k] ?? 0)) });
  };
  const result = (i: number) => BigInt.asIntN(64, guest.peek(LIST, i * 8 + 1));
  entry(0, 17n);
  entry(1, 13n, list, 1);
  entry(2, 99n);
  entry(3, 0x1_0000_0011n);
  t.equal(guest.call(13, list, 4), 0);
  t.same([0, 1, 2, 3].map(result), [0x40011n, -22n, -38n, -38n], 'each result in its entry; none inside another (measured)');
  check(t, guest, [
    ['wild list', 13, [8, 1], 'EFAULT'],
    ['wild list, nothing in it', 13, [8, 0], 0],
    ["a list in ring -1's memory", 13, [IN_XEN, 0], 'EFAULT'],
    ['the count is 32 bits', 13, [list, 0x1_0000_0001n], 0],
  ]);
  guest.poke(DATA, ...Array.from({ length: 256 }, () => 17n));
  t.equal(guest.call(13, list, 1), 0, 'a failed multicall leaves no trace');

  t.test('a long call inside continues', (t) => {
    const dom0 = new FakeHost({ isInitial: true });
    multicall_entry.write(dom0.memory.view, Number(dom0.maddrOf(LIST)), {
      op: 18n,
      result: 0n,
      args: [0n, 9000n, dom0.vaddrOf(DATA), 0n, 0n, 0n],
    });
    t.equal(dom0.call(13, dom0.vaddrOf(LIST), 1), 0);
    t.equal(dom0.console.length, 9000);
    t.equal(dom0.peek(LIST, 1), 0n);
    t.end();
  });

  t.test('so does one further on, which is performed where it lies', (t) => {
    const dom0 = new FakeHost({ isInitial: true });
    const write = (i: number, op: bigint, args: bigint[]) => {
      const at = Number(dom0.maddrOf(LIST)) + i * multicall_entry.size;
      multicall_entry.write(dom0.memory.view, at, { op, result: 0x77n, args: [...args, 7n, 7n, 7n, 7n, 7n, 7n].slice(0, 6) });
    };
    write(0, 17n, [0n]);
    write(1, 18n, [0n, 9000n, dom0.vaddrOf(DATA)]);
    write(2, 17n, [0n]);
    t.equal(dom0.call(13, dom0.vaddrOf(LIST), 3), 0);
    t.equal(dom0.console.length, 9000);
    t.same(
      [0, 1, 2].map((i) => dom0.peek(LIST, i * 8 + 1)),
      [0x40011n, 0n, 0x40011n],
    );
    t.equal(dom0.peek(LIST, 8 + 5), 7n, 'what it has no argument in is as it was');
    t.end();
  });

  t.test('an entry may cross pages that lie apart', (t) => {
    // The second entry begins 32 bytes before the end of the page ARG.
    const words = [17n, 0x77n, 0n, 0n, 0n, 0n, 0n, 0n];
    const inFirst = 512 - 4 - 8;
    for (const [i, word] of [...words, ...words].entries()) {
      const [pfn, index] = inFirst + i < 512 ? [ARG, inFirst + i] : [ARG + 1, inFirst + i - 512];
      guest.memory.view.setBigUint64(Number(guest.maddrOf(pfn)) + index * 8, word, true);
    }
    t.equal(guest.call(13, guest.vaddrOf(ARG) + BigInt(inFirst * 8), 2), 0);
    t.same([guest.peek(ARG, inFirst + 1), guest.peek(ARG, 512 - 4 + 1)], [0x40011n, 0x40011n]);
    t.end();
  });
  t.end();
});

t.test('pointers', (t) => {
  const guest = makeDomU();
  const end = (pfn: number, size: number) => guest.vaddrOf(pfn + 1) - BigInt(size);
  guest.memory.bytes.fill(0, Number(guest.maddrOf(DATA)), Number(guest.maddrOf(DATA)) + 4096);
  t.equal(guest.call(17, 2, end(ARG, 70)), 0, 'a struct may cross pages');
  t.equal(String.fromCharCode(...guest.memory.frameBytes(guest.p2m[ARG + 1]!).subarray(10, 18)), 'lists.al', 'that lie apart');
  t.equal(guest.call(14, guest.vaddrOf(ARG + 1), (guest.maddrOf(ARG + 1) as bigint) | 5n, 2), 0);
  t.equal(name(guest.call(17, 2, end(ARG, 70))), 'EFAULT', 'not into a read-only page');
  guest.call(14, guest.vaddrOf(ARG + 1), 0, 2);
  t.equal(name(guest.call(32, 4, end(ARG, 2))), 'EFAULT', 'not from an unmapped one');
  for (const vaddr of [0x8000_0000_0000n, IN_XEN, 0xffff_87ff_ffff_ffffn, 0xffff_ffff_ffff_fffen]) {
    t.equal(name(guest.call(32, 4, vaddr)), 'EFAULT', vaddr.toString(16));
  }
  t.end();
});

t.test('trace', (t) => {
  const guest = makeDomU();
  const lines: string[] = [];
  traceHypercalls(guest.host, (line) => lines.push(line));
  guest.op(32, 6, ev.evtchn_alloc_unbound, { dom: DOMID_SELF, remote_dom: 0 });
  guest.op(32, 1, ev.evtchn_bind_virq, { virq: 0, vcpu: 5 });
  guest.call(32, 4, 8);
  guest.call(17, 0);
  guest.call(17, 1, guest.vaddrOf(ARG));
  guest.call(24, 3, 0, 0);
  guest.call(99, 1, 2);
  guest.call(15, -1n);
  guest.op(32, 5, ev.evtchn_status, { dom: DOMID_SELF, port: 3 });
  traceHypercalls(guest.host, undefined);
  guest.call(29, 0);
  t.same(lines, [
    'd1v0 event_channel_op.alloc_unbound({dom=DOMID_SELF remote_dom=0}) = 0 {port=3}',
    'd1v0 event_channel_op.bind_virq({virq=VIRQ_TIMER vcpu=5}) = -2 (ENOENT)',
    'd1v0 event_channel_op.send(0x8) = -14 (EFAULT)',
    'd1v0 xen_version.version() = 262161',
    'd1v0 xen_version.extraversion() = 0 {text=".7"}',
    'd1v0 vcpu_op.is_up(0) = 1',
    'd1v0 hypercall 99(0x1, 0x2, 0x0, 0x0, 0x0, 0x0) = -38 (ENOSYS)',
    'd1v0 set_timer_op(-1) = 0',
    'd1v0 event_channel_op.status({dom=DOMID_SELF port=3}) = 0 {status=EVTCHNSTAT_unbound vcpu=0 u={unbound={dom=0}}}',
  ]);
  t.equal(guest.lastCall, 'sched_op.yield() = 0', 'the last calls are kept without a trace, too');
  t.end();
});
