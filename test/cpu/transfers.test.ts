// Segments and descriptor tables, and the transfers through them: one claim a row.

import t from 'tap';
import type { CpuCore } from '../../emulator/cpu/index.ts';
import { RAX, RCX, RDI, RSP } from '../../emulator/cpu/interface.ts';
import { descriptor, read64, write64 } from '../support/tables.ts';
import {
  CODE,
  type Cpl,
  DATA,
  GATE_TARGET,
  GDT,
  GP,
  IRETD,
  IRETQ,
  makeKernel,
  NP,
  perform,
  RETFQ,
  RSP0,
  refuse,
  runOne,
  SS,
  STACK,
  selectorOf,
  selectors,
} from '../support/test_kernel.ts';

t.test('descriptor-table registers', (t) => {
  const cpu = makeKernel(0);
  cpu.memory.view.setUint16(DATA, 0x1234, true);
  cpu.memory.view.setBigUint64(DATA + 2, 0xffff_8000_1234_5678n, true);
  perform(t, 'lidt', cpu, [0x0f, 0x01, 0x1f]);
  t.same(cpu.idtr, { base: 0xffff_8000_1234_5678n, limit: 0x1234 });
  cpu.gpr[RDI] = BigInt(DATA + 32);
  perform(t, 'sidt', cpu, [0x0f, 0x01, 0x0f]);
  t.equal(read64(cpu, DATA + 34), 0xffff_8000_1234_5678n);
  cpu.gpr[RDI] = BigInt(DATA);
  cpu.memory.view.setBigUint64(DATA + 2, 1n << 60n, true);
  refuse(t, 'lgdt, not canonical', cpu, [0x0f, 0x01, 0x17], GP, 0);
  const compat = makeKernel(0, { is32: true });
  compat.memory.view.setUint16(DATA, 0xff, true);
  compat.memory.view.setBigUint64(DATA + 2, 0xffff_ffff_ffff_ffffn, true);
  perform(t, 'lidt in 32-bit code', compat, [0x0f, 0x01, 0x1f]);
  t.equal(compat.idtr.base, 0xffff_ffffn, 'has a 32-bit base');
  perform(t, 'lidt with 16-bit operands', compat, [0x66, 0x0f, 0x01, 0x1f]);
  t.equal(compat.idtr.base, 0xff_ffffn, 'a 24-bit one');

  const lldt = [0x0f, 0x00, 0xd0],
    ltr = [0x0f, 0x00, 0xd8];
  // biome-ignore format: one case a line
  const rows: [string, number[], number, [number, number] | undefined][] = [
    ['lldt',                    lldt, selectors.ldt,       undefined],
    ['lldt null',               lldt, 0,                   undefined],
    ['lldt of a TSS',           lldt, selectors.tss,       [GP, selectors.tss]],
    ['lldt from an LDT',        lldt, 4,                   [GP, 4]],
    ['lldt of data',            lldt, selectors.data0,     [GP, selectors.data0]],
    ['ltr',                     ltr,  selectors.tss,       undefined],
    ['ltr null',                ltr,  0,                   [GP, 0]],
    ['ltr of a busy TSS',       ltr,  selectors.busyTss,   [GP, selectors.busyTss]],
    ['ltr beyond the table',    ltr,  0x1000,              [GP, 0x1000]],
  ];
  for (const [name, code, selector, expected] of rows) {
    const kernel = makeKernel(0);
    kernel.gpr[RAX] = BigInt(selector);
    if (expected) refuse(t, name, kernel, code, ...expected);
    else perform(t, name, kernel, code);
  }
  const kernel = makeKernel(0);
  write64(kernel, GDT + selectors.ldt + 8, 0xffff_8000n);
  kernel.gpr[RAX] = BigInt(selectors.ldt);
  runOne(kernel, lldt);
  t.equal(kernel.getSegment('ldtr').base, 0xffff_8000_0034_0000n, 'the base has 64 bits');
  kernel.gpr[RAX] = BigInt(selectors.tss);
  runOne(kernel, ltr);
  t.equal(kernel.memory.bytes[GDT + selectors.tss + 5], 0x8b, 'LTR marks the TSS busy');
  write64(kernel, GDT + selectors.ldt + 8, 0x1f00_0000_0000n);
  kernel.gpr[RAX] = BigInt(selectors.ldt);
  refuse(t, 'a type in the upper half', kernel, lldt, GP, selectors.ldt);
  t.end();
});

t.test('LAR, LSL, VERR, VERW and ARPL', (t) => {
  // selector, CPL, LAR, LSL (undefined: ZF clear), readable, writable
  // biome-ignore format: one case a line
  const rows: [string, number, Cpl, bigint | undefined, bigint | undefined, boolean, boolean][] = [
    ['user code',              selectors.user64 | 3,     3, 0xaf_fa00n, 0xffff_ffffn, true,  false],
    ['user data',              selectors.data3 | 3,      3, 0xcf_f200n, 0xffff_ffffn, true,  true],
    ['read-only data',         selectors.data3ReadOnly,  0, 0xcf_f000n, 0xffff_ffffn, true,  false],
    ['execute-only code',      selectors.executeOnly | 3, 3, 0xaf_f800n, 0xffff_ffffn, false, false],
    ['kernel data at CPL 3',   selectors.data0 | 3,      3, undefined,  undefined,    false, false],
    ['kernel data, RPL 3',     selectors.data0 | 3,      0, undefined,  undefined,    false, false],
    ['conforming code',        selectors.conforming | 3, 3, 0xaf_9e00n, 0xffff_ffffn, true,  false],
    ['TSS',                    selectors.tss,            0, 0x00_8900n, 0x1000n,      false, false],
    ['call gate',              selectors.callGate,       0, 0x02_ec00n, undefined, false, false],
    ['null',                   0,                        0, undefined,  undefined,    false, false],
    ['beyond the table',       0x2000,                   0, undefined,  undefined,    false, false],
    ['absent data',            selectors.absentData3,    0, 0x0f_7200n, 0xf_ffffn,    true,  true],
  ];
  for (const [name, selector, cpl, lar, lsl, isReadable, isWritable] of rows) {
    const cpu = makeKernel(cpl);
    const zero = (): boolean => (cpu.rflags & 0x40n) !== 0n;
    for (const [what, code, expected] of [
      ['lar', [0x0f, 0x02, 0xc1], lar],
      ['lsl', [0x0f, 0x03, 0xc1], lsl],
    ] as const) {
      cpu.gpr[RCX] = BigInt(selector);
      cpu.gpr[RAX] = 0x7777n;
      perform(t, `${what}: ${name}`, cpu, code);
      t.same([zero(), cpu.gpr[RAX]], [expected !== undefined, expected ?? 0x7777n], `${what}: ${name}`);
    }
    perform(t, `verr: ${name}`, cpu, [0x0f, 0x00, 0xe1]);
    t.equal(zero(), isReadable, `verr: ${name}`);
    perform(t, `verw: ${name}`, cpu, [0x0f, 0x00, 0xe9]);
    t.equal(zero(), isWritable, `verw: ${name}`);
  }
  const cpu = makeKernel(3, { is32: true });
  cpu.gpr[RAX] = 0x10n;
  cpu.gpr[RCX] = 0x23n;
  perform(t, 'arpl ax, cx', cpu, [0x63, 0xc8]);
  t.same([cpu.gpr[RAX], cpu.rflags & 0x40n], [0x13n, 0x40n], 'raises the RPL');
  perform(t, 'arpl again', cpu, [0x63, 0xc8]);
  t.same([cpu.gpr[RAX], cpu.rflags & 0x40n], [0x13n, 0n], 'once');
  const narrow = makeKernel(3);
  narrow.gpr[RCX] = BigInt(selectors.data3 | 3);
  narrow.gpr[RAX] = 0xffff_ffff_ffff_ffffn;
  perform(t, 'lar ax', narrow, [0x66, 0x0f, 0x02, 0xc1]);
  t.equal(narrow.gpr[RAX], 0xffff_ffff_ffff_f200n, 'the 16-bit form');
  t.end();
});

t.test('segment registers to and from registers, memory and the stack', (t) => {
  const cpu = makeKernel(3);
  cpu.gpr[RAX] = 0xffff_ffff_ffff_ffffn;
  perform(t, 'mov ax, ss', cpu, [0x66, 0x8c, 0xd0]);
  t.equal(cpu.gpr[RAX], 0xffff_ffff_ffff_0023n);
  perform(t, 'mov eax, ss', cpu, [0x8c, 0xd0]);
  t.equal(cpu.gpr[RAX], 0x23n);
  write64(cpu, DATA, 0xffff_ffff_ffff_ffffn);
  perform(t, 'mov [rdi], cs', cpu, [0x48, 0x8c, 0x0f]);
  t.equal(read64(cpu, DATA), 0xffff_ffff_ffff_002bn, 'stores two bytes');
  perform(t, 'push fs', cpu, [0x0f, 0xa0]);
  t.same([read64(cpu, STACK - 8), cpu.gpr[RSP]], [0x23n, BigInt(STACK - 8)]);
  write64(cpu, STACK - 8, 0xffff_0000n);
  perform(t, 'pop gs', cpu, [0x0f, 0xa9]);
  t.same([selectorOf(cpu, 'gs'), cpu.gpr[RSP]], [0, BigInt(STACK)]);
  write64(cpu, DATA, 0x23_1234_5678n);
  perform(t, 'lfs eax, [rdi]', cpu, [0x0f, 0xb4, 0x07]);
  t.same([cpu.gpr[RAX], selectorOf(cpu, 'fs')], [0x1234_5678n, 0x23]);
  perform(t, 'lgs rax, [rdi]', cpu, [0x48, 0x0f, 0xb5, 0x07]);
  t.equal(cpu.gpr[RAX], 0x1234_5678n, 'REX.W still means m16:32, as on AMD');
  const compat = makeKernel(3, { is32: true });
  perform(t, 'push cs in 32-bit code', compat, [0x0e]);
  t.same([compat.memory.view.getUint32(STACK - 4, true), compat.gpr[RSP]], [0x1b, BigInt(STACK - 4)]);
  write64(compat, DATA, 0x23_0000_0042n);
  perform(t, 'les eax, [edi]', compat, [0xc4, 0x07]);
  t.same([compat.gpr[RAX], selectorOf(compat, 'es')], [0x42n, 0x23]);
  t.end();
});

t.test('far transfers', (t) => {
  const pointer = (cpu: CpuCore, selector: number, offset: number): void => write64(cpu, DATA, BigInt(offset) | (BigInt(selector) << 32n));
  const jump = [0xff, 0x2f],
    call = [0xff, 0x1f];
  // name, CPL, code, selector, fault
  // biome-ignore format: one case a line
  const rows: [string, Cpl, number[], number, [number, number] | undefined][] = [
    ['jump to own ring',                3, jump, selectors.user64 | 3,     undefined],
    ['jump to 32-bit code',             3, jump, selectors.user32 | 3,     undefined],
    ['jump to conforming code',         3, jump, selectors.conforming | 3, undefined],
    ['jump to null',                    3, jump, 3,                        [GP, 0]],
    ['jump inwards',                    3, jump, selectors.code0,          [GP, selectors.code0]],
    ['jump outwards',                   0, jump, selectors.user64,         [GP, selectors.user64]],
    ['RPL above CPL',                   0, jump, selectors.code0 | 3,      [GP, selectors.code0]],
    ['jump to data',                    3, jump, selectors.data3,          [GP, selectors.data3]],
    ['jump to absent code',             3, jump, selectors.absentCode | 3, [NP, selectors.absentCode]],
    ['jump to L and D',                 3, jump, selectors.longAndBig | 3, [GP, selectors.longAndBig]],
    ['jump to a TSS',                   0, jump, selectors.tss,            [GP, selectors.tss]],
    ['jump beyond the table',           3, jump, 0x2003,                   [GP, 0x2000]],
    ['jump through a gate inwards',     3, jump, selectors.callGate | 3,   [GP, selectors.code0]],
    ['jump through a gate, own ring',   0, jump, selectors.callGate,       undefined],
    ['call through a gate outwards',    0, call, selectors.gateToRing3,    [GP, selectors.user64]],
    ['call to own ring',                3, call, selectors.user64 | 3,     undefined],
  ];
  for (const [name, cpl, code, selector, expected] of rows) {
    const cpu = makeKernel(cpl);
    pointer(cpu, selector, 0x2_4000);
    if (expected) {
      refuse(t, name, cpu, code, ...expected);
      continue;
    }
    perform(t, name, cpu, code);
    const isGate = (selector & ~3) === selectors.callGate;
    t.same(
      [cpu.rip, cpu.cpl, selectorOf(cpu, 'cs')],
      [isGate ? GATE_TARGET : 0x2_4000n, cpl, isGate ? selectors.code0 : (selector & ~3) | cpl],
      `${name}: CS:RIP`,
    );
  }
  const calling = makeKernel(3);
  pointer(calling, selectors.user64 | 3, 0x2_4000);
  runOne(calling, call);
  t.same(
    [calling.memory.view.getUint32(STACK - 8, true), calling.memory.view.getUint32(STACK - 4, true), calling.gpr[RSP]],
    [CODE + 2, 0x2b, BigInt(STACK - 8)],
    'a far call pushes CS and RIP at the operand size',
  );
  calling.memory.bytes.set([0xcb], 0x2_4000);
  calling.run(1);
  t.same([calling.rip, calling.gpr[RSP]], [BigInt(CODE + 2), BigInt(STACK)], 'RETF comes back');

  const inner = makeKernel(3);
  pointer(inner, selectors.callGate | 3, 0);
  perform(t, 'a call through a gate to CPL 0', inner, call);
  t.same(
    [inner.rip, inner.cpl, inner.gpr[RSP], selectorOf(inner, 'ss')],
    [GATE_TARGET, 0, BigInt(RSP0 - 32), 0],
    'on the stack of the TSS',
  );
  t.same(
    [0, 8, 16, 24].map((i) => read64(inner, RSP0 - 32 + i)),
    [BigInt(CODE + 2), 0x2bn, BigInt(STACK), 0x23n],
    'with the frame of the caller',
  );
  inner.memory.bytes.set(RETFQ, Number(GATE_TARGET));
  inner.run(1);
  t.same(
    [inner.rip, inner.cpl, inner.gpr[RSP], selectorOf(inner, 'ss')],
    [BigInt(CODE + 2), 3, BigInt(STACK), 0x23],
    'RETF goes back to CPL 3',
  );
  const releasing = makeKernel(0);
  write64(releasing, STACK, 0x1234n, 0x2bn, 0x77n, 0x5678n, 0x23n);
  perform(t, 'retfq 8 to CPL 3', releasing, [0x48, 0xca, 8, 0]);
  t.same([releasing.rip, releasing.gpr[RSP]], [0x1234n, 0x5680n], 'releases its bytes on both stacks');

  // RETF's checks: CS and RIP on the stack, then what an outer return needs
  // biome-ignore format: one case a line
  const returns: [string, Cpl, bigint[], [number, number]][] = [
    ['to null',                      3, [0x1000n, 3n],                                                                   [GP, 0]],
    ['inwards',                      3, [0x1000n, BigInt(selectors.code0)],                                              [GP, selectors.code0]],
    ['to data',                      3, [0x1000n, BigInt(selectors.data3 | 3)],                                          [GP, selectors.data3]],
    ['to absent code',               3, [0x1000n, BigInt(selectors.absentCode | 3)],                                     [NP, selectors.absentCode]],
    ['not canonical',                3, [1n << 50n, BigInt(selectors.user64 | 3)],                                       [GP, 0]],
    ['outer, null SS',               0, [0x1000n, BigInt(selectors.user64 | 3), BigInt(STACK), 3n],                      [GP, 0]],
    ['outer, SS of another RPL',     0, [0x1000n, BigInt(selectors.user64 | 3), BigInt(STACK), BigInt(selectors.data3)], [GP, selectors.data3]],
    ['outer, SS absent',             0, [0x1000n, BigInt(selectors.user64 | 3), BigInt(STACK), BigInt(selectors.absentData3 | 3)], [SS, selectors.absentData3]],
  ];
  for (const [name, cpl, stack, expected] of returns) {
    const cpu = makeKernel(cpl);
    write64(cpu, STACK, ...stack);
    refuse(t, `retf ${name}`, cpu, RETFQ, ...expected);
    write64(cpu, STACK, ...stack.slice(0, 2), 2n, ...(stack.length > 2 ? stack.slice(2) : [BigInt(STACK), BigInt(selectors.data3 | 3)]));
    refuse(t, `iretq ${name}`, cpu, IRETQ, ...expected);
  }
  const compat = makeKernel(3, { is32: true });
  perform(t, 'ljmp from 32-bit to 64-bit code', compat, [0xea, 0, 0x40, 2, 0, selectors.user64 | 3, 0]);
  t.same([compat.rip, selectorOf(compat, 'cs')], [0x2_4000n, 0x2b]);
  const limited = makeKernel(3);
  write64(limited, GDT + selectors.user32, descriptor(10, 3, { flags: 4, limit: 0xfff }));
  pointer(limited, selectors.user32 | 3, 0x1000);
  refuse(t, 'a far jump beyond the limit', limited, jump, GP, 0);
  t.end();
});

t.test('IRET', (t) => {
  const frame = (cpu: CpuCore, ...values: (bigint | number)[]): void => write64(cpu, STACK, ...values.map(BigInt));
  const toUser = makeKernel(0);
  toUser.setSegment('ds', { selector: 0x10, base: 0n, limit: 0xffff_ffff, attributes: 0xc093 });
  toUser.setSegment('es', { selector: 0x23, base: 0n, limit: 0xffff_ffff, attributes: 0xc0f3 });
  frame(toUser, 0x1234, selectors.user64 | 3, 0x24_7ed7 | 0x1_0000, 0x5678, selectors.data3 | 3);
  perform(t, 'iretq to CPL 3', toUser, IRETQ);
  t.same([toUser.rip, toUser.cpl, toUser.gpr[RSP], toUser.rflags], [0x1234n, 3, 0x5678n, 0x25_7ed7n], 'RIP, CPL, RSP, all flags with RF');
  t.same([selectorOf(toUser, 'ds'), selectorOf(toUser, 'es')], [0, 0x23], 'data segments of the kernel become null');
  const toCompat = makeKernel(0);
  frame(toCompat, 0x1_0000_1234n & 0xffff_ffffn, selectors.user32 | 3, 2, 0x1_0000_5678n, selectors.data3 | 3);
  perform(t, 'iretq to 32-bit code', toCompat, IRETQ);
  t.same([toCompat.rip, toCompat.gpr[RSP], toCompat.getSegment('cs').attributes & 0x6000], [0x1234n, 0x5678n, 0x4000]);
  const same = makeKernel(3);
  frame(same, 0x1234, selectors.user64 | 3, 0x3202, 0x5678, selectors.data3 | 3);
  same.rflags = 0x2n;
  perform(t, 'iretq to the same ring', same, IRETQ);
  t.same([same.rip, same.gpr[RSP], same.rflags], [0x1234n, 0x5678n, 2n], 'pops SS:RSP too; CPL 3 changes neither IF nor IOPL');
  const kernel = makeKernel(0);
  frame(kernel, 0x1234, selectors.code0, 2, 0x5678, 0);
  perform(t, 'iretq with a null SS at CPL 0', kernel, IRETQ);
  t.same([kernel.cpl, selectorOf(kernel, 'ss')], [0, 0]);
  const small = makeKernel(0);
  for (const [i, value] of [0x1234, selectors.code0, 0x202, 0x5678, selectors.data0].entries())
    small.memory.view.setUint32(STACK + 4 * i, value, true);
  perform(t, 'iretd', small, IRETD);
  t.same([small.rip, small.gpr[RSP], small.rflags], [0x1234n, 0x5678n, 0x202n]);
  const from32 = makeKernel(3, { is32: true });
  for (const [i, value] of [0x1234, selectors.user32 | 3, 0x8d7].entries()) from32.memory.view.setUint32(STACK + 4 * i, value, true);
  perform(t, 'iretd in 32-bit code to the same ring', from32, IRETD);
  t.same([from32.rip, from32.gpr[RSP], from32.rflags], [0x1234n, BigInt(STACK + 12), 0x8d7n], 'pops three');
  const nested = makeKernel(0);
  nested.rflags = 0x4002n;
  refuse(t, 'iretq with NT', nested, IRETQ, GP, 0);
  t.end();
});
