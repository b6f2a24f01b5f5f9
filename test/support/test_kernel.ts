/** A kernel of a test: tables in RAM for every kind of transfer, and its instructions one at a time. Faults show as data. */
import type { Test } from 'tap';
import type { Exit } from '../../emulator/cpu/exit.ts';
import type { CpuCore } from '../../emulator/cpu/index.ts';
import type { SegmentName } from '../../emulator/cpu/interface.ts';
import { freshBareCpu, loadCode } from './bare_cpu.ts';
import { descriptor, gate, write64 } from './tables.ts';

export const DB = 1,
  UD = 6,
  DF = 8,
  TS = 10,
  NP = 11,
  SS = 12,
  GP = 13,
  PF = 14;
export const CODE = 0x10000,
  STACK = 0x8_0000,
  DATA = 0x20_0000;
export const GDT = 0x30_0000,
  IDT = 0x32_0000,
  TSS = 0x33_0000,
  LDT = 0x34_0000;
export const HANDLER = 0x2_0000;
export const RSP0 = 0x9_0000,
  RSP1 = 0x9_4000,
  IST1 = 0xa_0008,
  IST2 = 0xb_0000;

// biome-ignore format: one descriptor a line
export const selectors = {
  code0: 0x08, data0: 0x10, user32: 0x18, data3: 0x20, user64: 0x28, code32: 0x30, tss: 0x38, ldt: 0x48, callGate: 0x58, conforming: 0x68,
  code1: 0x70, data1: 0x78, absentCode: 0x80, gateToRing3: 0x88, absentData3: 0x98, longAndBig: 0xa0, busyTss: 0xa8, executeOnly: 0xb8, data3ReadOnly: 0xc0,
};
export const GATE_TARGET = 0x2_8000n;

// biome-ignore format: one descriptor a line
export const gdt: bigint[] = [
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

export type Cpl = 0 | 1 | 3;

/** A kernel's tables in RAM: GDT, TSS with stacks, and an IDT whose handlers lie at HANDLER + 16 * vector. */
export function makeKernel(cpl: Cpl, options: { delivers?: boolean; is32?: boolean } = {}): CpuCore {
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

export function setRing(cpu: CpuCore, cpl: Cpl, is32: boolean): void {
  const flat = { base: 0n, limit: 0xffff_ffff };
  const code =
    cpl === 3 ? (is32 ? selectors.user32 : selectors.user64) : cpl === 1 ? selectors.code1 : is32 ? selectors.code32 : selectors.code0;
  const data = cpl === 3 ? selectors.data3 : cpl === 1 ? selectors.data1 : selectors.data0;
  cpu.setSegment('cs', { ...flat, selector: code | cpl, attributes: (is32 ? 0xc09b : 0xa09b) | (cpl << 5) });
  for (const name of ['ss', 'ds', 'es', 'fs', 'gs'] as const)
    cpu.setSegment(name, { ...flat, selector: data | cpl, attributes: 0xc093 | (cpl << 5) });
}

export const show = (exit: Exit): object =>
  exit.kind === 'exception'
    ? { fault: exit.vector, code: exit.errorCode, ...(exit.cr2 === undefined ? {} : { cr2: exit.cr2.toString(16) }) }
    : exit;
export const fault = (vector: number, code?: number): object => ({ fault: vector, code });

export function runOne(cpu: CpuCore, code: readonly number[]): Exit {
  loadCode(cpu, [...code], CODE);
  return cpu.run(1);
}

/** Runs one instruction that has to succeed. */
export function perform(t: Test, name: string, cpu: CpuCore, code: readonly number[]): void {
  t.same(show(runOne(cpu, code)), { kind: 'budget' }, name);
}

export function refuse(t: Test, name: string, cpu: CpuCore, code: readonly number[], vector: number, errorCode?: number): void {
  const before = [...cpu.gpr];
  t.same(show(runOne(cpu, code)), fault(vector, errorCode), name);
  t.equal(cpu.rip, BigInt(CODE), `${name}: RIP`);
  t.same([...cpu.gpr], before, `${name}: registers`);
}

export const selectorOf = (cpu: CpuCore, name: SegmentName): number => cpu.getSegment(name).selector;

// Instructions by bytes
export const HLT = [0xf4],
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
