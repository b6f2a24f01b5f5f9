/**
 * The CPU package as the layers above see it: one emulated x86-64 logical processor over one physical memory.
 * `Cpu` (cpu.ts) implements it; it knows no Xen. Physical addresses are numbers, linear addresses bigints.
 */
import type { EngineKind } from './engine.ts';
import type { Exit } from './exit.ts';
import type { KnownPlaces } from './known_places.ts';
import type { CpuSnapshot } from './snapshot.ts';
import type { EngineStatistics } from './statistics.ts';

/** Guest-physical (machine) RAM, `[0, size)`; the same bytes that the generated WebAssembly reads and writes. */
export interface PhysicalMemory {
  /** Bytes. */
  readonly size: number;
  /** Exactly the RAM: `bytes[maddr]`. Never reallocated. */
  readonly bytes: Uint8Array;
  /** The same bytes as `bytes`. */
  readonly view: DataView;
  /** By frame: 0 where there is no decoded code. */
  readonly isCode: Uint8Array;
  /** Moves bytes from elsewhere in RAM; `written` is still the caller's. */
  copy(to: number, from: number, size: number): void;
  /** Tell every CPU that the host changed `[maddr, maddr + size)`: decoded code there is dropped. Cheap when there is none. */
  written(maddr: number, size: number): void;
}

/** Order of `gpr`, as in ModRM (SDM 2A 2.1.5). */
export const RAX = 0,
  RCX = 1,
  RDX = 2,
  RBX = 3,
  RSP = 4,
  RBP = 5,
  RSI = 6,
  RDI = 7,
  R8 = 8,
  R9 = 9,
  R10 = 10,
  R11 = 11,
  R12 = 12,
  R13 = 13,
  R14 = 14,
  R15 = 15;

export type SegmentName = 'es' | 'cs' | 'ss' | 'ds' | 'fs' | 'gs' | 'ldtr' | 'tr';

/** A segment register with its hidden part. `attributes` as in VMCB/VMCS order: bits 0-3 type, 4 S, 5-6 DPL, 7 P, 12 AVL, 13 L, 14 D/B, 15 G. */
export interface Segment {
  selector: number;
  base: bigint;
  /** In bytes, granularity applied. */
  limit: number;
  attributes: number;
}

/** GDTR or IDTR. */
export interface DescriptorTable {
  /** Linear address. */
  base: bigint;
  /** Offset of its last byte. */
  limit: number;
}

/** What leaves with an Exit; everything else the CPU performs or delivers through the guest's IDT. */
export interface Intercepts {
  /** Bit n set: exception vector n exits instead of being delivered. */
  exceptions: number;
  /** INT n, INT3, INTO and INT1 exit before any gate is looked at. */
  softwareInterrupts: boolean;
  /** SYSCALL and SYSENTER exit. */
  syscall: boolean;
  /** Names as in InterceptedInstruction, and 'hypercall'. */
  instructions: ReadonlySet<string>;
}

/** What the CPU asks its host while running, at the exact instruction. */
export interface CpuHost {
  /** CPUID with EAX and ECX; 32-bit numbers, signed or not. */
  cpuid(leaf: number, subleaf: number): { eax: number; ebx: number; ecx: number; edx: number };
  /** RDTSC's value now, below 2^53 (`tscOffset` is for more); `instructions` is the count retired before it. */
  readTsc(instructions: number): number;
  /**
   * Where it is there, an intercepted SYSCALL does not leave the run: the host acts on it, and may `requestStop`. The
   * instruction, of `length` bytes, has retired: RIP is behind it, RCX and R11 are as by `saveReturn`.
   */
  syscall?(length: number): void;
}

/** Kinds of access to memory; 'execute' is an instruction fetch. */
export type Access = 'read' | 'write' | 'execute';

/** Result of a page walk: where, or the fault that the access would raise. */
export type Translation =
  | { readonly ok: true; readonly maddr: number; readonly writable: boolean; readonly user: boolean }
  | { readonly ok: false; readonly errorCode: number };

/** One level of a page walk, for reports: where the entry lies and what it says. */
export interface WalkStep {
  readonly level: 4 | 3 | 2 | 1;
  readonly index: number;
  readonly entryMaddr: number;
  readonly entry: bigint;
}

/** An opaque, complete copy of a CPU's architectural state (not memory). */
export interface CpuContext {
  readonly bytes: Uint8Array;
}

/** The processor. Registers may be read and written whenever `run` is not running, and by the host's functions while it is. */
export interface Cpu {
  readonly memory: PhysicalMemory;
  /** May be changed between runs. */
  readonly intercepts: Intercepts;
  /** RAX..R15, by the constants above. */
  readonly gpr: BigUint64Array;
  /** The same as 32-bit halves. */
  readonly gprWords: Int32Array;
  /** Offset in CS, as software sees it; in 64-bit code the linear address. */
  rip: bigint;
  /** RFLAGS, all 32 bits that exist. */
  rflags: bigint;
  /** Whether RIP's bits 63-47 are alike. */
  readonly hasCanonicalRip: boolean;
  /** RCX = RIP and R11 = RFLAGS, as SYSCALL and SYSRET leave them. */
  saveReturn(): void;
  /** Current privilege level, the low bits of SS's hidden state. Setting CS and SS by `setSegment` sets it. */
  readonly cpl: number;
  cr0: bigint;
  cr2: bigint;
  /** Writing CR3 flushes non-global TLB entries, as MOV CR3 does. */
  cr3: bigint;
  cr4: bigint;
  cr8: bigint;
  efer: bigint;
  gdtr: DescriptorTable;
  idtr: DescriptorTable;
  /** The visible part of a segment register; of CS and SS in the cheapest way. */
  getSelector(name: SegmentName): number;
  readonly cs: number;
  readonly ss: number;
  /** One of DS, ES, FS and GS has a selector that is not null. */
  readonly hasDataSegments: boolean;
  /** Bits of the code that runs. */
  readonly codeSize: 16 | 32 | 64;
  /** A segment register with its hidden part, as a copy. */
  getSegment(name: SegmentName): Segment;
  /** Loads the hidden part as given: no descriptor table is read. */
  setSegment(name: SegmentName, segment: Segment): void;
  /** DR0-DR7. */
  getDr(index: number): bigint;
  /** Sets DR0-DR7 as given: reserved bits are not looked at. */
  setDr(index: number, value: bigint): void;
  /** Architectural MSRs that the CPU itself keeps (STAR, LSTAR, CSTAR, SFMASK, FS_BASE, GS_BASE, KERNEL_GS_BASE, SYSENTER_*, PAT, TSC_AUX, EFER); undefined: no such MSR. */
  readMsr(index: number): bigint | undefined;
  /** As WRMSR at CPL 0; false where that raises #GP. */
  writeMsr(index: number, value: bigint): boolean;

  /** Instructions retired since the CPU was made. */
  readonly instructions: bigint;
  /** The same as a number, exact as long as it is below 2^53. */
  readonly instructionCount: number;
  /**
   * Runs at most `budget` instructions (exactly, unless something exits earlier); an iteration of a repeated string
   * instruction counts as one. Throws only for a bug of ours, and what the host's functions throw.
   */
  run(budget: number): Exit;
  /** Called while the CPU runs (by the host's functions): `run` returns 'stopped' behind this instruction. */
  requestStop(): void;
  /**
   * Called by the host's `syscall` after it has switched contexts: from here on the budget of the run is this. It stops like
   * `requestStop` where that is not possible.
   */
  proceed(budget: number): void;
  /**
   * Linear addresses, both ends included: `run` returns 'breakpoint' before an instruction that begins there, unless it is
   * the first that it runs. Not while the CPU runs.
   */
  setBreakpoints(ranges: Iterable<readonly [first: bigint, last: bigint]>): void;

  /** RFLAGS.IF is set, and neither STI nor MOV SS holds interrupts back for one instruction. */
  readonly canTakeInterrupt: boolean;
  /** `run` returns 'interruptWindow', once, as soon as an interrupt can be taken. */
  requestInterruptWindow(isWanted?: boolean): void;
  /**
   * Delivers an external interrupt through the IDT at RIP, whatever RFLAGS.IF says; a CPU that has left by 'halt' goes on
   * in the handler. An Exit only when delivery ends in an intercepted exception, a triple fault or something unsupported.
   */
  injectInterrupt(vector: number): Exit | undefined;
  /** Delivers an exception at RIP as if the instruction there had raised it, intercepted or not. For #PF set CR2 before. */
  injectException(vector: number, errorCode?: number): Exit | undefined;
  /** Delivers an NMI; while one is handled (until IRET) or MOV SS holds it back, one more waits. */
  injectNmi(): Exit | undefined;

  /** The guest's time-stamp counter is `(host.readTsc() * tscScale >> 32) + tscOffset`; the guest's WRMSR changes the offset. */
  tscOffset: bigint;
  /** 32.32 fixed point, 1 << 32 at reset. */
  tscScale: bigint;

  /** RIP += size (wrapped as the mode demands); clears RF and the interrupt shadow, as retiring does. */
  advance(size: number): void;

  /** Page walk without side effects on the TLB or A/D bits, as an access at the current CPL would see it (or as `user`). */
  translate(vaddr: bigint, access: Access, user?: boolean): Translation;
  /**
   * The maddr that an access of the host on the guest's behalf goes to, -1 where it would fault. The linear address comes
   * as signed 32-bit halves; the TLB is used and filled, A and D are set, as if the guest had made the access.
   */
  place(low: number, high: number, access: Access, user: boolean): number;
  /** The places in RAM that a program in ring 3 has of late written to, and those of one inside of it. */
  readonly known: KnownPlaces;
  readonly knownInside: KnownPlaces;
  /** As long as this is the same number, what `place` said may be used. */
  readonly flushes: number;
  /** The walk's entries from the top, as far as it gets. */
  walk(vaddr: bigint): WalkStep[];
  /** Forgets translations of the context that is on, as MOV CR3 does; those of global pages, too, where told so. */
  flushTlb(options?: { global?: boolean }): void;
  /** Forgets the translation of one page, global or not, as INVLPG does; `everywhere`: in other contexts, too, and more there. */
  flushTlbPage(vaddr: bigint, everywhere?: boolean): void;
  /** Forgets all translations, of other contexts, too. */
  flushAllTlbs(): void;
  /** Forgets the translations of any context that lead to a frame (a maddr / 4096), for whoever has taken such entries out of page tables. */
  flushTlbFrame(frame: number): void;

  /** Decodes one instruction from bytes (for emulation by the host and for reports); undefined when it is no valid instruction or needs more bytes. */
  decode(bytes: Uint8Array): DecodedInstruction | undefined;

  /** Which tiers run; may change between runs. */
  engine: EngineKind;
  /** What the engine has done since the CPU was made; cheap. */
  statistics(): EngineStatistics;

  /** Loads x87, MXCSR and XMM registers as FXRSTOR64 does from this area of 512 bytes; MXCSR's reserved bits are ignored. */
  loadFxImage(image: Uint8Array): void;
  /** The registers; memory is not among them. */
  saveContext(): CpuContext;
  /** Nothing is left of translations and decoded jumps. */
  loadContext(context: CpuContext): void;
  /** Saves into `previous` and loads `next`: cheap, and what each had in its TLB stays its, as if it were a processor of its own. */
  switchContext(previous: CpuContext, next: CpuContext): void;
  /** Everything that continuing the same way needs, RAM included; not while the CPU runs. */
  snapshot(): CpuSnapshot;
  /** Takes over a snapshot of this or another CPU, of any engine; RangeError when its RAM has another size. */
  restore(snapshot: CpuSnapshot): void;
}

/** A decoded instruction for the host's own emulation of it. Register numbers as in `gpr`. */
export interface DecodedInstruction {
  /** Lower-case mnemonic of its row, e.g. 'mov', 'in', 'outs', 'rdmsr', 'lgdt', 'mov_cr' (MOV to/from CR), 'mov_dr'. */
  readonly mnemonic: string;
  /** The opcode bytes as in its row, e.g. '0F 22 /r'. */
  readonly opcode: string;
  readonly length: number;
  /** Operand size in bytes. */
  readonly size: 1 | 2 | 4 | 8;
  readonly addressSize: 2 | 4 | 8;
  readonly rep: 'none' | 'rep' | 'repne';
  readonly lock: boolean;
  /** ModRM.reg and ModRM.rm with REX applied; -1 when there is no ModRM. */
  readonly reg: number;
  readonly rm: number;
  /** True when ModRM names memory; the operand is then `base + index * scale + disp` in `segment`. */
  readonly isMemory: boolean;
  readonly base: number;
  readonly index: number;
  readonly scale: 1 | 2 | 4 | 8;
  readonly disp: bigint;
  readonly isRipRelative: boolean;
  readonly segment: SegmentName;
  readonly imm: bigint;
}
