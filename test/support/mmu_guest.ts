/** A domU that changes its page tables: its calls, and the tables and pages that it does so with. */
import type { Test } from 'tap';
import { checkInvariants } from '../../emulator/memory/invariants.ts';
import { type ErrnoName, errno } from '../../hypercalls/abi/errno.ts';
import { PvHost } from './pv_host.ts';

export const SELF = 0x7ff0;
export const DOMID_XEN = 0x7ff2;
export const DOMID_IO = 0x7ff1;
/** Scratch pages of the test guest: in the first mapping, behind everything the builder put there. */
export const REQUESTS = 0x200;
export const DONE = 0x201;
export const DATA = 0x210;
export const RW = 7n;
export const RO = 5n;
export const UNMAPPED = 0x1000_0000n;

/** Pfns of the builder's tables, see the layout test. */
const tablesOf = (machine: PvHost) => {
  const first = machine.p2m.indexOf(machine.boot.l4Mfn);
  return { l4: first, l3: first + 1, l2: first + 2, l1: first + 3 };
};

export class Guest extends PvHost {
  readonly tables = tablesOf(this);

  mmuUpdate(requests: (readonly [ptr: bigint, val: bigint])[], foreigndom = SELF): number {
    this.poke(REQUESTS, ...requests.flat());
    return this.call(1, this.vaddrOf(REQUESTS), requests.length, this.vaddrOf(DONE), foreigndom);
  }

  mmuext(ops: (readonly [cmd: number, arg1?: bigint | number, arg2?: bigint | number])[], foreigndom = SELF): number {
    this.poke(REQUESTS, ...ops.flatMap(([cmd, arg1 = 0, arg2 = 0]) => [cmd, arg1, arg2]));
    return this.call(26, this.vaddrOf(REQUESTS), ops.length, this.vaddrOf(DONE), foreigndom);
  }

  uvm(va: bigint, val: bigint, flags: bigint | number = 0): number {
    return this.call(14, va, val, flags);
  }

  get done(): number {
    return Number(this.peek(DONE) & 0xffff_ffffn);
  }

  /** Maps a pfn of the first mapping anew with these flags. */
  remap(pfn: number, flags: bigint, mfn: number = this.p2m[pfn]!): number {
    return this.uvm(this.vaddrOf(pfn), (BigInt(mfn) << 12n) | flags, 2);
  }

  l1Maddr(pfn: number): bigint {
    return this.maddrOf(this.tables.l1 + (pfn >> 9)) + BigInt((pfn & 511) * 8);
  }

  /** An L1, L2, L3 and L4 below `root`, empty but for the chain, read-only where mapped; data page at slot 0. */
  chain(root: number): { l4: number; l3: number; l2: number; l1: number } {
    const chain = { l4: root, l3: root + 1, l2: root + 2, l1: root + 3 };
    this.poke(chain.l4, this.maddrOf(chain.l3) | RW);
    this.poke(chain.l3, this.maddrOf(chain.l2) | RW);
    this.poke(chain.l2, this.maddrOf(chain.l1) | RW);
    this.poke(chain.l1, this.maddrOf(DATA) | RW);
    for (const pfn of Object.values(chain)) if (this.remap(pfn, RO) !== 0) throw new Error('the chain cannot be made read-only');
    return chain;
  }
}

export const expectErrno = (t: Test, actual: number, expected: ErrnoName | 0, claim: string) => {
  const name = Object.entries(errno).find(([, value]) => value === -actual)?.[0] ?? String(actual);
  t.equal(actual === 0 ? 0 : name, expected, claim);
};

export const balanced = (t: Test, machine: PvHost) => t.equal(checkInvariants(machine.memory), undefined, 'the books add up');
