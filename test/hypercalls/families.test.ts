/**
 * The hypercalls of a domU answer as the real Xen 4.17 does. Rows marked (measured) were recorded there, by a guest that
 * asks them all; the others follow from its headers.
 */
import t from 'tap';
import * as ev from '../../hypercalls/abi/event_channel.ts';
import * as grant from '../../hypercalls/abi/grant_table.ts';
import * as mem from '../../hypercalls/abi/memory.ts';
import * as phys from '../../hypercalls/abi/physdev.ts';
import * as version from '../../hypercalls/abi/version.ts';
import { multicall_entry } from '../../hypercalls/abi/xen_calls.ts';
import { traceHypercalls } from '../../hypercalls/dispatch.ts';
import { seedGrant } from '../../hypercalls/grant_table/toolstack.ts';
import { setMemoryMap } from '../../hypercalls/memory/op.ts';
import { pvVcpu } from '../../hypercalls/pv_cpu/state.ts';
import { check, makeDomU, name, type Row } from '../support/dom_u.ts';
import { ARG, DATA, DOMID_SELF, FakeHost, IN_XEN, LIST, UNMAPPED } from '../support/fake_host.ts';

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
