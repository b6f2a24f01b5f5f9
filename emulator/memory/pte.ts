/**
 * Page-table entries as a PV64 guest writes them and as Xen keeps them (SDM 3A 4.5.5, xen:arch/x86/pv/mm.h): which bits a
 * guest may set, and which ring -1 adds. Kernel and user run in ring 3, so every mapping is a user one; bit 52 tells them apart.
 */
export const PAGE_PRESENT = 1n << 0n;
export const PAGE_RW = 1n << 1n;
export const PAGE_USER = 1n << 2n;
export const PAGE_PWT = 1n << 3n;
export const PAGE_PCD = 1n << 4n;
export const PAGE_ACCESSED = 1n << 5n;
export const PAGE_DIRTY = 1n << 6n;
/** In an upper level: a large page. In an L1 entry the same bit is PAT. */
export const PAGE_PSE = 1n << 7n;
export const PAGE_PAT = 1n << 7n;
export const PAGE_GLOBAL = 1n << 8n;
export const PAGE_AVAIL = 7n << 9n;
/** Ours to set: the guest wrote the entry without PAGE_USER. */
export const PAGE_GUEST_KERNEL = 1n << 52n;
export const PAGE_AVAIL_HIGH = 0x7ffn << 52n;
export const PAGE_NX = 1n << 63n;

export const PAGE_CACHE_ATTRS = PAGE_PAT | PAGE_PCD | PAGE_PWT;
const MFN_MASK = 0xff_ffff_ffffn << 12n;

/** Flags that make an entry of an upper level invalid. */
export const UPPER_DISALLOW_MASK = PAGE_PWT | PAGE_PCD | PAGE_PSE | PAGE_GLOBAL;
/** Flags that make an L1 entry invalid; the initial domain has I/O resources and may choose caching. */
export const L1_DISALLOW_MASK = PAGE_CACHE_ATTRS;

/** The low 12 bits as a number, for the loops over whole tables. */
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
/** Bits of the upper half of an entry. */
const HIGH_GUEST_KERNEL = 1 << 20;
export const HIGH_NX = 1 << 31;

/** Bits that may change without a look at the frame (xen FASTPATH_FLAG_WHITELIST). */
const HARMLESS_BITS = PAGE_NX | PAGE_AVAIL_HIGH | PAGE_AVAIL | PAGE_GLOBAL | PAGE_DIRTY | PAGE_ACCESSED | PAGE_USER;

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
  return (high & 0xf_ffff) * 2 ** 20 + (low >>> 12);
}

export function entryOf(mfn: number, flags: bigint): bigint {
  return (BigInt(mfn) << 12n) | flags;
}

export function isSameButHarmless(old: bigint, entry: bigint): boolean {
  return ((old ^ entry) & ~HARMLESS_BITS) === 0n;
}

/** The entry as it stands in memory once accepted. User mappings are global, so they survive a switch to the kernel's tables. */
export function adjustL1(entry: bigint): bigint {
  if (!isPresent(entry)) return entry;
  const kernel = entry & PAGE_USER ? entry : entry | PAGE_GUEST_KERNEL | PAGE_USER;
  return kernel & PAGE_GUEST_KERNEL ? kernel : kernel | PAGE_GLOBAL;
}

/** `adjustL1` of the present entry with these halves, written to `maddr` if that changes it. */
export function storeAdjustedL1(view: DataView, maddr: number, low: number, high: number): void {
  const isKernel = !(low & FLAG_USER) || (high & HIGH_GUEST_KERNEL) !== 0;
  view.setUint32(maddr, isKernel ? low | FLAG_USER : low | FLAG_USER | FLAG_GLOBAL, true);
  if (isKernel) view.setUint32(maddr + 4, high | HIGH_GUEST_KERNEL, true);
}

export function adjustUpper(level: 2 | 3 | 4, entry: bigint): bigint {
  if (!isPresent(entry)) return entry;
  return level === 4 ? entry | PAGE_USER | PAGE_ACCESSED : entry | PAGE_USER;
}

/** Slots 256-271 of an L4 are ring -1's. */
export function isGuestL4Slot(slot: number): boolean {
  return slot < 256 || slot > 271;
}
