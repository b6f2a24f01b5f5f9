/**
 * Page-table entries as a PV64 guest writes them and as Xen keeps them (SDM 3A 4.5.5, xen:arch/x86/pv/mm.h): which bits a
 * guest may set, and which ring -1 adds. Kernel and user run in ring 3, so every mapping is a user one; bit 52 tells them apart.
 */
export const PAGE_PRESENT = 1n << 0n;
export const PAGE_RW = 1n << 1n;
export const PAGE_USER = 1n << 2n;
export const PAGE_ACCESSED = 1n << 5n;
export const PAGE_DIRTY = 1n << 6n;
/** In an upper level: a large page. In an L1 entry the same bit is PAT. */
export const PAGE_PSE = 1n << 7n;
export const PAGE_NX = 1n << 63n;

const MFN_MASK = 0xff_ffff_ffffn << 12n;

/** The low 12 bits as a number: entries are changed as two 32-bit halves. */
export const FLAG_PRESENT = 1;
export const FLAG_RW = 2;
export const FLAG_USER = 4;
export const FLAG_PWT = 8;
export const FLAG_PCD = 0x10;
export const FLAG_ACCESSED = 0x20;
export const FLAG_DIRTY = 0x40;
/** The same bit in an upper level and in an L1. */
export const FLAG_PSE = 0x80;
export const FLAG_PAT = 0x80;
export const FLAG_GLOBAL = 0x100;
export const CACHE_FLAGS = FLAG_PWT | FLAG_PCD | FLAG_PAT;
const FLAG_AVAIL = 0xe00;
/** Flags that make an entry of an upper level invalid, and those that make an L1 entry so (but for the initial domain). */
export const UPPER_DISALLOWED = FLAG_PWT | FLAG_PCD | FLAG_PSE | FLAG_GLOBAL;
export const L1_DISALLOWED = CACHE_FLAGS;
/** Bits of the upper half of an entry. */
const HIGH_GUEST_KERNEL = 1 << 20;
export const HIGH_NX = 1 << 31;

const HIGH_MFN = 0xf_ffff;

/** Bits of the lower half that may change without a look at the frame; in the upper half all but the frame's (xen FASTPATH_FLAG_WHITELIST). */
const HARMLESS_FLAGS = FLAG_AVAIL | FLAG_GLOBAL | FLAG_DIRTY | FLAG_ACCESSED | FLAG_USER;

/** Entries of ring -1 itself. */
export const PAGE_HYPERVISOR_RW = PAGE_PRESENT | PAGE_RW | PAGE_ACCESSED | PAGE_DIRTY | PAGE_NX;
export const PAGE_HYPERVISOR_RO = PAGE_PRESENT | PAGE_ACCESSED | PAGE_DIRTY | PAGE_NX;

export function isPresent(entry: bigint): boolean {
  return (entry & PAGE_PRESENT) !== 0n;
}

export function mfnOf(entry: bigint): number {
  return Number((entry & MFN_MASK) >> 12n);
}

/** The same of an entry read as two 32-bit halves. */
export function mfnOfHalves(low: number, high: number): number {
  return (high & HIGH_MFN) * 2 ** 20 + (low >>> 12);
}

/** As signed numbers. */
export const halvesOf = (entry: bigint): { low: number; high: number } => ({
  low: Number(BigInt.asIntN(32, entry)),
  high: Number(BigInt.asIntN(32, entry >> 32n)),
});

export function entryOf(mfn: number, flags: bigint): bigint {
  return (BigInt(mfn) << 12n) | flags;
}

export function isSameButHarmless(oldLow: number, oldHigh: number, low: number, high: number): boolean {
  return (((oldLow ^ low) & ~HARMLESS_FLAGS) | ((oldHigh ^ high) & HIGH_MFN)) === 0;
}

/** Writes an entry, whose first word is at `at`, as it stands in memory once accepted in a table of this level. */
export function storeAdjusted(words: Int32Array, at: number, level: 1 | 2 | 3 | 4, low: number, high: number): void {
  if (level === 1) return storeAdjustedL1(words, at, low, high);
  words[at] = low & FLAG_PRESENT ? low | FLAG_USER | (level === 4 ? FLAG_ACCESSED : 0) : low;
  words[at + 1] = high;
}

/** The kernel's are marked in the upper half; the user's are global, so they survive a switch to the kernel's tables. */
export function storeAdjustedL1(words: Int32Array, at: number, low: number, high: number): void {
  const upper = high | ((low & (FLAG_PRESENT | FLAG_USER)) === FLAG_PRESENT ? HIGH_GUEST_KERNEL : 0);
  const global = upper & HIGH_GUEST_KERNEL ? 0 : FLAG_GLOBAL;
  words[at] = low | (low & FLAG_PRESENT ? FLAG_USER | global : 0);
  words[at + 1] = upper;
}

/** Slots 256-271 of an L4 are ring -1's. */
export function isGuestL4Slot(slot: number): boolean {
  return slot < 256 || slot > 271;
}
