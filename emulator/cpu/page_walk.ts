/**
 * The page walk of every paging mode (SDM 3A 4.3-4.6): none, 32-bit with 4 MiB pages, PAE, 4-level. It checks permissions
 * and reserved bits and marks the entries; mmu.ts keeps the results in the TLB. With nested paging (nested.ts) the tables lie
 * at guest-physical addresses, which are translated once more.
 */
import {
  CR0_PG,
  CR0_WP,
  CR4_PAE,
  CR4_PGE,
  CR4_PSE,
  CR4_SMAP,
  CR4_SMEP,
  EFER_LMA,
  EFER_NXE,
  PHYSICAL_ADDRESS_BITS,
} from './control_registers.ts';
import { AC } from './flags.ts';
import type { Access, WalkStep } from './interface.ts';
import * as L from './layout.ts';
import { PAGE_SIZE } from './layout.ts';
import type { CodePages } from './mmu.ts';
import { NestedFault, type NestedPaging } from './nested.ts';

export const PTE_P = 1,
  PTE_RW = 2,
  PTE_US = 4,
  PTE_A = 32,
  PTE_D = 64,
  PTE_PS = 128,
  PTE_G = 256;
export const PF_P = 1,
  PF_W = 2,
  PF_U = 4,
  PF_RSVD = 8,
  PF_I = 16;

/** Upper halves of entries: bits beyond MAXPHYADDR; those above the address, which PAE reserves; bit 63 without NXE. */
const RESERVED_ADDRESS = 0x000f_ffff & ~((1 << (PHYSICAL_ADDRESS_BITS - 32)) - 1);
const RESERVED_PAE = 0x7ff0_0000;
const NX = 0x8000_0000 | 0;
/** Of a PDPTE, lower half: bits 1, 2 and 5-8. */
const RESERVED_PDPTE = 0x1e6;

type Levels = 'none' | 'identity' | '32-bit' | 'PAE' | '4-level';

/** Entries of the paging-structure cache (SDM 3A 4.10.3): a walk that found its last table there reads one entry. */
const CACHED = 64;

/** log2 of the page sizes. */
export type PageBits = 12 | 21 | 22 | 30;

export class PageWalk {
  readonly #view: DataView;
  readonly #bytes: Uint8Array;
  readonly #ramSize: number;
  readonly #code: CodePages;
  readonly #nested: NestedPaging | undefined;
  #levels: Levels = 'none';
  #cr0 = 0;
  #cr4 = 0;
  #efer = -1;
  #cr3Low = 0;
  #root = 0;
  #reservedHigh = 0;
  #tellsFetch = false;
  /** GPAs of the entries of the current walk. */
  readonly #used = [0, 0, 0, 0];
  #usedCount = 0;

  /** By 2 MiB region: its tag, the last table with the rights above it, and the generation that it belongs to. */
  readonly #cachedLow = new Int32Array(CACHED);
  readonly #cachedHigh = new Int32Array(CACHED);
  readonly #cachedTable = new Float64Array(CACHED);
  readonly #cachedRights = new Int32Array(CACHED);
  readonly #cachedGeneration = new Int32Array(CACHED);
  #generation = 1;

  /** Of the last walk: the fault's error code when it failed; else PTE_RW and PTE_US in effect, and PTE_D of the leaf. */
  errorCode = 0;
  entryFlags = 0;
  isGlobal = false;
  pageBits: PageBits = 12;

  constructor(buffer: ArrayBuffer, ramSize: number, code: CodePages, nested: NestedPaging | undefined) {
    this.#view = new DataView(buffer);
    this.#bytes = new Uint8Array(buffer);
    this.#ramSize = ramSize;
    this.#code = code;
    this.#nested = nested;
  }

  /** CR3 in halves. */
  configure(cr0: number, cr3Low: number, cr3High: number, cr4: number, efer: number): void {
    if (cr0 !== this.#cr0 || cr4 !== this.#cr4 || efer !== this.#efer) this.#setMode(cr0, cr4, efer);
    this.#cr3Low = cr3Low;
    this.#root = addressOf(cr3Low, (efer & EFER_LMA) !== 0 ? cr3High : 0);
  }

  #setMode(cr0: number, cr4: number, efer: number): void {
    this.#cr0 = cr0;
    this.#cr4 = cr4;
    this.#efer = efer;
    const isLong = (efer & EFER_LMA) !== 0;
    if (!(cr0 & CR0_PG)) this.#levels = isLong ? 'identity' : 'none';
    else this.#levels = isLong ? '4-level' : cr4 & CR4_PAE ? 'PAE' : '32-bit';
    const hasNx = (efer & EFER_NXE) !== 0;
    this.#reservedHigh = RESERVED_ADDRESS | (hasNx ? 0 : NX) | (isLong ? 0 : RESERVED_PAE);
    this.#tellsFetch = (hasNx && (cr4 & CR4_PAE) !== 0) || (cr4 & CR4_SMEP) !== 0;
  }

  /** Nothing of earlier walks may be used any more. */
  forget(): void {
    this.#generation = (this.#generation + 1) | 0;
  }

  /** Linear addresses are canonical or fault. */
  get hasCanonical(): boolean {
    return this.#levels === '4-level';
  }

  get isPae(): boolean {
    return this.#levels === 'PAE';
  }

  #read(maddr: number): number {
    return maddr + 4 <= this.#ramSize ? this.#view.getInt32(L.RAM + maddr, true) : 0;
  }

  // Nested paging

  /** Maddr of a page-table entry for the CPU's own access; without `mark`, -1 instead of a nested fault. */
  #locateEntry(gpa: number, access: Access, mark: boolean, low: number, high: number): number {
    if (!this.#nested) return gpa;
    const nested = this.#nested.translate((gpa - (gpa % PAGE_SIZE)) / PAGE_SIZE);
    if (nested?.[access]) return nested.frame * PAGE_SIZE + (gpa % PAGE_SIZE);
    if (!mark) return -1;
    throw this.nestedFault(BigInt(gpa), toLinear(low, high), access, 8, true);
  }

  nestedFault(gpa: bigint, vaddr: bigint, access: Access, size: number, isWalk: boolean): NestedFault {
    const present = this.#nested!.translate(Number(gpa >> 12n)) !== undefined;
    return new NestedFault({ kind: 'nestedFault', gpa, vaddr, access, size, present, isWalk });
  }

  // The walk

  /**
   * The guest-physical page of a linear address for an access, or -1 with `errorCode` set. With `mark`, sets A and D as the
   * access would.
   */
  walk(low: number, high: number, access: Access, isUser: boolean, mark: boolean): number {
    this.isGlobal = false;
    this.pageBits = 12;
    this.#usedCount = 0;
    const levels = this.#levels;
    if (levels === 'none' || levels === 'identity') {
      this.entryFlags = PTE_RW | PTE_US | PTE_D;
      // Long mode without paging is a state that only a host can make: all 64 bits count.
      return (levels === 'identity' ? (high >>> 0) * 0x1_0000_0000 : 0) + ((low & ~0xfff) >>> 0);
    }
    const base = (access === 'write' ? PF_W : 0) | (isUser ? PF_U : 0) | (access === 'execute' && this.#tellsFetch ? PF_I : 0);
    if (levels === '32-bit') return this.#walk32(low, access, isUser, mark, base);
    let table = this.#root;
    let rights = PTE_RW | PTE_US;
    let noExecute = false;
    let level = 4;
    const region = low >>> 21;
    const cached = (region ^ high) & (CACHED - 1);
    if (mark && this.#isCached(cached, region, high)) {
      level = 1;
      table = this.#cachedTable[cached]!;
      rights = this.#cachedRights[cached]!;
      noExecute = rights < 0;
    } else if (levels === 'PAE') {
      level = 2;
      const pdpte = L.SYSTEM + 8 * (L.SYS_PDPTE + (low >>> 30));
      const pdpteLow = this.#view.getInt32(pdpte, true);
      if (!(pdpteLow & PTE_P)) return this.#fail(base);
      table = addressOf(pdpteLow, this.#view.getInt32(pdpte + 4, true));
    }
    for (; ; level--) {
      const index = level === 1 ? low >>> 12 : level === 2 ? low >>> 21 : level === 3 ? (high << 2) | (low >>> 30) : high >>> 7;
      const gpa = table + (index & 0x1ff) * 8;
      const at = this.#locateEntry(gpa, 'read', mark, low, high);
      if (at < 0) return this.#fail(base);
      const entry = this.#read(at);
      const entryHigh = this.#read(at + 4);
      if (!(entry & PTE_P)) return this.#fail(base);
      const isLeaf = level === 1 || (level < 4 && (entry & PTE_PS) !== 0);
      const reserved = !isLeaf || level === 1 ? (level === 4 ? PTE_PS : 0) : level === 2 ? 0x001f_e000 : 0x3fff_e000;
      if (entryHigh & this.#reservedHigh || entry & reserved) return this.#fail(base | PF_P | PF_RSVD);
      const aboveLeaf = (rights & (PTE_RW | PTE_US)) | (noExecute ? NX : 0);
      rights &= entry;
      if (entryHigh < 0) noExecute = true;
      this.#used[this.#usedCount++] = gpa;
      const next = addressOf(entry, entryHigh);
      if (!isLeaf) {
        table = next;
        continue;
      }
      if (!this.#permit(rights, noExecute, access, isUser, base)) return -1;
      this.#finish(rights, entry, access, mark, low, high);
      if (level === 1) {
        if (mark && this.#usedCount > 1) this.#cache(cached, region, high, table, aboveLeaf);
        return next;
      }
      this.pageBits = level === 2 ? 21 : 30;
      const within = level === 2 ? 0x1f_f000 : 0x3fff_f000;
      return addressOf((entry & ~within) | (low & within), entryHigh);
    }
  }

  #isCached(at: number, region: number, high: number): boolean {
    return this.#cachedGeneration[at] === this.#generation && this.#cachedLow[at] === region && this.#cachedHigh[at] === high;
  }

  #cache(at: number, region: number, high: number, table: number, rights: number): void {
    this.#cachedGeneration[at] = this.#generation;
    this.#cachedLow[at] = region;
    this.#cachedHigh[at] = high;
    this.#cachedTable[at] = table;
    this.#cachedRights[at] = rights;
  }

  #walk32(low: number, access: Access, isUser: boolean, mark: boolean, base: number): number {
    const directoryGpa = this.#root + (low >>> 22) * 4;
    const directoryAt = this.#locateEntry(directoryGpa, 'read', mark, low, 0);
    if (directoryAt < 0) return this.#fail(base);
    const directory = this.#read(directoryAt);
    if (!(directory & PTE_P)) return this.#fail(base);
    this.#used[this.#usedCount++] = directoryGpa;
    if (directory & PTE_PS && this.#cr4 & CR4_PSE) {
      if (directory & 0x0020_0000) return this.#fail(base | PF_P | PF_RSVD);
      if (!this.#permit(directory, false, access, isUser, base)) return -1;
      this.#finish(directory, directory, access, mark, low, 0);
      this.pageBits = 22;
      return ((directory >>> 13) & 0xff) * 0x1_0000_0000 + ((directory & 0xffc0_0000) >>> 0) + (low & 0x3f_f000);
    }
    const gpa = ((directory & ~0xfff) >>> 0) + ((low >>> 12) & 0x3ff) * 4;
    const at = this.#locateEntry(gpa, 'read', mark, low, 0);
    if (at < 0) return this.#fail(base);
    const entry = this.#read(at);
    if (!(entry & PTE_P)) return this.#fail(base);
    this.#used[this.#usedCount++] = gpa;
    if (!this.#permit(directory & entry, false, access, isUser, base)) return -1;
    this.#finish(directory & entry, entry, access, mark, low, 0);
    return (entry & ~0xfff) >>> 0;
  }

  #fail(errorCode: number): number {
    this.errorCode = errorCode;
    return -1;
  }

  #permit(rights: number, noExecute: boolean, access: Access, isUser: boolean, base: number): boolean {
    const isRefused =
      (isUser ? !(rights & PTE_US) : (rights & PTE_US) !== 0 && this.#isRefusedToSupervisor(access)) ||
      (access === 'write' && !(rights & PTE_RW) && (isUser || (this.#cr0 & CR0_WP) !== 0)) ||
      (access === 'execute' && noExecute);
    if (isRefused) this.errorCode = base | PF_P;
    return !isRefused;
  }

  /** A user page: SMEP, and SMAP unless RFLAGS.AC opens it below CPL 3 (APM2 5.6). */
  #isRefusedToSupervisor(access: Access): boolean {
    return access === 'execute' ? (this.#cr4 & CR4_SMEP) !== 0 : (this.#cr4 & CR4_SMAP) !== 0 && !this.isOpen;
  }

  /** Whether SMAP lets a supervisor's data accesses through to user pages at the moment. */
  get isOpen(): boolean {
    return (this.#view.getInt32(L.FLAGS_REST, true) & AC) !== 0 && this.#view.getInt32(L.CPL, true) < 3;
  }

  get hasSmap(): boolean {
    return (this.#cr4 & CR4_SMAP) !== 0;
  }

  #finish(rights: number, leaf: number, access: Access, mark: boolean, low: number, high: number): void {
    const isWrite = access === 'write';
    if (mark) for (let i = 0; i < this.#usedCount; i++) this.#mark(this.#used[i]!, isWrite && i === this.#usedCount - 1, low, high);
    this.entryFlags = (rights & (PTE_RW | PTE_US)) | (leaf & PTE_D) | (isWrite && mark ? PTE_D : 0);
    this.isGlobal = (leaf & PTE_G) !== 0 && (this.#cr4 & CR4_PGE) !== 0;
  }

  /** Sets A, and D where asked, in an entry. */
  #mark(gpa: number, isDirty: boolean, low: number, high: number): void {
    const wanted = isDirty ? PTE_A | PTE_D : PTE_A;
    const present = this.#bytes[L.RAM + this.#locateEntry(gpa, 'read', true, low, high)]!;
    if ((present & wanted) === wanted) return;
    const at = this.#locateEntry(gpa, 'write', true, low, high);
    if (this.#code.isCodePage(Math.floor(at / PAGE_SIZE))) this.#code.invalidate(at, 1);
    this.#bytes[L.RAM + at] = present | wanted;
  }

  /**
   * Loads PAE's four page-directory-pointer-table entries from the table that a CR3 names (SDM 3A 4.4.1); false, and
   * nothing loaded, when one has a reserved bit set.
   */
  loadPdptes(cr3: bigint): boolean {
    const table = Number(cr3 & 0xffff_ffe0n);
    const entries: [number, number][] = [];
    for (let i = 0; i < 4; i++) {
      const at = this.#locateEntry(table + i * 8, 'read', true, table + i * 8, 0);
      const low = this.#read(at);
      const high = this.#read(at + 4);
      if (low & PTE_P && (low & RESERVED_PDPTE || high & (RESERVED_ADDRESS | RESERVED_PAE | NX))) return false;
      entries.push([low, high]);
    }
    entries.forEach(([low, high], i) => {
      const to = L.SYSTEM + 8 * (L.SYS_PDPTE + i);
      this.#view.setInt32(to, low, true);
      this.#view.setInt32(to + 4, high, true);
    });
    return true;
  }

  /** The entries that a walk meets, for reports. */
  steps(vaddr: bigint): WalkStep[] {
    const steps: WalkStep[] = [];
    const levels = this.#levels;
    if (levels === 'none' || levels === 'identity') return steps;
    const size = levels === '32-bit' ? 4 : 8;
    const indexBits = size === 4 ? 10n : 9n;
    const hasLarge = levels !== '32-bit' || (this.#cr4 & CR4_PSE) !== 0;
    let table = levels === 'PAE' ? (this.#cr3Low & ~0x1f) >>> 0 : this.#root;
    for (const level of [4, 3, 2, 1] as const) {
      if (level > (levels === '4-level' ? 4 : levels === 'PAE' ? 3 : 2)) continue;
      const index = Number((vaddr >> (12n + indexBits * BigInt(level - 1))) & ((1n << indexBits) - 1n));
      const entryMaddr = this.#locateEntry(table + index * size, 'read', false, 0, 0);
      if (entryMaddr < 0) break;
      const high = size === 8 ? this.#read(entryMaddr + 4) : 0;
      const entry = (BigInt(high >>> 0) << 32n) | BigInt(this.#read(entryMaddr) >>> 0);
      steps.push({ level, index, entryMaddr, entry });
      if (!(entry & 1n) || (hasLarge && level < 4 && entry & 0x80n)) break;
      table = Number(entry & 0x000f_ffff_ffff_f000n);
    }
    return steps;
  }
}

function addressOf(low: number, high: number): number {
  return (high & 0x000f_ffff) * 0x1_0000_0000 + ((low & ~0xfff) >>> 0);
}

export function toLinear(low: number, high: number): bigint {
  return (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0);
}
