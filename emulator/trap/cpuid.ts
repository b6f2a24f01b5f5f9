/**
 * The CPUID that a PV64 guest sees: what the CPU engine implements, as an AMD of 48-bit linear addresses, and Xen's own
 * leaves (xen:public/arch-x86/cpuid.h). The same answers go to the instruction and to its forced emulation.
 */
export interface CpuidLeaf {
  readonly eax: number;
  readonly ebx: number;
  readonly ecx: number;
  readonly edx: number;
}

export interface CpuidPolicy {
  /** Bits of the largest machine address: what a grant or a PTE may name. */
  readonly machineAddressBits: number;
  /** Local APIC id of the asking CPU. */
  readonly apicId: number;
}

/** Bits of leaf 1 ECX. */
// biome-ignore format: one feature a line
const FEATURES_1C = bits(
  0,  // SSE3
  9,  // SSSE3
  13, // CX16
  19, // SSE4.1
  20, // SSE4.2
  23, // POPCNT
  31, // HYPERVISOR
);

/** Bits of leaf 1 EDX, in AMD CPUs of leaf 0x80000001 EDX too. */
// biome-ignore format: one feature a line
const FEATURES_1D = bits(
  0,  // FPU
  2,  // DE
  4,  // TSC
  5,  // MSR
  6,  // PAE
  7,  // MCE
  8,  // CX8
  9,  // APIC
  14, // MCA
  15, // CMOV
  16, // PAT
  19, // CLFLUSH
  23, // MMX
  24, // FXSR
  25, // SSE
  26, // SSE2
);
/** Those that leaf 0x80000001 repeats: not CLFLUSH, SSE and SSE2. */
const COMMON_1D = FEATURES_1D & 0x0183_f3ff;

/** Bits of leaf 0x80000001 ECX. */
const FEATURES_E1C = bits(0); // LAHF_LM

/** Bits of leaf 0x80000001 EDX that are its own. */
// biome-ignore format: one feature a line
const FEATURES_E1D = bits(
  11, // SYSCALL
  20, // NX
  27, // RDTSCP
  29, // LM
);

export const XEN_CPUID_FIRST_LEAF = 0x4000_0000;
const XEN_CPUID_MAX_LEAF = 0x4000_0005;
const XEN_VERSION = (4 << 16) | 17;
/** XEN_CPUID_FEAT1_MMU_PT_UPDATE_PRESERVE_AD. */
const XEN_FEAT1 = 1;
/** Leaf 3: RDTSCP is there; the TSC is not emulated. */
const XEN_TSC_RDTSCP = 4;

const MAX_BASIC_LEAF = 7;
const MAX_EXTENDED_LEAF = 0x8000_0008;
/** Family 6, model 6, stepping 3. */
const SIGNATURE = 0x663;
/** 64-byte lines for CLFLUSH, in 8-byte units. */
const CLFLUSH_SIZE = 8;
/** 48 linear and 40 physical bits. */
const ADDRESS_SIZES = 0x3028;

const VENDOR = text('AuthenticAMD');
const XEN_VENDOR = text('XenVMMXenVMM');
const BRAND = text('beneath virtual CPU'.padEnd(48, '\0'));
const NOTHING: CpuidLeaf = { eax: 0, ebx: 0, ecx: 0, edx: 0 };

function bits(...numbers: number[]): number {
  return numbers.reduce((mask, bit) => (mask | (1 << bit)) >>> 0, 0);
}

/** Little-endian words of an ASCII text. */
function text(characters: string): number[] {
  return Array.from({ length: characters.length / 4 }, (_, word) =>
    [0, 1, 2, 3].reduce((value, i) => (value | (characters.charCodeAt(word * 4 + i) << (8 * i))) >>> 0, 0),
  );
}

/** The registers' order in leaf 0 of a vendor is EBX, EDX, ECX; Xen's own leaf has EBX, ECX, EDX. */
export function cpuid(policy: CpuidPolicy, leaf: number, subleaf: number): CpuidLeaf {
  switch (leaf >>> 0) {
    case 0:
      return { eax: MAX_BASIC_LEAF, ebx: VENDOR[0]!, ecx: VENDOR[2]!, edx: VENDOR[1]! };
    case 1:
      return { eax: SIGNATURE, ebx: (policy.apicId << 24) | (CLFLUSH_SIZE << 8), ecx: FEATURES_1C, edx: FEATURES_1D };
    case XEN_CPUID_FIRST_LEAF:
      return { eax: XEN_CPUID_MAX_LEAF, ebx: XEN_VENDOR[0]!, ecx: XEN_VENDOR[1]!, edx: XEN_VENDOR[2]! };
    case XEN_CPUID_FIRST_LEAF + 1:
      return { ...NOTHING, eax: XEN_VERSION };
    case XEN_CPUID_FIRST_LEAF + 2:
      return { eax: 1, ebx: XEN_CPUID_FIRST_LEAF, ecx: XEN_FEAT1, edx: 0 };
    case XEN_CPUID_FIRST_LEAF + 3:
      return subleaf === 0 ? { ...NOTHING, eax: XEN_TSC_RDTSCP } : NOTHING;
    case XEN_CPUID_FIRST_LEAF + 5:
      return { ...NOTHING, ebx: policy.machineAddressBits };
    case 0x8000_0000:
      return { eax: MAX_EXTENDED_LEAF, ebx: VENDOR[0]!, ecx: VENDOR[2]!, edx: VENDOR[1]! };
    case 0x8000_0001:
      return { eax: SIGNATURE, ebx: 0, ecx: FEATURES_E1C, edx: (COMMON_1D | FEATURES_E1D) >>> 0 };
    case 0x8000_0002:
    case 0x8000_0003:
    case 0x8000_0004: {
      const [eax, ebx, ecx, edx] = BRAND.slice((leaf & 7) * 4 - 8) as [number, number, number, number];
      return { eax, ebx, ecx, edx };
    }
    case 0x8000_0005:
      return { eax: 0x01ff_01ff, ebx: 0x01ff_01ff, ecx: 0x4002_0140, edx: 0x4002_0140 };
    case 0x8000_0006:
      return { eax: 0, ebx: 0x4200_4200, ecx: 0x0200_8140, edx: 0x0080_8140 };
    case 0x8000_0008:
      return { ...NOTHING, eax: ADDRESS_SIZES };
    default:
      return NOTHING;
  }
}
