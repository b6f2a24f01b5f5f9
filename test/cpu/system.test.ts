// System instructions, and the delivery of exceptions and interrupts through the IDT: one claim a row.
import t, { type Test } from 'tap';
import type { Exit } from '../../emulator/cpu/exit.ts';
import type { CpuCore } from '../../emulator/cpu/index.ts';
import type { SegmentName } from '../../emulator/cpu/interface.ts';
import { freshBareCpu, loadCode, makeBareCpu } from '../support/bare_cpu.ts';
import { descriptor, gate, P, PageTables, RW, read64, write64 } from '../support/tables.ts';

const RAX = 0,
  RCX = 1,
  RDX = 2,
  RBX = 3,
  RSP = 4,
  RSI = 6,
  RDI = 7,
  R11 = 11;
const DB = 1,
  UD = 6,
  DF = 8,
  TS = 10,
  NP = 11,
  SS = 12,
  GP = 13,
  PF = 14;
const CODE = 0x10000,
  STACK = 0x8_0000,
  DATA = 0x20_0000;
const GDT = 0x30_0000,
  IDT = 0x32_0000,
  TSS = 0x33_0000,
  LDT = 0x34_0000;
const HANDLER = 0x2_0000;
const RSP0 = 0x9_0000,
  RSP1 = 0x9_4000,
  IST1 = 0xa_0008,
  IST2 = 0xb_0000;

// biome-ignore format: one descriptor a line
const selectors = {
  code0: 0x08, data0: 0x10, user32: 0x18, data3: 0x20, user64: 0x28, code32: 0x30, tss: 0x38, ldt: 0x48, callGate: 0x58, conforming: 0x68,
  code1: 0x70, data1: 0x78, absentCode: 0x80, gateToRing3: 0x88, absentData3: 0x98, longAndBig: 0xa0, busyTss: 0xa8, executeOnly: 0xb8, data3ReadOnly: 0xc0,
};
const GATE_TARGET = 0x2_8000n;

// biome-ignore format: one descriptor a line
const gdt: bigint[] = [
  0n,
  descriptor(10, 0, { flags: 10 }),                                     // 08
  descriptor(2, 0, { flags: 12 }),                                      // 10
  descriptor(10, 3, { flags: 12 }),                                     // 18
  descriptor(2, 3, { flags: 12 }),                                      // 20
  descriptor(10, 3, { flags: 10 }),                                     // 28
  descriptor(10, 0, { flags: 12 }),                                     // 30
  descriptor(9, 0, { isSystem: true, base: TSS, limit: 0x1000 }), 0n,   // 38
  descriptor(2, 0, { isSystem: true, base: LDT, limit: 0xff }), 0n,     // 48
  ...gate(12, 3, 0x08, GATE_TARGET),                                    // 58
  descriptor(14, 0, { flags: 10 }),                                     // 68
  descriptor(10, 1, { flags: 10 }),                                     // 70
  descriptor(2, 1, { flags: 12 }),                                      // 78
  descriptor(10, 3, { flags: 10, isAbsent: true }),                     // 80
  ...gate(12, 3, 0x28, GATE_TARGET),                                    // 88
  descriptor(2, 3, { isAbsent: true }),                                 // 98
  descriptor(10, 3, { flags: 14 }),                                     // a0
  descriptor(11, 0, { isSystem: true, base: TSS, limit: 0x67 }), 0n,    // a8
  descriptor(8, 3, { flags: 10 }),                                      // b8
  descriptor(0, 3, { flags: 12 }),                                      // c0
];

type Cpl = 0 | 1 | 3;

/** A kernel's tables in RAM: GDT, TSS with stacks, and an IDT whose handlers lie at HANDLER + 16 * vector. */
function makeKernel(cpl: Cpl, options: { delivers?: boolean; is32?: boolean } = {}): CpuCore {
  const cpu = freshBareCpu(0);
  write64(cpu, GDT, ...gdt);
  cpu.gdtr = { base: BigInt(GDT), limit: gdt.length * 8 - 1 };
  for (let vector = 0; vector < 256; vector++) {
    write64(cpu, IDT + vector * 16, ...gate(14, 0, selectors.code0, BigInt(HANDLER + vector * 16)));
    cpu.memory.bytes[HANDLER + vector * 16] = 0xf4;
  }
  cpu.idtr = { base: BigInt(IDT), limit: 0xfff };
  write64(cpu, TSS + 4, BigInt(RSP0), BigInt(RSP1));
  write64(cpu, TSS + 36, BigInt(IST1), BigInt(IST2));
  cpu.memory.view.setUint16(TSS + 102, 104, true);
  cpu.setSegment('tr', { selector: selectors.tss, base: BigInt(TSS), limit: 0x1000, attributes: 0x8b });
  cpu.setSegment('ldtr', { selector: 0, base: 0n, limit: 0, attributes: 0 });
  setRing(cpu, cpl, options.is32 ?? false);
  cpu.gpr.set([0x10n, 0x11n, 0x12n, 0x13n, BigInt(STACK), 0x15n, 0x16n, BigInt(DATA)]);
  cpu.writeMsr(0xc0000081, 0x0018_0008_0000_0000n);
  cpu.writeMsr(0xc0000082, 0x1_2000n);
  cpu.writeMsr(0xc0000083, 0x1_3000n);
  cpu.writeMsr(0xc0000084, 0x4_7700n);
  if (options.delivers) Object.assign(cpu.intercepts, { exceptions: 0, softwareInterrupts: false, syscall: false });
  return cpu;
}

function setRing(cpu: CpuCore, cpl: Cpl, is32: boolean): void {
  const flat = { base: 0n, limit: 0xffff_ffff };
  const code =
    cpl === 3 ? (is32 ? selectors.user32 : selectors.user64) : cpl === 1 ? selectors.code1 : is32 ? selectors.code32 : selectors.code0;
  const data = cpl === 3 ? selectors.data3 : cpl === 1 ? selectors.data1 : selectors.data0;
  cpu.setSegment('cs', { ...flat, selector: code | cpl, attributes: (is32 ? 0xc09b : 0xa09b) | (cpl << 5) });
  for (const name of ['ss', 'ds', 'es', 'fs', 'gs'] as const)
    cpu.setSegment(name, { ...flat, selector: data | cpl, attributes: 0xc093 | (cpl << 5) });
}

const show = (exit: Exit): object =>
  exit.kind === 'exception'
    ? { fault: exit.vector, code: exit.errorCode, ...(exit.cr2 === undefined ? {} : { cr2: exit.cr2.toString(16) }) }
    : exit;
const fault = (vector: number, code?: number): object => ({ fault: vector, code });

function runOne(cpu: CpuCore, code: readonly number[]): Exit {
  loadCode(cpu, [...code], CODE);
  return cpu.run(1);
}

/** Runs one instruction that has to succeed. */
function perform(t: Test, name: string, cpu: CpuCore, code: readonly number[]): void {
  t.same(show(runOne(cpu, code)), { kind: 'budget' }, name);
}

function refuse(t: Test, name: string, cpu: CpuCore, code: readonly number[], vector: number, errorCode?: number): void {
  const before = [...cpu.gpr];
  t.same(show(runOne(cpu, code)), fault(vector, errorCode), name);
  t.equal(cpu.rip, BigInt(CODE), `${name}: RIP`);
  t.same([...cpu.gpr], before, `${name}: registers`);
}

const selectorOf = (cpu: CpuCore, name: SegmentName): number => cpu.getSegment(name).selector;

// Instructions by bytes
const HLT = [0xf4],
  CLI = [0xfa],
  STI = [0xfb],
  NOP = [0x90],
  PUSHF = [0x9c],
  POPF = [0x9d],
  IRETQ = [0x48, 0xcf],
  IRETD = [0xcf],
  INT80 = [0xcd, 0x80],
  INT3 = [0xcc],
  INT1 = [0xf1],
  UD2 = [0x0f, 0x0b],
  SYSCALL = [0x0f, 0x05],
  SYSRETQ = [0x48, 0x0f, 0x07],
  SYSRETL = [0x0f, 0x07],
  RDMSR = [0x0f, 0x32],
  WRMSR = [0x0f, 0x30],
  RETFQ = [0x48, 0xcb],
  IN_DX = [0xec],
  OUT_DX = [0xee],
  INSB = [0x6c],
  OUTSB = [0x6e];

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
