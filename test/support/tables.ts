/** Page tables, descriptor tables and gates for a bare CPU, written into its RAM as software would. */
import type { CpuCore } from '../../emulator/cpu/index.ts';

export const P = 1n,
  RW = 2n,
  US = 4n,
  A = 0x20n,
  D = 0x40n,
  PS = 0x80n,
  G = 0x100n,
  NX = 1n << 63n;

/** Maps 4 KiB pages below the CPU's present root; new tables come from `[next, ...)`. */
export class PageTables {
  readonly #cpu: CpuCore;
  #next: number;

  constructor(cpu: CpuCore, next = 0x40_0000) {
    this.#cpu = cpu;
    this.#next = next;
  }

  map(vaddr: bigint, maddr: number, flags = P | RW | US): void {
    const { view } = this.#cpu.memory;
    for (let level = 4; level > 1; level--) {
      const at = this.entry(vaddr, level);
      const present = view.getBigUint64(at, true);
      if (present & P && !(present & PS && level === 2)) continue;
      const table = this.#next;
      this.#next += 4096;
      // A 2 MiB page falls apart into its 4 KiB pages.
      if (present & P) for (let i = 0; i < 512; i++) view.setBigUint64(table + i * 8, (present & ~PS) + BigInt(i * 4096), true);
      view.setBigUint64(at, BigInt(table) | P | RW | US, true);
    }
    view.setBigUint64(this.entry(vaddr, 1), BigInt(maddr) | flags, true);
    this.#cpu.flushTlb({ global: true });
  }

  /** Maddr of the entry for `vaddr` in its table of this level. */
  entry(vaddr: bigint, level: number): number {
    const { view } = this.#cpu.memory;
    let table = Number(this.#cpu.cr3);
    for (let l = 4; ; l--) {
      const at = table + Number((vaddr >> BigInt(3 + 9 * l)) & 511n) * 8;
      if (l === level) return at;
      table = Number(view.getBigUint64(at, true) & 0xf_ffff_ffff_f000n);
    }
  }

  /** Changes bits of an entry: clears, then sets. */
  change(vaddr: bigint, level: number, clear: bigint, set: bigint): void {
    const { view } = this.#cpu.memory;
    const at = this.entry(vaddr, level);
    view.setBigUint64(at, (view.getBigUint64(at, true) & ~clear) | set, true);
    this.#cpu.flushTlb({ global: true });
  }
}

/** A code or data descriptor, or with `isSystem` the first half of a system one. `type` is 4 bits; flags: L 2, D/B 4, G 8. */
export function descriptor(
  type: number,
  dpl: number,
  options: { base?: number; limit?: number; flags?: number; isSystem?: boolean; isAbsent?: boolean } = {},
): bigint {
  const { base = 0, limit = 0xfffff, flags = 0, isSystem = false, isAbsent = false } = options;
  const access = BigInt(type | (isSystem ? 0 : 0x10) | (dpl << 5) | (isAbsent ? 0 : 0x80));
  const low = BigInt(limit & 0xffff) | (BigInt(base & 0xff_ffff) << 16n) | (access << 40n);
  return low | (BigInt((limit >> 16) & 15) << 48n) | (BigInt(flags) << 52n) | (BigInt(base >>> 24) << 56n);
}

/** Both halves of an interrupt gate (type 14), trap gate (15) or call gate (12). */
export function gate(
  type: number,
  dpl: number,
  selector: number,
  target: bigint,
  options: { ist?: number; isAbsent?: boolean } = {},
): [bigint, bigint] {
  const { ist = 0, isAbsent = false } = options;
  const access = BigInt(type | (dpl << 5) | (isAbsent ? 0 : 0x80));
  const low = (target & 0xffffn) | (BigInt(selector) << 16n) | (BigInt(ist) << 32n) | (access << 40n) | ((target & 0xffff_0000n) << 32n);
  return [low, target >> 32n];
}

export function write64(cpu: CpuCore, maddr: number, ...values: bigint[]): void {
  for (const [i, value] of values.entries()) cpu.memory.view.setBigUint64(maddr + 8 * i, value, true);
  cpu.memory.written(maddr, 8 * values.length);
}

export function read64(cpu: CpuCore, maddr: number): bigint {
  return cpu.memory.view.getBigUint64(maddr, true);
}
