/** Bits of CR0, CR4 and EFER (SDM 3A 2.5, APM2 3.1), and how wide physical addresses are. */

/** MAXPHYADDR, as CPUID 0x80000008 of the host should say. */
export const PHYSICAL_ADDRESS_BITS = 40;

export const CR0_PE = 1,
  CR0_MP = 2,
  CR0_EM = 4,
  CR0_TS = 8,
  CR0_NE = 32,
  CR0_WP = 1 << 16,
  CR0_AM = 1 << 18,
  CR0_PG = 0x8000_0000;
export const CR4_TSD = 4,
  CR4_DE = 8,
  CR4_PSE = 16,
  CR4_PAE = 32,
  CR4_PGE = 128,
  CR4_PCE = 256,
  CR4_OSFXSR = 512,
  CR4_OSXMMEXCPT = 1024,
  CR4_UMIP = 1 << 11,
  CR4_FSGSBASE = 1 << 16,
  CR4_PCIDE = 1 << 17,
  CR4_OSXSAVE = 1 << 18,
  CR4_SMEP = 1 << 20,
  CR4_SMAP = 1 << 21;
export const EFER_SCE = 1,
  EFER_LME = 0x100,
  EFER_LMA = 0x400,
  EFER_NXE = 0x800;

/** What linear addresses mean depends on these. */
export const CR0_TRANSLATION = CR0_PE | CR0_WP | CR0_PG,
  CR4_TRANSLATION = CR4_PSE | CR4_PAE | CR4_PGE | CR4_PCIDE | CR4_SMEP | CR4_SMAP,
  EFER_TRANSLATION = EFER_LME | EFER_LMA | EFER_NXE;
