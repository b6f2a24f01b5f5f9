/**
 * The four hardware breakpoints (SDM 3B 18.2): what DR0-3 and DR7 say, and which of them an access or an instruction
 * meets. While any is enabled, the run loop goes instruction by instruction and watched pages stay out of the TLB.
 */

interface Breakpoint {
  readonly bit: number;
  readonly kind: 'execute' | 'write' | 'access';
  readonly address: bigint;
  readonly size: bigint;
}

const SIZES = [1n, 2n, 8n, 4n];
const KINDS = ['execute', 'write', undefined, 'access'] as const;

export class Breakpoints {
  #list: readonly Breakpoint[] = [];
  /** DR6 bits B0-B3 of the data breakpoints that the current instruction has met. */
  hits = 0;

  /** Takes over DR0-3 and DR7; I/O breakpoints are not data accesses and are left out. */
  configure(addresses: readonly bigint[], dr7: number): void {
    this.#list = addresses.flatMap((address, i) => {
      const kind = KINDS[(dr7 >>> (16 + 4 * i)) & 3];
      const size = SIZES[(dr7 >>> (18 + 4 * i)) & 3]!;
      if (!((dr7 >>> (2 * i)) & 3) || kind === undefined) return [];
      return [{ bit: 1 << i, kind, address: address & ~(size - 1n), size }];
    });
    this.hits = 0;
  }

  get isActive(): boolean {
    return this.#list.length > 0;
  }

  /** Whether a data breakpoint watches the 4 KiB page of an address. */
  watchesPage(vaddr: bigint): boolean {
    return this.#list.some(({ kind, address }) => kind !== 'execute' && address >> 12n === vaddr >> 12n);
  }

  /** Notes the data breakpoints that an access meets. */
  access(vaddr: bigint, size: number, isWrite: boolean): void {
    for (const { bit, kind, address, size: watched } of this.#list) {
      if (kind === 'execute' || (kind === 'write' && !isWrite)) continue;
      if (vaddr < address + watched && address < vaddr + BigInt(size)) this.hits |= bit;
    }
  }

  /** DR6 bits of the breakpoints on an instruction's first byte. */
  atInstruction(rip: bigint): number {
    return this.#list.reduce((bits, { bit, kind, address }) => (kind === 'execute' && address === rip ? bits | bit : bits), 0);
  }
}
