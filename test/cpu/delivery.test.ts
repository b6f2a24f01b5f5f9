// Exceptions and interrupts through the IDT, and single stepping: one claim a row.

import t from 'tap';
import type { Exit } from '../../emulator/cpu/exit.ts';
import type { CpuCore } from '../../emulator/cpu/index.ts';
import { R11, RAX, RCX, RDI, RSP } from '../../emulator/cpu/interface.ts';
import { loadCode } from '../support/bare_cpu.ts';
import { gate, PageTables, read64, write64 } from '../support/tables.ts';
import {
  CODE,
  type Cpl,
  DB,
  DF,
  fault,
  GP,
  HANDLER,
  HLT,
  IDT,
  INT1,
  INT3,
  INT80,
  IRETQ,
  IST1,
  IST2,
  makeKernel,
  NOP,
  NP,
  PF,
  POPF,
  RSP0,
  RSP1,
  refuse,
  runOne,
  SS,
  STACK,
  SYSCALL,
  SYSRETQ,
  selectorOf,
  selectors,
  show,
  TS,
  TSS,
  UD,
  UD2,
} from '../support/test_kernel.ts';

t.test('delivery through the IDT', (t) => {
  const frameAt = (cpu: CpuCore, count: number): bigint[] =>
    Array.from({ length: count }, (_, i) => read64(cpu, Number(cpu.gpr[RSP]) + 8 * i));
  const user = makeKernel(3, { delivers: true });
  user.rflags = 0x24_4ad7n;
  loadCode(user, UD2, CODE);
  t.same(user.run(1), { kind: 'halt' }, '#UD at CPL 3 reaches its handler');
  t.same([user.cpl, selectorOf(user, 'cs'), selectorOf(user, 'ss'), user.rip], [0, 0x08, 0, BigInt(HANDLER + UD * 16 + 1)]);
  t.same(frameAt(user, 5), [BigInt(CODE), 0x2bn, 0x25_4ad7n, BigInt(STACK), 0x23n], 'frame on RSP0, with RF');
  t.equal(user.gpr[RSP], BigInt(RSP0 - 40));
  t.equal(user.rflags, 0x24_08d7n, 'NT and IF are clear, the rest stays');

  const trap = makeKernel(0, { delivers: true });
  write64(trap, IDT + UD * 16, ...gate(15, 0, selectors.code0, BigInt(HANDLER)));
  trap.rflags = 0x202n;
  trap.gpr[RSP] = BigInt(STACK + 4);
  loadCode(trap, UD2, CODE);
  trap.run(1);
  t.equal(trap.rflags, 0x202n, 'a trap gate leaves IF');
  t.equal(trap.gpr[RSP], BigInt(STACK - 40), 'the same ring: own stack, aligned to 16');
  t.same(frameAt(trap, 5).slice(3), [BigInt(STACK + 4), 0x10n], 'which the frame tells');

  const ist = makeKernel(0, { delivers: true });
  write64(ist, IDT + GP * 16, ...gate(14, 0, selectors.code0, BigInt(HANDLER), { ist: 1 }));
  ist.gpr[RAX] = 0x1000n;
  loadCode(ist, [0x8e, 0xd8], CODE);
  ist.run(1);
  t.equal(ist.gpr[RSP], BigInt((IST1 & ~15) - 48), 'IST switches the stack at CPL 0');
  t.same(frameAt(ist, 2), [0x1000n, BigInt(CODE)], 'and the error code lies on top');
  t.equal(selectorOf(ist, 'ss'), 0x10, 'SS stays');

  const page = makeKernel(3, { delivers: true });
  page.gpr[RDI] = 0x7000_0000_0000n;
  loadCode(page, [0x8b, 0x07], CODE);
  page.run(1);
  t.same([frameAt(page, 2), page.cr2], [[4n, BigInt(CODE)], 0x7000_0000_0000n], '#PF pushes its error code and writes CR2');

  const ring1 = makeKernel(3, { delivers: true });
  write64(ring1, IDT + UD * 16, ...gate(14, 0, selectors.code1, BigInt(HANDLER)));
  loadCode(ring1, [...UD2], CODE);
  ring1.memory.bytes[HANDLER] = 0x90;
  ring1.run(1);
  t.same(
    [ring1.cpl, selectorOf(ring1, 'cs'), selectorOf(ring1, 'ss'), ring1.gpr[RSP]],
    [1, selectors.code1 | 1, 1, BigInt(RSP1 - 40)],
    'CPL 1 has RSP1',
  );

  const conforming = makeKernel(3, { delivers: true });
  write64(conforming, IDT + UD * 16, ...gate(14, 0, selectors.conforming, BigInt(HANDLER)));
  conforming.memory.bytes[HANDLER] = 0x90;
  loadCode(conforming, UD2, CODE);
  conforming.run(1);
  t.same([conforming.cpl, conforming.gpr[RSP]], [3, BigInt(STACK - 40)], 'conforming code runs at the old CPL');

  const round = makeKernel(3, { delivers: true });
  round.rflags = 0x246n;
  write64(round, IDT + 0x80 * 16, ...gate(14, 3, selectors.code0, BigInt(HANDLER)));
  round.memory.bytes.set([...IRETQ], HANDLER);
  round.memory.written(HANDLER, 2);
  loadCode(round, [...INT80, ...NOP], CODE);
  const before = [...round.gpr];
  t.same(round.run(3), { kind: 'budget' }, 'int 0x80, iretq, nop');
  t.same([round.rip, round.cpl, round.rflags, [...round.gpr]], [BigInt(CODE + 3), 3, 0x246n, before], 'come back with nothing changed');

  const compat = makeKernel(3, { delivers: true, is32: true });
  write64(compat, IDT + 0x80 * 16, ...gate(14, 3, selectors.code0, BigInt(HANDLER)));
  compat.memory.bytes.set([...IRETQ], HANDLER);
  compat.memory.written(HANDLER, 2);
  loadCode(compat, [...INT80, ...NOP], CODE);
  t.same(compat.run(3), { kind: 'budget' }, 'from 32-bit code and back');
  t.same([compat.rip, compat.gpr[RSP], selectorOf(compat, 'cs')], [BigInt(CODE + 3), BigInt(STACK), 0x1b]);

  const breakpoint = makeKernel(3, { delivers: true });
  write64(breakpoint, IDT + 3 * 16, ...gate(14, 3, selectors.code0, BigInt(HANDLER)));
  loadCode(breakpoint, INT3, CODE);
  breakpoint.run(2);
  t.same(frameAt(breakpoint, 3), [BigInt(CODE + 1), 0x2bn, 2n], 'INT3 saves RIP behind it, and no RF');
  const icebp = makeKernel(3, { delivers: true });
  loadCode(icebp, INT1, CODE);
  icebp.run(2);
  t.same(
    [frameAt(icebp, 1), icebp.getDr(6)],
    [[BigInt(CODE + 1)], 0xffff_0ff0n],
    'INT1 does not look at the DPL, and tells nothing in DR6',
  );
  t.end();
});

t.test('a gate that cannot be taken', (t) => {
  const vector = 0x80;
  const idt = (external: number): number => vector * 8 + 2 + external;
  const ud = UD * 8 + 2 + 1;
  // what is wrong, how; what INT 0x80 raises at CPL 3; what #UD becomes (EXT set, so the code differs)
  const good = (dpl: number, selector: number = selectors.code0, type = 14, options = {}): [bigint, bigint] =>
    gate(type, dpl, selector, BigInt(HANDLER), options);
  // biome-ignore format: one case a line
  const rows: [string, (cpu: CpuCore, at: number) => void, [number, number] | undefined, [number, number] | undefined][] = [
    ['DPL below CPL',            (cpu, at) => write64(cpu, at, ...good(0)),                                [GP, idt(0)], undefined],
    ['absent',                   (cpu, at) => write64(cpu, at, ...good(3, selectors.code0, 14, { isAbsent: true })), [NP, idt(0)], [NP, ud]],
    ['a call gate',              (cpu, at) => write64(cpu, at, ...good(3, selectors.code0, 12)),           [GP, idt(0)], [GP, ud]],
    ['a task gate',              (cpu, at) => write64(cpu, at, ...good(3, selectors.tss, 5)),              [GP, idt(0)], [GP, ud]],
    ['null CS',                  (cpu, at) => write64(cpu, at, ...good(3, 0)),                             [GP, 0], [GP, 1]],
    ['CS beyond the GDT',        (cpu, at) => write64(cpu, at, ...good(3, 0x2000)),                        [GP, 0x2000], [GP, 0x2001]],
    ['CS is data',               (cpu, at) => write64(cpu, at, ...good(3, selectors.data0)),               [GP, selectors.data0], [GP, selectors.data0 | 1]],
    ['CS is 32-bit',             (cpu, at) => write64(cpu, at, ...good(3, selectors.code32)),              [GP, selectors.code32], [GP, selectors.code32 | 1]],
    ['CS is absent',             (cpu, at) => write64(cpu, at, ...good(3, selectors.absentCode)),          [NP, selectors.absentCode], [NP, selectors.absentCode | 1]],
    ['target not canonical',     (cpu, at) => write64(cpu, at, ...gate(14, 3, selectors.code0, 1n << 50n)), [GP, 0], [GP, 1]],
    ['TSS too short',            (cpu, at) => { write64(cpu, at, ...good(3)); cpu.setSegment('tr', { ...cpu.getSegment('tr'), limit: 10 }); }, [TS, selectors.tss], [TS, selectors.tss | 1]],
    ['TSS too short for IST',    (cpu, at) => { write64(cpu, at, ...good(3, selectors.code0, 14, { ist: 7 })); cpu.setSegment('tr', { ...cpu.getSegment('tr'), limit: 0x50 }); }, [TS, selectors.tss], [TS, selectors.tss | 1]],
    ['RSP0 not canonical',       (cpu, at) => { write64(cpu, at, ...good(3)); write64(cpu, TSS + 4, 1n << 60n); }, [SS, 0], [SS, 1]],
    ['beyond the IDT',           (cpu, at) => { cpu.idtr = { base: BigInt(IDT), limit: at - IDT + 14 }; }, [GP, idt(0)], [GP, ud]],
  ];
  for (const [name, spoil, software, exception] of rows) {
    // The exceptions that follow leave, so that they can be seen.
    const observe = (cpu: CpuCore): void =>
      void Object.assign(cpu.intercepts, { exceptions: (1 << GP) | (1 << NP) | (1 << TS) | (1 << SS) | (1 << PF) });
    if (software) {
      const cpu = makeKernel(3, { delivers: true });
      observe(cpu);
      spoil(cpu, IDT + vector * 16);
      refuse(t, `int 0x80: ${name}`, cpu, INT80, ...software);
      t.equal(cpu.cpl, 3, `int 0x80: ${name}: CPL`);
    }
    const cpu = makeKernel(3, { delivers: true });
    observe(cpu);
    spoil(cpu, IDT + UD * 16);
    if (exception) refuse(t, `#UD: ${name}`, cpu, UD2, ...exception);
    else t.same(runOne(cpu, UD2), { kind: 'halt' }, `#UD: ${name} does not matter`);
  }
  t.end();
});

t.test('a second exception on the way: serial, double fault, triple fault', (t) => {
  const absent = (cpu: CpuCore, vector: number): void =>
    write64(cpu, IDT + vector * 16, ...gate(14, 0, selectors.code0, BigInt(HANDLER), { isAbsent: true }));
  const pageFault = [0x8b, 0x07],
    protection = [0x8e, 0xd8];
  const make = (...vectors: number[]): CpuCore => {
    const cpu = makeKernel(0, { delivers: true });
    for (const vector of vectors) absent(cpu, vector);
    cpu.gpr[RDI] = 0x7000_0000_0000n;
    cpu.gpr[RAX] = 0x1000n;
    return cpu;
  };
  const handled = (cpu: CpuCore): number => (Number(cpu.rip) - HANDLER - 1) / 16;
  // biome-ignore format: one case a line
  const rows: [string, number[], number[], number | 'shutdown', bigint?][] = [
    ['#UD, then #NP: benign, the second is delivered',         UD2,        [UD],             NP, 0x33n],
    ['#GP, then #NP: contributory, #DF',                       protection, [GP],             DF, 0n],
    ['#PF, then #NP: #DF',                                     pageFault,  [PF],             DF, 0n],
    ['#UD, then #NP, then #NP again: #DF',                     UD2,        [UD, NP],         DF, 0n],
    ['#GP, then #DF whose gate is absent: shutdown',           protection, [GP, DF],         'shutdown'],
    ['#PF, then #DF whose gate is absent: shutdown',           pageFault,  [PF, DF],         'shutdown'],
  ];
  for (const [name, code, vectors, expected, errorCode] of rows) {
    const cpu = make(...vectors);
    loadCode(cpu, code, CODE);
    const exit = cpu.run(1);
    if (expected === 'shutdown') t.same(exit, { kind: 'shutdown' }, name);
    else t.same([exit, handled(cpu), read64(cpu, Number(cpu.gpr[RSP]))], [{ kind: 'halt' }, expected, errorCode], name);
  }
  const stack = makeKernel(3, { delivers: true });
  write64(stack, TSS + 4, 0x7000_0000_0000n);
  stack.gpr[RDI] = 0x7111_0000_0000n;
  write64(stack, IDT + DF * 16, ...gate(14, 0, selectors.code0, BigInt(HANDLER + DF * 16), { ist: 2 }));
  loadCode(stack, pageFault, CODE);
  t.same(
    [stack.run(1), handled(stack), stack.cr2],
    [{ kind: 'halt' }, DF, 0x6fff_ffff_ffd0n],
    '#PF whose kernel stack is absent: #DF on its own stack, CR2 of the second',
  );
  t.equal(stack.gpr[RSP], BigInt(IST2 - 48));
  const serial = makeKernel(0, { delivers: true });
  new PageTables(serial).map(0x7222_0000_0000n, IDT);
  serial.idtr = { base: 0x7222_0000_0000n, limit: 0xffff };
  serial.gpr[RSP] = 0x7333_0000_0000n;
  write64(serial, IDT + PF * 16, ...gate(14, 0, selectors.code0, BigInt(HANDLER + PF * 16), { ist: 1 }));
  serial.gpr[RAX] = 0x1000n;
  loadCode(serial, protection, CODE);
  t.same([serial.run(1), handled(serial)], [{ kind: 'halt' }, PF], '#GP, then #PF: the #PF is delivered');
  const intercepting = makeKernel(0, { delivers: true });
  absent(intercepting, GP);
  Object.assign(intercepting.intercepts, { exceptions: 1 << DF });
  intercepting.gpr[RAX] = 0x1000n;
  t.same(show(runOne(intercepting, protection)), fault(DF, 0), 'an intercepted #DF leaves');
  const storm = makeKernel(0, { delivers: true });
  write64(storm, IDT + UD * 16, ...gate(14, 0, selectors.code0, BigInt(HANDLER), { ist: 1 }));
  storm.memory.bytes.set(UD2, HANDLER);
  storm.memory.written(HANDLER, 2);
  loadCode(storm, UD2, CODE);
  t.same(storm.run(1_000_000), { kind: 'budget' }, 'a handler that only faults does not hold the host');
  t.end();
});

t.test('single stepping', (t) => {
  const TF = 0x100n;
  const trapped = { kind: 'exception', vector: DB, errorCode: undefined, cr2: undefined, dr6: 0x4000 };
  const step = (code: number[], prepare: (cpu: CpuCore) => void = () => {}, cpl: Cpl = 0): { cpu: CpuCore; exit: Exit; count: bigint } => {
    const cpu = makeKernel(cpl);
    prepare(cpu);
    loadCode(cpu, code, CODE);
    const { instructions } = cpu;
    const exit = cpu.run(20);
    return { cpu, exit, count: cpu.instructions - instructions };
  };
  const withTf = (cpu: CpuCore): void => {
    cpu.rflags = 2n | TF;
  };
  // name, code, prepare, RIP of the trap, instructions retired
  // biome-ignore format: one case a line
  const rows: [string, number[], (cpu: CpuCore) => void, number, bigint][] = [
    ['after one instruction',                      [...NOP, ...NOP],                 withTf, CODE + 1, 1n],
    ['after a system instruction',                 [0x0f, 0xa2, ...NOP],             withTf, CODE + 2, 1n],
    ['after a jump, at its target',                [0xeb, 2, 0x90, 0x90, 0x90],      withTf, CODE + 4, 1n],
    ['POPF that sets TF: after the next one',      [...POPF, ...NOP, ...NOP],        (cpu) => write64(cpu, STACK, 2n | TF), CODE + 2, 2n],
    ['POPF that clears TF: still after it',        [...POPF, ...NOP],                (cpu) => { withTf(cpu); write64(cpu, STACK, 2n); }, CODE + 1, 1n],
    ['MOV SS holds it back for one instruction',   [0x8e, 0xd1, ...NOP, ...NOP],     (cpu) => { withTf(cpu); cpu.gpr[RCX] = 0x10n; }, CODE + 3, 2n],
    ['each element of a repeated string',          [0xf3, 0xaa, ...NOP],             (cpu) => { withTf(cpu); cpu.gpr[RCX] = 3n; }, CODE, 1n],
    ['HLT does not halt',                          [...HLT, ...NOP],                 withTf, CODE + 1, 1n],
    ['RF does not hold it back',                   [...NOP, ...NOP],                 (cpu) => { cpu.rflags = 0x1_0102n; }, CODE + 1, 1n],
  ];
  for (const [name, code, prepare, rip, count] of rows) {
    const { cpu, exit, count: retired } = step(code, prepare);
    t.same([exit, cpu.rip, retired], [trapped, BigInt(rip), count], name);
  }
  const iret = step(IRETQ, (cpu) => {
    write64(cpu, STACK, BigInt(CODE + 0x100), 0x2bn, 2n | TF, BigInt(STACK), 0x23n);
    cpu.memory.bytes.set([0x90, 0x90], CODE + 0x100);
  });
  t.same([iret.exit, iret.cpu.rip], [trapped, BigInt(CODE + 0x101)], 'IRET that sets TF: after the next instruction');
  const syscall = step(
    SYSCALL,
    (cpu) => {
      withTf(cpu);
      Object.assign(cpu.intercepts, { syscall: false });
      cpu.memory.bytes.set(HLT, 0x1_2000);
    },
    3,
  );
  t.same([syscall.exit, syscall.cpu.rip], [{ kind: 'halt' }, 0x1_2001n], 'SYSCALL that masks TF: no trap');
  const sysret = step(SYSRETQ, (cpu) => {
    cpu.gpr[RCX] = 0x1_4000n;
    cpu.gpr[R11] = 2n | TF;
  });
  t.same([sysret.exit, sysret.cpu.rip], [trapped, 0x1_4000n], 'SYSRET that sets TF: before the first user instruction');
  const delivered = makeKernel(3, { delivers: true });
  withTf(delivered);
  loadCode(delivered, NOP, CODE);
  delivered.run(2);
  t.same(
    [read64(delivered, RSP0 - 40), read64(delivered, RSP0 - 24), delivered.getDr(6), delivered.rflags],
    [BigInt(CODE + 1), 0x102n, 0xffff_4ff0n, 2n],
    'delivered: DR6.BS, TF saved and clear',
  );
  const ints = makeKernel(0, { delivers: true });
  withTf(ints);
  loadCode(ints, INT80, CODE);
  t.same([ints.run(2), ints.rip], [{ kind: 'halt' }, BigInt(HANDLER + 0x80 * 16 + 1)], 'INT n clears TF: no trap in the handler');
  t.end();
});
