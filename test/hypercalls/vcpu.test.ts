/**
 * Several vCPUs of a domain, and events between them by the FIFO ABI. What is measured on the real Xen is in the guests smp
 * and events; here are the corners that they do not reach.
 */
import t from 'tap';
import { MXCSR } from '../../emulator/cpu/layout.ts';
import { PGT_writable_page } from '../../emulator/memory/page_type.ts';
import * as arch from '../../hypercalls/abi/arch_xen.ts';
import { type ErrnoName, errno } from '../../hypercalls/abi/errno.ts';
import * as ev from '../../hypercalls/abi/event_channel.ts';
import type { AnyStruct } from '../../hypercalls/abi/struct.ts';
import * as abi from '../../hypercalls/abi/vcpu.ts';
import { portsOf, raiseVirq } from '../../hypercalls/event_channel/ports.ts';
import { pvVcpu } from '../../hypercalls/pv_cpu/state.ts';
import { ARG, DATA, DOMID_SELF, FakeHost, LIST } from '../support/fake_host.ts';

const EVENT_CHANNEL_OP = 32;
const VCPU_OP = 24;
const name = (result: number): string | number => Object.entries(errno).find(([, value]) => value === -result)?.[0] ?? result;
const MASKED = 0x4000_0000;
const PENDING_AND_LINKED = 0xa000_0000;

/** A guest on the FIFO ABI: control blocks in DATA, words in LIST. */
class FifoGuest extends FakeHost {
  static readonly words = LIST;

  op32(cmd: number, row: AnyStruct, values: Record<string, unknown>): string | number {
    return name(this.op(EVENT_CHANNEL_OP, cmd, row, values));
  }

  initControl(vcpu: number): string | number {
    const control_gfn = BigInt(this.p2m[DATA]!);
    return this.op32(11, ev.evtchn_init_control, { control_gfn, offset: vcpu * ev.evtchn_fifo_control_block.size, vcpu });
  }

  expandArray(pfn = LIST): string | number {
    return this.op32(12, ev.evtchn_expand_array, { array_gfn: BigInt(this.p2m[pfn]!) });
  }

  ipi(vcpu = 0): number {
    this.op(EVENT_CHANNEL_OP, 7, ev.evtchn_bind_ipi, { vcpu });
    return this.result(ev.evtchn_bind_ipi).port as number;
  }

  send(port: number): void {
    this.op(EVENT_CHANNEL_OP, 4, ev.evtchn_send, { port });
  }

  wordAt(port: number): number {
    return this.p2m[LIST]! * 4096 + port * 4;
  }

  word(port: number): number {
    return this.memory.view.getUint32(this.wordAt(port), true);
  }

  setWord(port: number, value: number): void {
    this.memory.view.setUint32(this.wordAt(port), value, true);
  }

  control(vcpu: number): { ready: number; head: readonly number[] } {
    const at = this.p2m[DATA]! * 4096 + vcpu * ev.evtchn_fifo_control_block.size;
    const { ready, head } = ev.evtchn_fifo_control_block.read(this.memory.view, at);
    return { ready, head: [...head] };
  }
}

t.test('the FIFO ABI', (t) => {
  t.test('a guest that writes rubbish into its words and heads breaks nothing of ours', (t) => {
    const guest = new FifoGuest({ vcpus: 2 });
    t.equal(guest.initControl(0), 0);
    t.equal(guest.initControl(1), 0);
    t.equal(guest.expandArray(), 0);
    const ports = [guest.ipi(0), guest.ipi(1), guest.ipi(0), guest.ipi(1)];
    let seed = 1;
    const random = () => {
      seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
      return seed;
    };
    for (let i = 0; i < 2000; i++) {
      guest.memory.view.setUint32(guest.p2m[DATA]! * 4096 + (random() % 144), random(), true);
      guest.setWord(random() % 64, random());
      const port = ports[random() % 4]!;
      guest.op32(13, ev.evtchn_set_priority, { port, priority: random() % 17 });
      guest.send(port);
      guest.op32(9, ev.evtchn_unmask, { port });
    }
    for (const port of ports) t.match(portsOf.of(guest.domain).get(port), { binding: { kind: 'ipi' } });
    t.equal(guest.op32(10, ev.evtchn_reset, { dom: DOMID_SELF }), 0);
    t.end();
  });

  t.test('its pages are held while it lasts, each as often as it was given', (t) => {
    const guest = new FifoGuest();
    const typeCount = (pfn: number) => guest.memory.typeCount[guest.p2m[pfn]!]!;
    const before = typeCount(LIST);
    guest.initControl(0);
    t.same(new Set(Array.from({ length: 128 }, () => guest.expandArray())), new Set([0]));
    t.equal(guest.expandArray(), 'ENOSPC', '128 pages hold all ports');
    t.equal(typeCount(LIST), before + 128);
    t.equal(guest.memory.typeOf(guest.p2m[LIST]!), PGT_writable_page);
    guest.op32(10, ev.evtchn_reset, { dom: DOMID_SELF });
    t.equal(typeCount(LIST), before);
    t.equal(guest.initControl(0), 0, 'and it can be had again');
    t.end();
  });

  t.test('a VIRQ that came before the array did is told when it does', (t) => {
    const guest = new FifoGuest();
    guest.op(EVENT_CHANNEL_OP, 1, ev.evtchn_bind_virq, { virq: 0, vcpu: 0 });
    const port = guest.result(ev.evtchn_bind_virq).port as number;
    guest.initControl(0);
    raiseVirq(guest.host, guest.vcpu, 0);
    t.equal(guest.word(port), 0);
    t.equal(guest.upcall.pending, 0);
    guest.expandArray();
    t.equal(guest.word(port), PENDING_AND_LINKED);
    t.equal(guest.upcall.pending, 1);
    t.match(guest.control(0), { ready: 1 << 7 });
    t.equal(guest.control(0).head[7], port);
    t.end();
  });

  t.test('a blocked vCPU is woken by an event that is not masked, a poller by any', (t) => {
    const guest = new FifoGuest({ vcpus: 2 });
    guest.initControl(0);
    guest.initControl(1);
    guest.expandArray();
    const port = guest.ipi(1);
    const other = guest.domain.vcpus[1]!;
    other.isUp = other.isBlocked = true;
    guest.setWord(port, MASKED);
    guest.send(port);
    t.ok(other.isBlocked);
    guest.op32(9, ev.evtchn_unmask, { port });
    t.notOk(other.isBlocked, 'unmasking links it');
    t.match(guest.control(1), { ready: 1 << 7 });
    t.equal(guest.control(0).ready, 0);
    t.end();
  });
  t.end();
});

t.test('vcpu_op on other vCPUs', (t) => {
  const FLAT_CS = 0xe033;
  const FLAT_SS = 0xe02b;

  const context = (guest: FakeHost, values: Record<string, unknown> = {}): bigint => {
    const user_regs = { rip: 0x1234n, rsp: 0x8000n, cs: FLAT_CS, ss: FLAT_SS, rflags: 0x3000n, rbx: 0xffff_ffff_ffff_ffffn };
    const fields = Object.fromEntries(arch.cpu_user_regs.fields.map(({ name, type }) => [name, type.size === 8 ? 0n : 0]));
    const ctrlreg = [0n, 0n, 0n, BigInt(guest.boot.l4Mfn) << 12n, 0n, 0n, 0n, 0n];
    guest.argument(arch.vcpu_guest_context, { flags: 4n, user_regs: { ...fields, ...user_regs }, ctrlreg, ...values });
    return guest.vaddrOf(ARG);
  };
  const call = (guest: FakeHost, cmd: number, id: number, argument: bigint | number = 0) => name(guest.call(VCPU_OP, cmd, id, argument));

  t.test('a vCPU beyond 32 has no vcpu_info until it registers one, and cannot be initialised before', (t) => {
    const guest = new FakeHost({ vcpus: 34 });
    const last = guest.domain.vcpus[33]!;
    t.notOk(last.hasVcpuInfo);
    t.equal(call(guest, 0, 33, 8), 'EINVAL', 'even before its context is looked at');
    t.equal(call(guest, 0, 31, 8), 'EFAULT');
    const port = (() => {
      guest.op(EVENT_CHANNEL_OP, 7, ev.evtchn_bind_ipi, { vcpu: 33 });
      return guest.result(ev.evtchn_bind_ipi).port as number;
    })();
    t.equal(guest.op(EVENT_CHANNEL_OP, 4, ev.evtchn_send, { port }), 0, 'events for it go nowhere');
    guest.memory.bytes.fill(0xff, guest.p2m[DATA]! * 4096, guest.p2m[DATA]! * 4096 + 64);
    t.equal(call(guest, 10, 33, guest.argument(abi.vcpu_register_vcpu_info, { mfn: BigInt(guest.p2m[DATA]!), offset: 0 })), 0);
    t.equal(guest.memory.bytes[last.vcpuInfoMaddr], 1, 'everything is to be looked at');
    t.equal(guest.memory.bytes[last.vcpuInfoMaddr + 1], 1, 'events are masked');
    t.equal(guest.memory.view.getBigUint64(last.vcpuInfoMaddr + 16, true), 0n, 'what was in the page is gone');
    t.equal(call(guest, 0, 33, context(guest)), 0);
    t.end();
  });

  t.test('initialise: registers, IOPL, page tables and their references', (t) => {
    const guest = new FakeHost({ vcpus: 2 });
    const other = guest.domain.vcpus[1]!;
    const count = guest.memory.typeCount[guest.boot.l4Mfn]!;
    const rip = guest.cpu.rip;
    t.equal(call(guest, 1, 1), 'EINVAL', 'up is too early');
    t.equal(call(guest, 0, 1, context(guest)), 0);
    t.equal(guest.cpu.rip, rip, 'the caller has its own registers again');
    t.equal(guest.memory.typeCount[guest.boot.l4Mfn]!, count + 1);
    t.match(pvVcpu.of(other), { iopl: 0x3000, inKernelMode: true, returnSelectors: { cs: FLAT_CS, ss: FLAT_SS } });
    guest.host.withRegisters(other, () => {
      t.equal(guest.cpu.rip, 0x1234n);
      t.equal(guest.cpu.rflags, 0x202n, 'IF, and no IOPL');
      t.equal(guest.cpu.gpr[3], 0xffff_ffff_ffff_ffffn);
      t.equal(guest.cpu.cr3, BigInt(guest.boot.l4Mfn) << 12n);
      t.not(guest.cpu.gdtr.base, 0n);
    });
    t.equal(call(guest, 1, 1), 0);
    t.ok(other.isUp);
    t.end();
  });

  t.test('a refused context leaves no reference behind', (t) => {
    const guest = new FakeHost({ vcpus: 2 });
    const { memory } = guest;
    const before = [...memory.typeCount];
    const ctrlreg = (kernel: bigint, user = 0n) => [0n, user, 0n, kernel, 0n, 0n, 0n, 0n];
    const l4 = BigInt(guest.boot.l4Mfn) << 12n;
    const rows: readonly [string, Record<string, unknown>, ErrnoName][] = [
      ['no kernel tables', { ctrlreg: ctrlreg(0n) }, 'EINVAL'],
      ['tables beyond all memory', { ctrlreg: ctrlreg(0xffff_ffff_ffff_f000n) }, 'EINVAL'],
      ['a GDT of no frames', { gdt_ents: 1n }, 'EINVAL'],
      ['a huge GDT', { gdt_ents: 0xffff_ffff_ffff_ffffn }, 'EINVAL'],
      ['a huge LDT', { ldt_ents: 0xffff_ffff_ffff_ffffn }, 'EINVAL'],
    ];
    for (const [claim, values, answer] of rows) t.equal(call(guest, 0, 1, context(guest, values)), answer, claim);
    t.same([...memory.typeCount], before);
    t.equal(call(guest, 1, 1), 'EINVAL');
    const noUserTable = { ctrlreg: ctrlreg(l4, BigInt(guest.p2m[DATA]!) << 12n) };
    t.equal(call(guest, 0, 1, context(guest, noUserTable)), 'EINVAL', 'user tables that are none');
    before[guest.boot.l4Mfn]!++;
    t.same([...memory.typeCount], before, 'the kernel table stays held until the next one, as in Xen');
    t.end();
  });

  t.test('the FPU image of the context is loaded when the context says that it is one', (t) => {
    for (const [flags, mxcsr] of [
      [4n, 0x1f80],
      [5n, 0x7f80],
    ] as const) {
      const guest = new FakeHost({ vcpus: 2 });
      const fpu_ctxt = new Array(512).fill(0);
      [fpu_ctxt[24], fpu_ctxt[25]] = [0x80, 0x7f];
      t.equal(call(guest, 0, 1, context(guest, { flags, fpu_ctxt })), 0);
      guest.host.withRegisters(guest.domain.vcpus[1]!, () => t.equal(guest.cpu.state.view.getInt32(MXCSR, true), mxcsr));
    }
    t.end();
  });

  t.test('the last vCPU that goes down ends the domain', (t) => {
    const guest = new FakeHost({ vcpus: 2 });
    t.equal(call(guest, 0, 1, context(guest)), 0);
    t.equal(call(guest, 1, 1), 0);
    t.equal(call(guest, 2, 0), 0);
    t.equal(guest.shutdownReason, undefined);
    t.equal(call(guest, 2, 1), 0);
    t.equal(guest.shutdownReason, 0);
    t.end();
  });
  t.end();
});
