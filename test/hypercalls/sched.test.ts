/** sched_op, timers and vcpu_op of a domU answer as the real Xen 4.17 does. Rows marked (measured) were recorded there. */
import t from 'tap';
import type { ErrnoName } from '../../hypercalls/abi/errno.ts';
import * as ev from '../../hypercalls/abi/event_channel.ts';
import * as sched from '../../hypercalls/abi/sched.ts';
import * as vcpu from '../../hypercalls/abi/vcpu.ts';
import { shared_info, vcpu_time_info } from '../../hypercalls/abi/xen.ts';
import { enterCore, leaveCore } from '../../hypercalls/vcpu/runstate.ts';
import { updateTimeInfo, writeTimeInfo, writeWallClock } from '../../hypercalls/vcpu/time.ts';
import { check, MS, makeDomU, name } from '../support/dom_u.ts';
import { ARG, DATA, DOMID_SELF, type FakeHost, IN_XEN, LIST } from '../support/fake_host.ts';

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
    writeTimeInfo(guest.host, guest.vcpu);
    writeWallClock(guest.host, guest.domain);
    const at = guest.vcpu.vcpuInfoMaddr + 32;
    const first = vcpu_time_info.read(guest.memory.view, at);
    t.match(first, { version: 2, system_time: guest.now, tsc_timestamp: guest.now * 2n, flags: 0 });
    const tsc = (guest.now + 500n * MS) * 2n - first.tsc_timestamp;
    const shifted = first.tsc_shift < 0 ? tsc >> BigInt(-first.tsc_shift) : tsc << BigInt(first.tsc_shift);
    const ns = (shifted * BigInt(first.tsc_to_system_mul)) >> 32n;
    t.ok(ns > 500n * MS - 10n && ns <= 500n * MS, String(ns));
    updateTimeInfo(guest.host, guest.vcpu, Number(guest.now));
    t.equal(vcpu_time_info.read(guest.memory.view, at).version, 2, 'a record serves for a second');
    guest.advance(1000n * MS);
    updateTimeInfo(guest.host, guest.vcpu, Number(guest.now));
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
