/**
 * The machine that random programs (generate.ts) run on: 512 KiB of RAM, four code pages, four data pages, a stack, each
 * under several linear addresses, pages that fault, and two page tables. Exceptions leave to the host, or go through an
 * IDT to handlers that resume behind the faulting piece. All of it is rebuilt for every program.
 */
import { type CpuCore, type CpuOptions, createCpu, type EngineKind } from '../../../emulator/cpu/index.ts';
import type { CpuContext } from '../../../emulator/cpu/interface.ts';
import { descriptor, gate, NX, P, PS, RW, US, write64 } from '../tables.ts';

const MEMORY_SIZE = 0x8_0000;
/** Frames; linear addresses are the same. */
export const CODE = 0x1_0000,
  CODE_SIZE = 0x4000,
  /** Stands in for the last code page in the second page table, and when a program maps it. */
  OTHER_CODE = 0x1_4000,
  DATA = 0x2_0000,
  DATA_SIZE = 0x4000,
  STACK = 0x2_8000,
  STACK_SIZE = 0x2000;
const KERNEL_STACK_END = 0x2_c000;
const HANDLERS = 0x3_0000,
  RESUME = 0x3_1000,
  IDT = 0x4_0000,
  GDT = 0x4_1000,
  TSS = 0x4_1100;
/** Page-table roots. */
export const ROOTS = [0x5_0000, 0x5_8000] as const;
/** What is added to code's address for its other name. */
export const CODE_ALIAS = 0x10_0000;
/** The data frames in another order, so that what crosses a page goes elsewhere. */
export const DATA_ALIAS = 0x12_0000,
  READ_ONLY = 0x13_0000,
  SUPERVISOR = 0x13_1000,
  UNMAPPED = 0x13_2000,
  /** Programs change its entry. */
  WINDOW = 0x13_3000,
  /** All of RAM in one large page; behind RAM it reads as ones. */
  LARGE = 0x20_0000,
  /** Everything again in the upper half. */
  HIGH = 0xffff_8000_0000_0000n;
/** The frames that the window shows in turn. */
export const WINDOW_FRAMES = [DATA + 0x2000, DATA + 0x3000] as const;

/** How a program meets the world around it. */
export interface Setting {
  cpl: 0 | 3;
  /** Exceptions and INT n go through the IDT; otherwise they leave. */
  hasIdt: boolean;
  alignmentMask: boolean;
  writeProtect: boolean;
}

export interface World {
  readonly cpu: CpuCore;
  readonly fresh: CpuContext;
  readonly engine: EngineKind;
  /** Count of instructions at the last reset. */
  start: bigint;
}

/** Instructions retired by the present program. */
export const retired = ({ cpu, start }: World): bigint => cpu.instructions - start;

export function makeWorld(options: Pick<CpuOptions, 'engine' | 'hotness'>): World {
  const cpu = createCpu({
    memorySize: MEMORY_SIZE,
    host: {
      cpuid: (leaf, subleaf) => ({ eax: leaf, ebx: subleaf, ecx: 1, edx: 2 }),
      readTsc: (instructions) => instructions - Number(world.start),
    },
    intercepts: { exceptions: 0xffff_ffff, softwareInterrupts: true, syscall: true, instructions: new Set() },
    ...options,
  });
  const world: World = { cpu, fresh: cpu.saveContext(), engine: cpu.engine, start: 0n };
  return world;
}

/** Maddr of the last-level entry for a linear page below 2 MiB. */
export const entryOf = (root: number, vaddr: number): number => root + 0x3000 + (vaddr >> 12) * 8;

/** A second name of an entry's address that a program may write through. */
export const entryAddress = (root: number, vaddr: number): bigint => HIGH + BigInt(LARGE + entryOf(root, vaddr));

/** The last-level entries of a page table that the programs start with. */
function writeTables({ memory: { view } }: CpuCore): void {
  const all = P | RW | US | 0x60n;
  ROOTS.forEach((root, second) => {
    const set = (at: number, value: bigint): void => view.setBigUint64(at, value, true);
    const map = (vaddr: number, maddr: number, flags = all): void => set(entryOf(root, vaddr), BigInt(maddr) | flags);
    set(root, BigInt(root + 0x1000) | all);
    set(root + 256 * 8, BigInt(root + 0x1000) | all);
    set(root + 0x1000, BigInt(root + 0x2000) | all);
    set(root + 0x2000, BigInt(root + 0x3000) | all);
    set(root + 0x2008, PS | all);
    for (let maddr = 0x1_0000; maddr < 0x5_0000; maddr += 4096) map(maddr, maddr, maddr >= DATA && maddr < HANDLERS ? all | NX : all);
    for (let offset = 0; offset < CODE_SIZE; offset += 4096) map(CODE + CODE_ALIAS + offset, CODE + offset);
    for (let i = 0; i < 4; i++) map(DATA_ALIAS + i * 4096, DATA + ((i + 1 + 2 * second) & 3) * 4096);
    map(READ_ONLY, WINDOW_FRAMES[0], P | US | 0x20n);
    map(SUPERVISOR, WINDOW_FRAMES[0], P | RW | 0x60n);
    map(WINDOW, WINDOW_FRAMES[second as 0 | 1], all & ~0x40n);
    if (second) map(CODE + 0x3000, OTHER_CODE);
  });
}

/*
 * common: COUNTERS = 3a000: push rax; push rcx; mov rax, [rsp+16] (the vector); inc dword [COUNTERS+rax*4]
 *         #DB: every eighth clears TF in the frame; INT3, INTO and INT 80h return
 *         others: keep CR2; when RIP is in the code or its alias its low 16 bits come from the RESUME table, else RIP = CODE
 *         pop rcx; pop rax; add rsp, 16; iretq
 */
const COMMON =
  '5051488b442410ff048500a003003c017514f6042504a0030007756481642430fffeffffeb5a3c0374563c0474523c1f744e0f20d04889042580' +
  'a00300488b4424204889c148c1e920740881f90080ffff752489c181e100c0efff81f900000100751425ff3f00000fb704450010030066894424' +
  '20eb0948c74424200000010059584883c41048cf';
/** Returns to CPL 0: mov qword [rsp+8], 8; mov qword [rsp+32], 16; iretq. */
const PROMOTE = '48c74424080800000048c7442420100000' + '0048cf';
const SYSRET = '480f07';
const COMMON_AT = HANDLERS + 0x400,
  PROMOTE_AT = HANDLERS + 0x500,
  SYSRET_AT = HANDLERS + 0x540;
/** Interrupts that programs may use: back, and back at CPL 0. */
export const INT_RETURN = 0x80,
  INT_PROMOTE = 0x81;
const PUSHES_ERROR = [8, 10, 11, 12, 13, 14, 17];

function writeHandlers(cpu: CpuCore): void {
  const { bytes } = cpu.memory;
  const interruptGate = (vector: number, target: number, dpl: number): void =>
    write64(cpu, IDT + vector * 16, ...gate(14, dpl, 8, BigInt(target), { ist: 1 }));
  for (let vector = 0; vector < 32; vector++) {
    const at = HANDLERS + vector * 16;
    const stub = [...(PUSHES_ERROR.includes(vector) ? [] : [0x6a, 0]), 0x6a, vector, 0xe9];
    const distance = COMMON_AT - (at + stub.length + 4);
    bytes.set([...stub, distance & 0xff, (distance >> 8) & 0xff, 0, 0], at);
    interruptGate(vector, at, vector === 3 || vector === 4 ? 3 : 0);
  }
  bytes.set(Buffer.from(COMMON, 'hex'), COMMON_AT);
  bytes.set(Buffer.from(PROMOTE, 'hex'), PROMOTE_AT);
  bytes.set(Buffer.from(SYSRET, 'hex'), SYSRET_AT);
  interruptGate(INT_RETURN, HANDLERS + 31 * 16, 3);
  interruptGate(INT_PROMOTE, PROMOTE_AT, 3);
  write64(cpu, TSS + 4, BigInt(KERNEL_STACK_END - 0x800));
  write64(cpu, TSS + 0x24, BigInt(KERNEL_STACK_END));
}

/** Makes the world as new; `resume[offset]` is the offset in the code where to go on after a fault at `offset`. */
export function resetWorld(world: World, setting: Setting, resume: Uint16Array): void {
  const { cpu, fresh } = world;
  const { memory, intercepts } = cpu;
  world.start = cpu.instructions;
  cpu.reset();
  cpu.engine = world.engine;
  cpu.loadContext(fresh);
  memory.bytes.fill(0);
  writeTables(cpu);
  // 08 and 10: code and data of CPL 0; 18 20 28: what SYSRET loads.
  const code = (dpl: number, flags: number): bigint => descriptor(11, dpl, { flags });
  write64(cpu, GDT + 8, code(0, 10), descriptor(3, 0, { flags: 12 }), code(3, 12), descriptor(3, 3, { flags: 12 }), code(3, 10));
  writeHandlers(cpu);
  new Uint16Array(memory.bytes.buffer, memory.bytes.byteOffset + RESUME, CODE_SIZE).set(resume);
  intercepts.exceptions = setting.hasIdt ? 0 : 0xffff_ffff;
  intercepts.softwareInterrupts = intercepts.syscall = !setting.hasIdt;
  cpu.gdtr = { base: BigInt(GDT), limit: 0x2f };
  cpu.idtr = { base: BigInt(IDT), limit: 0xfff };
  cpu.setSegment('tr', { selector: 0x30, base: BigInt(TSS), limit: 0x67, attributes: 0x8b });
  cpu.efer = 0xd01n;
  cpu.cr4 = 0x6a0n;
  cpu.cr3 = BigInt(ROOTS[0]);
  cpu.cr0 = 0x8000_0033n | (setting.alignmentMask ? 0x4_0000n : 0n) | (setting.writeProtect ? 0x1_0000n : 0n);
  const { cpl } = setting;
  cpu.setSegment('cs', { selector: cpl === 3 ? 0x2b : 8, base: 0n, limit: 0xffff_ffff, attributes: 0xa09b | (cpl << 5) });
  for (const name of ['ss', 'ds', 'es', 'fs', 'gs'] as const)
    cpu.setSegment(name, { selector: cpl === 3 ? 0x23 : 16, base: 0n, limit: 0xffff_ffff, attributes: 0xc093 | (cpl << 5) });
  cpu.writeMsr(0xc000_0101, HIGH + BigInt(DATA)); // GS_BASE
  cpu.writeMsr(0xc000_0081, (0x1bn << 48n) | (8n << 32n)); // STAR
  cpu.writeMsr(0xc000_0082, BigInt(SYSRET_AT)); // LSTAR
}
