// System instructions: who may execute them, what the host sees of them, what they do: one claim a row.

import t from 'tap';
import type { CpuCore } from '../../emulator/cpu/index.ts';
import { R11, RAX, RBX, RCX, RDI, RDX, RSI, RSP } from '../../emulator/cpu/interface.ts';
import { loadCode, makeBareCpu } from '../support/bare_cpu.ts';
import { P, PageTables, RW, read64, write64 } from '../support/tables.ts';
import {
  CLI,
  CODE,
  type Cpl,
  DATA,
  DB,
  fault,
  GP,
  HLT,
  IN_DX,
  INSB,
  INT1,
  INT3,
  INT80,
  makeKernel,
  OUT_DX,
  OUTSB,
  POPF,
  PUSHF,
  perform,
  RDMSR,
  refuse,
  runOne,
  STACK,
  STI,
  SYSCALL,
  SYSRETL,
  SYSRETQ,
  selectorOf,
  selectors,
  show,
  TSS,
  UD,
  UD2,
  WRMSR,
} from '../support/test_kernel.ts';

t.test('what each ring may execute', (t) => {
  // name, bytes, at CPL 3: vector (error code 0 for #GP), or undefined when it executes
  // biome-ignore format: one instruction a line
  const rows: [string, number[], number | undefined][] = [
    ['hlt',               HLT,                          GP],
    ['cli',               CLI,                          GP],
    ['sti',               STI,                          GP],
    ['clts',              [0x0f, 0x06],                 GP],
    ['invd',              [0x0f, 0x08],                 GP],
    ['wbinvd',            [0x0f, 0x09],                 GP],
    ['mov rax, cr0',      [0x0f, 0x20, 0xc0],           GP],
    ['mov cr3, rax',      [0x0f, 0x22, 0xd8],           GP],
    ['mov rax, cr1',      [0x0f, 0x20, 0xc8],           UD],
    ['mov rax, cr9',      [0x44, 0x0f, 0x20, 0xc8],     UD],
    ['mov rax, cr8',      [0x44, 0x0f, 0x20, 0xc0],     GP],
    ['mov rax, dr0',      [0x0f, 0x21, 0xc0],           GP],
    ['mov rax, dr4',      [0x0f, 0x21, 0xe0],           GP],
    ['mov rax, dr8',      [0x44, 0x0f, 0x21, 0xc0],     UD],
    ['mov dr7, rax',      [0x0f, 0x23, 0xf8],           GP],
    ['rdmsr',             RDMSR,                        GP],
    ['wrmsr',             WRMSR,                        GP],
    ['lgdt [rdi]',        [0x0f, 0x01, 0x17],           GP],
    ['lidt [rdi]',        [0x0f, 0x01, 0x1f],           GP],
    ['lldt ax',           [0x0f, 0x00, 0xd0],           GP],
    ['ltr ax',            [0x0f, 0x00, 0xd8],           GP],
    ['lmsw ax',           [0x0f, 0x01, 0xf0],           GP],
    ['invlpg [rdi]',      [0x0f, 0x01, 0x3f],           GP],
    ['swapgs',            [0x0f, 0x01, 0xf8],           GP],
    ['sysretq',           SYSRETQ,                      GP],
    ['sysexit',           [0x0f, 0x35],                 GP],
    ['rdpmc',             [0x0f, 0x33],                 GP],
    ['in al, dx',         IN_DX,                        undefined],
    ['rdtsc',             [0x0f, 0x31],                 undefined],
    ['rdtscp',            [0x0f, 0x01, 0xf9],           undefined],
    ['cpuid',             [0x0f, 0xa2],                 undefined],
    ['pushf',             PUSHF,                        undefined],
    ['smsw eax',          [0x0f, 0x01, 0xe0],           undefined],
    ['sldt eax',          [0x0f, 0x00, 0xc0],           undefined],
    ['str eax',           [0x0f, 0x00, 0xc8],           undefined],
    ['sgdt [rdi]',        [0x0f, 0x01, 0x07],           undefined],
    ['sidt [rdi]',        [0x0f, 0x01, 0x0f],           undefined],
    ['ud0',               [0x0f, 0xff, 0xc0],           UD],
    ['ud1',               [0x0f, 0xb9, 0xc0],           UD],
    ['ud2',               UD2,                          UD],
    ['xgetbv',            [0x0f, 0x01, 0xd0],           UD],
    ['xsetbv',            [0x0f, 0x01, 0xd1],           UD],
    ['monitor',           [0x0f, 0x01, 0xc8],           UD],
    ['mwait',             [0x0f, 0x01, 0xc9],           UD],
    ['clac',              [0x0f, 0x01, 0xca],           UD],
    ['stac',              [0x0f, 0x01, 0xcb],           UD],
    ['vmcall',            [0x0f, 0x01, 0xc1],           UD],
    ['vmmcall',           [0x0f, 0x01, 0xd9],           UD],
    ['rdfsbase',          [0xf3, 0x0f, 0xae, 0xc0],     UD],
    ['rsm',               [0x0f, 0xaa],                 UD],
    ['into, 64-bit',      [0xce],                       UD],
    ['push cs, 64-bit',   [0x0e],                       UD],
    ['far call, 64-bit',  [0x9a, 0, 0, 0, 0, 8, 0],     UD],
    ['lds, 64-bit',       [0xc5, 0x07],                 UD],
  ];
  for (const [name, code, vector] of rows) {
    const cpu = makeKernel(3);
    if (vector === undefined) perform(t, name, cpu, code);
    else refuse(t, name, cpu, code, vector, vector === GP ? 0 : undefined);
  }
  const umip = makeKernel(3);
  umip.cr4 |= 1n << 11n;
  for (const [name, code] of [
    ['sgdt', [0x0f, 0x01, 0x07]],
    ['sidt', [0x0f, 0x01, 0x0f]],
    ['sldt', [0x0f, 0, 0xc0]],
    ['str', [0x0f, 0, 0xc8]],
    ['smsw', [0x0f, 1, 0xe0]],
  ] as const) {
    refuse(t, `UMIP: ${name}`, umip, code, GP, 0);
  }
  const tsd = makeKernel(3);
  tsd.cr4 |= 4n;
  refuse(t, 'TSD: rdtsc', tsd, [0x0f, 0x31], GP, 0);
  refuse(t, 'TSD: rdtscp', tsd, [0x0f, 0x01, 0xf9], GP, 0);
  for (const [name, code] of [
    ['swapgs', [0x0f, 0x01, 0xf8]],
    ['rdfsbase', [0xf3, 0x0f, 0xae, 0xc0]],
  ] as const) {
    refuse(t, `${name} in 32-bit code`, makeKernel(0, { is32: true }), code, UD);
  }
  t.end();
});

t.test('intercepts leave before execution, behind the privilege checks', (t) => {
  const names = [
    'cpuid',
    'rdtsc',
    'rdtscp',
    'rdpmc',
    'rdmsr',
    'wrmsr',
    'in',
    'out',
    'ins',
    'outs',
    'invlpg',
    'mov_cr',
    'mov_dr',
    'pause',
    'hypercall',
  ];
  const instruction = (name: string, length: number): object => ({ kind: 'instruction', name, length });
  // biome-ignore format: one instruction a line
  const rows: [string, number[], Cpl, object][] = [
    ['cpuid',             [0x0f, 0xa2],             3, instruction('cpuid', 2)],
    ['rdtsc',             [0x0f, 0x31],             3, instruction('rdtsc', 2)],
    ['rdtscp',            [0x0f, 0x01, 0xf9],       3, instruction('rdtscp', 3)],
    ['rdpmc at CPL 3',    [0x0f, 0x33],             3, fault(GP, 0)],
    ['rdpmc at CPL 0',    [0x0f, 0x33],             0, instruction('rdpmc', 2)],
    ['rdmsr',             RDMSR,                    0, instruction('rdmsr', 2)],
    ['wrmsr',             WRMSR,                    0, instruction('wrmsr', 2)],
    ['wrmsr at CPL 3',    WRMSR,                    3, fault(GP, 0)],
    ['in al, 0x60',       [0xe4, 0x60],             0, instruction('in', 2)],
    ['in eax, dx',        [0xed],                   0, instruction('in', 1)],
    ['out dx, ax',        [0x66, 0xef],             0, instruction('out', 2)],
    ['rep insb',          [0xf3, 0x6c],             0, instruction('ins', 2)],
    ['outsd',             [0x6f],                   0, instruction('outs', 1)],
    ['invlpg',            [0x0f, 0x01, 0x3f],       0, instruction('invlpg', 3)],
    ['mov rax, cr3',      [0x0f, 0x20, 0xd8],       0, instruction('mov_cr', 3)],
    ['mov cr1, rax',      [0x0f, 0x22, 0xc8],       0, fault(UD)],
    ['clts',              [0x0f, 0x06],             0, instruction('mov_cr', 2)],
    ['lmsw ax',           [0x0f, 0x01, 0xf0],       0, instruction('mov_cr', 3)],
    ['mov dr7, rax',      [0x0f, 0x23, 0xf8],       0, instruction('mov_dr', 3)],
    ['pause',             [0xf3, 0x90],             3, instruction('pause', 2)],
    ['vmcall',            [0x0f, 0x01, 0xc1],       3, { kind: 'hypercall', opcode: 'vmcall', length: 3 }],
    ['vmmcall',           [0x0f, 0x01, 0xd9],       0, { kind: 'hypercall', opcode: 'vmmcall', length: 3 }],
    ['syscall',           SYSCALL,                  3, { kind: 'syscall', opcode: 'syscall', length: 2 }],
    ['sysenter',          [0x0f, 0x34],             3, { kind: 'syscall', opcode: 'sysenter', length: 2 }],
    ['int 0x80',          INT80,                    3, { kind: 'softwareInterrupt', vector: 0x80, opcode: 'int', length: 2 }],
    ['int 3',             [0xcd, 3],                3, { kind: 'softwareInterrupt', vector: 3, opcode: 'int', length: 2 }],
    ['int3',              INT3,                     3, { kind: 'softwareInterrupt', vector: 3, opcode: 'int3', length: 1 }],
    ['int1',              INT1,                     3, { kind: 'softwareInterrupt', vector: 1, opcode: 'int1', length: 1 }],
  ];
  for (const [name, code, cpl, expected] of rows) {
    const cpu = makeKernel(cpl);
    Object.assign(cpu.intercepts, { instructions: new Set(names) });
    const before = [...cpu.gpr];
    const { instructions } = cpu;
    t.same(show(runOne(cpu, code)), expected, name);
    t.equal(cpu.rip, BigInt(CODE), `${name}: RIP`);
    t.same([...cpu.gpr], before, `${name}: registers`);
    t.equal(cpu.instructions, instructions, `${name}: not retired`);
  }
  const overflow = makeKernel(3, { is32: true });
  overflow.rflags = 0x802n;
  t.same(runOne(overflow, [0xce]), { kind: 'softwareInterrupt', vector: 4, opcode: 'into', length: 1 }, 'into with OF');
  overflow.rflags = 2n;
  perform(t, 'into without OF', overflow, [0xce]);
  const noSce = makeKernel(3);
  noSce.efer &= ~1n;
  refuse(t, 'syscall without SCE', noSce, SYSCALL, UD);
  t.same(runOne(makeKernel(3, { is32: true }), SYSCALL), { kind: 'syscall', opcode: 'syscall', length: 2 }, 'syscall from 32-bit code');
  const halting = makeKernel(0);
  const { instructions } = halting;
  t.same(runOne(halting, HLT), { kind: 'halt' }, 'hlt');
  t.equal(halting.rip, BigInt(CODE + 1), 'RIP is behind it');
  t.equal(halting.instructions - instructions, 1n, 'and it has retired');
  t.end();
});

t.test('identification and time', (t) => {
  const cpu = makeBareCpu({
    host: { cpuid: (leaf, subleaf) => ({ eax: leaf, ebx: subleaf, ecx: -1, edx: 7 }), readTsc: (n) => 0x1_0000_0000 + n },
  });
  cpu.gpr.set([0xdead_0000_0001n, 0xdead_0000_0002n, 3n, 4n]);
  loadCode(cpu, [0x0f, 0xa2]);
  cpu.run(1);
  t.same([...cpu.gpr.subarray(0, 4)], [1n, 0xffff_ffffn, 7n, 2n], 'cpuid asks the host, and clears the upper halves');
  cpu.writeMsr(0xc0000103, 42n);
  loadCode(cpu, [0x90, 0x0f, 0x31, 0x90, 0x0f, 0x01, 0xf9]);
  const { instructions } = cpu;
  cpu.run(2);
  t.same([cpu.gpr[RDX], cpu.gpr[RAX]], [1n, instructions + 1n], 'rdtsc tells the host how many retired before it');
  cpu.run(2);
  t.same([cpu.gpr[RDX], cpu.gpr[RAX], cpu.gpr[RCX]], [1n, instructions + 3n, 42n], 'rdtscp, with TSC_AUX');
  t.end();
});

t.test('PUSHF and POPF by privilege', (t) => {
  const all = 0x3f_7fd7n;
  // CPL, IOPL, operand size prefix, RFLAGS before, image, RFLAGS after
  // biome-ignore format: one case a line
  const rows: [string, Cpl, number[], bigint, bigint, bigint][] = [
    ['CPL 0 writes all but RF and VM',     0, POPF,           0x2n,      all & ~0x100n,   0x24_7ed7n],
    ['CPL 0 clears all',                   0, POPF,           0x24_7ed7n, 0n,             0x2n],
    ['CPL 3 keeps IF and IOPL',            3, POPF,           0x2n,      all & ~0x100n,   0x24_4cd7n],
    ['CPL 3 cannot clear IF',              3, POPF,           0x202n,    0n,              0x202n],
    ['CPL 3 with IOPL 3 writes IF',        3, POPF,           0x3202n,   0n,              0x3002n],
    ['16 bits leave AC and ID',            0, [0x66, 0x9d],   0x24_0002n, 0x8d7n,         0x24_08d7n],
    ['arithmetic flags only (in the loop)', 3, POPF,          0x3202n,   0x3ad7n,         0x3ad7n],
  ];
  for (const [name, cpl, code, before, image, after] of rows) {
    const cpu = makeKernel(cpl);
    cpu.rflags = before;
    write64(cpu, STACK, image);
    perform(t, name, cpu, code);
    t.equal(cpu.rflags, after, `${name}: RFLAGS`);
    t.equal(cpu.gpr[RSP], BigInt(STACK + (code.length > 1 ? 2 : 8)), `${name}: RSP`);
  }
  const cpu = makeKernel(3);
  cpu.rflags = 0x24_7ad7n | 0x3_0000n;
  perform(t, 'pushf', cpu, PUSHF);
  t.equal(read64(cpu, STACK - 8), 0x24_7ad7n, 'the image has RF and VM clear');
  for (const [name, cpl, iopl, code, expected] of [
    ['cli', 0, 0n, CLI, 0x2n],
    ['sti', 0, 0n, STI, 0x202n],
    ['cli, IOPL 3', 3, 0x3000n, CLI, 0x3002n],
    ['sti, IOPL 3', 3, 0x3000n, STI, 0x3202n],
  ] as const) {
    const kernel = makeKernel(cpl);
    kernel.rflags = (code === CLI ? 0x202n : 2n) | iopl;
    perform(t, name, kernel, code);
    t.equal(kernel.rflags, expected, `${name}: RFLAGS`);
  }
  t.end();
});

t.test('SYSCALL and SYSRET', (t) => {
  const cpu = makeKernel(3, { delivers: true });
  cpu.rflags = 0x4_4f93n & ~0x100n;
  perform(t, 'syscall', cpu, SYSCALL);
  t.same(
    [cpu.rip, cpu.gpr[RCX], cpu.gpr[R11], cpu.rflags],
    [0x1_2000n, BigInt(CODE + 2), 0x4_4e93n, 0x893n],
    'RIP, RCX, R11, RFLAGS under the mask',
  );
  t.same([selectorOf(cpu, 'cs'), selectorOf(cpu, 'ss'), cpu.cpl], [0x08, 0x10, 0], 'flat kernel segments');
  cpu.gpr[RCX] = 0x1234_5678n;
  cpu.gpr[R11] = 0xffff_ffff_ffff_feffn;
  perform(t, 'sysretq', cpu, SYSRETQ);
  t.same([cpu.rip, cpu.rflags, cpu.cpl], [0x1234_5678n, 0x3c_7ed7n, 3], 'RIP and RFLAGS, RF and VM clear');
  t.same([selectorOf(cpu, 'cs'), selectorOf(cpu, 'ss')], [0x2b, 0x23]);
  const compat = makeKernel(3, { delivers: true, is32: true });
  perform(t, 'syscall from 32-bit code', compat, SYSCALL);
  t.equal(compat.rip, 0x1_3000n, 'goes to CSTAR');
  compat.gpr[RCX] = 0xffff_0000_1234n;
  compat.gpr[R11] = 0x202n;
  perform(t, 'sysretl', compat, SYSRETL);
  t.same([compat.rip, selectorOf(compat, 'cs'), compat.getSegment('cs').attributes], [0x1234n, 0x1b, 0xc0fb], 'to 32-bit code');
  const wild = makeKernel(0);
  wild.gpr[RCX] = 0x8000_0000_0000n;
  wild.gpr[R11] = 2n;
  perform(t, 'sysretq to an address that is not canonical', wild, SYSRETQ);
  t.same([show(wild.run(1)), wild.cpl, wild.rip], [fault(GP, 0), 3, 0x8000_0000_0000n], 'faults at CPL 3, as on AMD');
  const noSce = makeKernel(0);
  noSce.efer &= ~1n;
  refuse(t, 'sysret without SCE', noSce, SYSRETQ, UD);
  const swapping = makeKernel(0);
  swapping.writeMsr(0xc0000101, 0x1111n);
  swapping.writeMsr(0xc0000102, 0x2222n);
  perform(t, 'swapgs', swapping, [0x0f, 0x01, 0xf8]);
  t.same([swapping.readMsr(0xc0000101), swapping.readMsr(0xc0000102)], [0x2222n, 0x1111n]);
  const bases = makeKernel(3);
  bases.cr4 |= 1n << 16n;
  bases.gpr[RAX] = 0xffff_8000_0000_1234n;
  perform(t, 'wrgsbase', bases, [0xf3, 0x48, 0x0f, 0xae, 0xd8]);
  perform(t, 'rdgsbase ebx', bases, [0xf3, 0x0f, 0xae, 0xcb]);
  t.equal(bases.gpr[RBX], 0x1234n, 'the 32-bit form is cut');
  perform(t, 'wrfsbase eax', bases, [0xf3, 0x0f, 0xae, 0xd0]);
  t.equal(bases.getSegment('fs').base, 0x1234n);
  bases.gpr[RAX] = 1n << 60n;
  refuse(t, 'wrfsbase, not canonical', bases, [0xf3, 0x48, 0x0f, 0xae, 0xd0], GP, 0);
  t.end();
});

t.test('model-specific registers', (t) => {
  const canonical = 0xffff_8000_0000_0000n,
    wild = 0x8000_0000_0000n;
  // index, a good value, a bad one
  // biome-ignore format: one register a line
  const rows: [string, number, bigint, bigint | undefined][] = [
    ['STAR',           0xc0000081, 0xffff_ffff_ffff_ffffn, undefined],
    ['LSTAR',          0xc0000082, canonical, wild],
    ['CSTAR',          0xc0000083, canonical, wild],
    ['SFMASK',         0xc0000084, 0x4_7700n, 1n << 32n],
    ['FS_BASE',        0xc0000100, canonical, wild],
    ['GS_BASE',        0xc0000101, canonical, wild],
    ['KERNEL_GS_BASE', 0xc0000102, canonical, wild],
    ['TSC_AUX',        0xc0000103, 5n, 1n << 32n],
    ['SYSENTER_CS',    0x174, 8n, undefined],
    ['SYSENTER_ESP',   0x175, canonical, wild],
    ['SYSENTER_EIP',   0x176, canonical, wild],
    ['PAT',            0x277, 0x0007_0406_0007_0406n, 2n],
    ['EFER',           0xc0000080, 0xd00n, 0x1d01n],
    ['an unknown one', 0x12345, 0n, 0n],
  ];
  for (const [name, index, good, bad] of rows) {
    const cpu = makeKernel(0);
    const set = (value: bigint): void => cpu.gpr.set([value & 0xffff_ffffn, BigInt(index), value >> 32n]);
    if (name !== 'an unknown one') {
      set(good);
      perform(t, `wrmsr ${name}`, cpu, WRMSR);
      cpu.gpr.set([0n, BigInt(index), 0n]);
      perform(t, `rdmsr ${name}`, cpu, RDMSR);
      t.equal((cpu.gpr[RDX]! << 32n) | cpu.gpr[RAX]!, good, name);
    } else refuse(t, 'rdmsr of an unknown register', cpu, RDMSR, GP, 0);
    if (bad === undefined) continue;
    set(bad);
    refuse(t, `wrmsr ${name}, a bad value`, cpu, WRMSR, GP, 0);
  }
  const paging = makeKernel(0);
  paging.gpr.set([0x801n, 0xc0000080n, 0n]);
  refuse(t, 'LME stays while paging is on', paging, WRMSR, GP, 0);
  t.end();
});

t.test('control and debug registers', (t) => {
  const cr = (number: number, isWrite: boolean): number[] => [
    ...(number > 7 ? [0x44] : []),
    0x0f,
    isWrite ? 0x22 : 0x20,
    0xc0 | ((number & 7) << 3),
  ];
  // register, value, fault or what it holds then
  // biome-ignore format: one case a line
  const rows: [string, number, bigint, bigint | 'refused'][] = [
    ['TS set',                      0, 0x8005_003bn, 0x8005_003bn],
    ['reserved low bits are lost',  0, 0x8005_007bn, 0x8005_003bn],
    ['ET stays',                    0, 0x8005_002bn, 0x8005_003bn],
    ['upper half',                  0, 0x1_8005_0033n, 'refused'],
    ['PG without PE',               0, 0x8005_0032n, 'refused'],
    ['NW without CD',               0, 0xa005_0033n, 'refused'],
    ['CD and NW',                   0, 0xe005_0033n, 0xe005_0033n],
    ['PG off in 64-bit code',       0, 0x0005_0033n, 'refused'],
    ['CR2',                         2, 0x8000_0000_1234n, 0x8000_0000_1234n],
    ['CR3 beyond MAXPHYADDR',       3, 1n << 40n, 'refused'],
    ['CR4 with UMIP and FSGSBASE',  4, 0x1_0ea0n, 0x1_0ea0n],
    ['CR4, unknown bit',            4, 0x80_06a0n, 'refused'],
    ['CR4, LA57',                   4, 0x16a0n, 'refused'],
    ['CR4, OSXSAVE',                4, 0x4_06a0n, 'refused'],
    ['CR4 without PAE',             4, 0x680n, 'refused'],
    ['CR8',                         8, 15n, 15n],
    ['CR8 too large',               8, 16n, 'refused'],
  ];
  for (const [name, number, value, expected] of rows) {
    const cpu = makeKernel(0);
    cpu.gpr[RAX] = value;
    if (expected === 'refused') {
      refuse(t, name, cpu, cr(number, true), GP, 0);
      continue;
    }
    perform(t, name, cpu, cr(number, true));
    perform(t, `${name}, read`, cpu, cr(number, false));
    t.equal(cpu.gpr[RAX], expected, name);
  }
  const cpu = makeKernel(0);
  cpu.cr0 |= 8n;
  perform(t, 'clts', cpu, [0x0f, 0x06]);
  t.equal(cpu.cr0, 0x8005_0033n);
  cpu.gpr[RAX] = 0xfffen;
  perform(t, 'lmsw', cpu, [0x0f, 0x01, 0xf0]);
  t.equal(cpu.cr0, 0x8005_003fn, 'lmsw sets MP EM TS and cannot clear PE');
  perform(t, 'smsw rax', cpu, [0x48, 0x0f, 0x01, 0xe0]);
  t.equal(cpu.gpr[RAX], 0x8005_003fn);

  const tables = new PageTables(cpu);
  tables.map(0x4000_0000n, DATA, P | RW);
  cpu.gpr[RDI] = 0x4000_0000n;
  perform(t, 'a load fills the TLB', cpu, [0x8b, 0x07]);
  const entry = tables.entry(0x4000_0000n, 1);
  write64(cpu, entry, BigInt(DATA + 4096) | P | RW);
  cpu.memory.bytes[DATA + 4096] = 99;
  perform(t, 'which may be stale', cpu, [0x8a, 0x07]);
  t.equal(cpu.gpr[RAX]! & 0xffn, 0n);
  perform(t, 'until invlpg', cpu, [0x0f, 0x01, 0x3f]);
  perform(t, 'drops it', cpu, [0x8a, 0x07]);
  t.equal(cpu.gpr[RAX]! & 0xffn, 99n);
  cpu.gpr[RDI] = 0x8000_0000_0000n;
  perform(t, 'invlpg of an address that is not canonical', cpu, [0x0f, 0x01, 0x3f]);

  const dr = makeKernel(0);
  dr.gpr[RAX] = 0xffff_ffffn;
  perform(t, 'mov dr6, rax', dr, [0x0f, 0x23, 0xf0]);
  t.equal(dr.getDr(6), 0xffff_efffn, 'fixed bits');
  perform(t, 'mov dr5 is dr7', dr, [0x0f, 0x23, 0xe8]);
  t.equal(dr.getDr(7), 0xffff_27ffn);
  t.same(show(runOne(dr, [0x0f, 0x21, 0xc0])), fault(DB), 'DR7.GD guards the debug registers');
  const open = makeKernel(0);
  open.cr4 |= 8n;
  refuse(t, 'CR4.DE: no DR4', open, [0x0f, 0x21, 0xe0], UD);
  open.gpr[RAX] = 1n << 32n;
  refuse(t, 'the upper half of DR7', open, [0x0f, 0x23, 0xf8], GP, 0);
  perform(t, 'DR0 takes any address', open, [0x0f, 0x23, 0xc0]);
  t.equal(open.getDr(0), 1n << 32n);
  t.end();
});

t.test('leaving and entering long mode', (t) => {
  const cpu = makeKernel(0, { is32: true });
  new PageTables(cpu);
  cpu.gpr[RAX] = 0x0005_0033n;
  perform(t, 'paging off in compatibility mode', cpu, [0x0f, 0x22, 0xc0]);
  t.equal(cpu.efer & 0x500n, 0x100n, 'LMA goes, LME stays');
  cpu.gpr[RAX] = 0x8005_0033n;
  perform(t, 'paging on', cpu, [0x0f, 0x22, 0xc0]);
  t.equal(cpu.efer & 0x500n, 0x500n, 'LMA is back');
  perform(t, 'far jump', cpu, [0xea, 0, 0, 2, 0, selectors.code0, 0]);
  t.same([cpu.rip, cpu.getSegment('cs').attributes & 0x2000], [0x2_0000n, 0x2000], 'into 64-bit code');
  const noPae = makeKernel(0, { is32: true });
  noPae.cr0 &= ~0x8000_0000n;
  noPae.efer &= ~0x400n;
  noPae.cr4 &= ~0x20n;
  noPae.gpr[RAX] = 0x8005_0033n;
  refuse(t, 'paging without PAE', noPae, [0x0f, 0x22, 0xc0], GP, 0);
  t.end();
});

t.test('port I/O: IOPL, then the bitmap of the TSS', (t) => {
  const map = TSS + 104;
  // name, IOPL, port, prepare, code, allowed
  // biome-ignore format: one case a line
  const rows: [string, bigint, number, (cpu: CpuCore) => void, number[], boolean][] = [
    ['IOPL 3',                       3n, 0x3f8, () => {},                                                       IN_DX,        true],
    ['a clear bit',                  0n, 0x3f8, () => {},                                                       IN_DX,        true],
    ['a set bit',                    0n, 0x3f8, (cpu) => { cpu.memory.bytes[map + 0x7f] = 1; },                 IN_DX,        false],
    ['the bit of another port',      0n, 0x3f8, (cpu) => { cpu.memory.bytes[map + 0x7f] = 2; },                 OUT_DX,       true],
    ['a dword over a set bit',       0n, 0x3f8, (cpu) => { cpu.memory.bytes[map + 0x7f] = 8; },                 [0xed],       false],
    ['a word over two bytes',        0n, 0x3ff, (cpu) => { cpu.memory.bytes[map + 0x80] = 1; },                 [0x66, 0xed], false],
    ['beyond the limit',             0n, 0x3f8, (cpu) => cpu.setSegment('tr', { ...cpu.getSegment('tr'), limit: 104 + 0x7f }), IN_DX, false],
    ['the byte behind is there',     0n, 0x3f8, (cpu) => cpu.setSegment('tr', { ...cpu.getSegment('tr'), limit: 104 + 0x80 }), IN_DX, true],
    ['no map',                       0n, 0x3f8, (cpu) => cpu.setSegment('tr', { ...cpu.getSegment('tr'), limit: 0x67 }), IN_DX, false],
    ['insb',                         0n, 0x3f8, (cpu) => { cpu.memory.bytes[map + 0x7f] = 1; },                 INSB,         false],
    ['outsb',                        0n, 0x3f8, (cpu) => { cpu.memory.bytes[map + 0x7f] = 1; },                 OUTSB,        false],
  ];
  for (const [name, iopl, port, prepare, code, isAllowed] of rows) {
    const cpu = makeKernel(3);
    cpu.rflags = 2n | (iopl << 12n);
    cpu.gpr[RDX] = BigInt(port);
    cpu.gpr[RSI] = BigInt(DATA);
    prepare(cpu);
    if (isAllowed) perform(t, name, cpu, code);
    else refuse(t, name, cpu, code, GP, 0);
  }
  const cpu = makeKernel(0);
  cpu.gpr[RCX] = 3n;
  loadCode(cpu, [0xf3, 0x6d], CODE);
  cpu.run(3);
  t.same(
    [read64(cpu, DATA), read64(cpu, DATA + 8), cpu.gpr[RCX], cpu.rip],
    [0xffff_ffff_ffff_ffffn, 0xffff_ffffn, 0n, BigInt(CODE + 2)],
    'without a host there are ones',
  );
  t.end();
});
