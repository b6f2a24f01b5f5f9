/** A CPU outside long mode on 4 MiB of RAM, for tests: real mode, or flat 32-bit protected mode with tables of its own. */
import type { EngineKind } from '../../emulator/cpu/engine.ts';
import { type CpuCore, createCpu } from '../../emulator/cpu/index.ts';
import type { Segment, SegmentName } from '../../emulator/cpu/interface.ts';
import { descriptor } from './tables.ts';

export const CODE = 0x8000,
  STACK = 0x7000,
  DATA = 0x10_0000,
  GDT = 0x1000,
  IDT = 0x2000,
  TSS = 0x3000,
  /** Handlers of protected mode: one HLT each. */
  HANDLERS = 0x4000;

export const code0 = 0x08,
  data0 = 0x10,
  code3 = 0x1b,
  data3 = 0x23,
  tss = 0x28,
  otherTss = 0x30,
  taskGate = 0x38;

const made = new Map<EngineKind, CpuCore>();

/** As after reset, with nothing in RAM; exceptions leave unless a test lets the CPU deliver them. */
export function realCpu(engine: EngineKind): CpuCore {
  let cpu = made.get(engine);
  if (!cpu) {
    cpu = createCpu({
      memorySize: 4 << 20,
      host: { cpuid: () => ({ eax: 0, ebx: 0, ecx: 0, edx: 0 }), readTsc: (instructions) => instructions },
      intercepts: { exceptions: 0, softwareInterrupts: false, syscall: false, instructions: new Set() },
      engine,
    });
    made.set(engine, cpu);
  }
  cpu.reset();
  cpu.memory.bytes.fill(0);
  cpu.memory.written(0, cpu.memory.size);
  Object.assign(cpu.intercepts, { exceptions: 0xffff_ffff, softwareInterrupts: false, instructions: new Set() });
  cpu.gpr.fill(0n);
  cpu.gpr[4] = BigInt(STACK);
  return cpu;
}

/** 32-bit protected mode at CPL 0 without paging: GDT, IDT with a 32-bit interrupt gate for every vector, TSS. */
export function protectedCpu(engine: EngineKind, cpl: 0 | 3 = 0): CpuCore {
  const cpu = realCpu(engine);
  const { view, bytes } = cpu.memory;
  const table = [
    0n,
    descriptor(10, 0, { flags: 12 }),
    descriptor(2, 0, { flags: 12 }),
    descriptor(10, 3, { flags: 12 }),
    descriptor(2, 3, { flags: 12 }),
    descriptor(9, 0, { isSystem: true, base: TSS, limit: 0x67 }),
    descriptor(9, 3, { isSystem: true, base: TSS + 0x100, limit: 0x67 }),
    0x0000_e500_0030_0000n,
  ];
  for (const [i, entry] of table.entries()) view.setBigUint64(GDT + i * 8, entry, true);
  for (let vector = 0; vector < 256; vector++) {
    view.setBigUint64(IDT + vector * 8, 0x0000_ee00_0008_0000n | BigInt(HANDLERS + vector), true);
    bytes[HANDLERS + vector] = 0xf4;
  }
  view.setUint32(TSS + 4, 0x6000, true);
  view.setUint32(TSS + 8, data0, true);
  cpu.gdtr = { base: BigInt(GDT), limit: table.length * 8 - 1 };
  cpu.idtr = { base: BigInt(IDT), limit: 0x7ff };
  cpu.cr0 = 0x31n;
  setRing(cpu, cpl);
  cpu.setSegment('tr', { selector: tss, base: BigInt(TSS), limit: 0x67, attributes: 0x8b });
  return cpu;
}

function setRing(cpu: CpuCore, cpl: 0 | 3): void {
  const flat = { base: 0n, limit: 0xffff_ffff };
  cpu.setSegment('cs', { ...flat, selector: cpl === 0 ? code0 : code3, attributes: 0xc09b | (cpl << 5) });
  for (const name of ['ss', 'ds', 'es', 'fs', 'gs'] as const)
    cpu.setSegment(name, { ...flat, selector: cpl === 0 ? data0 : data3, attributes: 0xc093 | (cpl << 5) });
}

/** Changes some of a segment's hidden part. */
export function change(cpu: CpuCore, name: SegmentName, to: Partial<Segment>): void {
  cpu.setSegment(name, { ...cpu.getSegment(name), ...to });
}
