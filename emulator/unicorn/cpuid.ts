/** What CPUID says when no hook answers: an AMD processor with what the engine implements, and nothing of a hypervisor. */

export interface CpuidLeaf {
  readonly eax: number;
  readonly ebx: number;
  readonly ecx: number;
  readonly edx: number;
}

const VENDOR = { ebx: 0x68747541, ecx: 0x444d4163, edx: 0x69746e65 };
/** Family 6, model 6, stepping 3; 64-byte lines for CLFLUSH. */
const SIGNATURE = 0x663,
  CLFLUSH = 0x800;
/** SSE3, SSSE3, CX16, SSE4.1, SSE4.2, POPCNT. */
const FEATURES_1C = 0x0098_2201;
/** FPU DE PSE TSC MSR PAE MCE CX8 APIC PGE MCA CMOV PAT PSE36 CLFLUSH MMX FXSR SSE SSE2. */
const FEATURES_1D = 0x078b_e3fd & ~(1 << 12);
/** FSGSBASE SMEP SMAP. */
const FEATURES_7B = 0x0010_0081;
/** LAHF in 64-bit mode; SYSCALL NX 1-GiB pages RDTSCP LM beside what leaf 1 has. */
const FEATURES_E1C = 1,
  FEATURES_E1D = (FEATURES_1D & 0x0183_f3ff) | 0x2c10_0800;
/** 48 linear and 40 physical bits. */
const ADDRESS_SIZES = 0x3028;
const NOTHING = { eax: 0, ebx: 0, ecx: 0, edx: 0 };

export function cpuid(leaf: number, subleaf: number): CpuidLeaf {
  switch (leaf >>> 0) {
    case 0:
      return { eax: 7, ...VENDOR };
    case 1:
      return { eax: SIGNATURE, ebx: CLFLUSH, ecx: FEATURES_1C, edx: FEATURES_1D };
    case 7:
      return subleaf === 0 ? { ...NOTHING, ebx: FEATURES_7B } : NOTHING;
    case 0x8000_0000:
      return { eax: 0x8000_0008, ...VENDOR };
    case 0x8000_0001:
      return { eax: SIGNATURE, ebx: 0, ecx: FEATURES_E1C, edx: FEATURES_E1D };
    case 0x8000_0008:
      return { ...NOTHING, eax: ADDRESS_SIZES };
    default:
      return NOTHING;
  }
}
