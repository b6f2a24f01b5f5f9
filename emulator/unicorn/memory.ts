/**
 * The memory that a program maps: regions of a 64-bit guest-physical address space with rights, each page backed by a frame
 * of the CPU's RAM from its first use on. The CPU asks here where pages lie (cpu/nested.ts).
 */
import type { CpuCore, NestedPage, NestedPaging } from '../cpu/index.ts';
import { PAGE_SIZE } from '../cpu/layout.ts';
import { constants as uc } from './constants.ts';
import { Failure } from './errors.ts';

const PAGE = 4096n;
const LAST = (1n << 64n) - 1n;

/** `end` is inclusive. */
export interface Region {
  readonly begin: bigint;
  readonly end: bigint;
  readonly perms: number;
}

/**
 * How pages look to the CPU. 'probe' and 'force' are for one instruction that failed: every page can be accessed, is
 * watched, and where there is none a spare frame stands in.
 */
export type View = 'normal' | 'probe' | 'force';

export class GuestMemory implements NestedPaging {
  #regions: Region[] = [];
  /** Frames by guest frame number, and what the CPU was told of them. */
  readonly #frames = new Map<number, number>();
  readonly #pages = new Map<number, NestedPage>();
  readonly #free: number[] = [];
  #used = 1;
  #cpu: CpuCore | undefined;
  #view: View = 'normal';
  /** Whether hooks want to hear of accesses to a page. */
  readonly #isWatched: (begin: bigint, end: bigint) => boolean;

  constructor(isWatched: (begin: bigint, end: bigint) => boolean) {
    this.#isWatched = isWatched;
  }

  attach(cpu: CpuCore): void {
    this.#cpu = cpu;
  }

  get regions(): readonly Region[] {
    return this.#regions;
  }

  set view(view: View) {
    if (this.#view === view) return;
    this.#view = view;
    this.changed();
  }

  /** The CPU must ask anew: rights, frames or hooks are not what they were. */
  changed(): void {
    this.#pages.clear();
    this.#cpu!.flushTlb({ global: true });
  }

  // Regions

  map(address: bigint, size: bigint, perms: number): void {
    if (size === 0n || (address | size) & (PAGE - 1n) || perms & ~uc.PROT_ALL) throw new Failure(uc.ERR_ARG);
    const end = address + size - 1n;
    if (end > LAST) throw new Failure(uc.ERR_ARG);
    if (this.#regions.some((region) => region.begin <= end && address <= region.end)) throw new Failure(uc.ERR_MAP);
    this.#regions.push({ begin: address, end, perms });
    this.#regions.sort((a, b) => (a.begin < b.begin ? -1 : 1));
    this.changed();
  }

  unmap(address: bigint, size: bigint): void {
    const end = this.#checkRange(address, size);
    if (end === undefined) return;
    this.#cut(address, end);
    this.#regions = this.#regions.filter((region) => region.begin < address || region.begin > end);
    for (const [gfn, frame] of this.#frames) {
      const at = BigInt(gfn) * PAGE;
      if (at < address || at > end) continue;
      this.#frames.delete(gfn);
      this.#free.push(frame);
    }
    this.changed();
  }

  protect(address: bigint, size: bigint, perms: number): void {
    if (perms & ~uc.PROT_ALL && size !== 0n) throw new Failure(uc.ERR_ARG);
    const end = this.#checkRange(address, size);
    if (end === undefined) return;
    this.#cut(address, end);
    this.#regions = this.#regions.map((region) => (region.begin >= address && region.begin <= end ? { ...region, perms } : region));
    this.changed();
  }

  /** The last byte of a range that is mapped throughout; undefined when it is empty. */
  #checkRange(address: bigint, size: bigint): bigint | undefined {
    if (size === 0n) return undefined;
    if ((address | size) & (PAGE - 1n)) throw new Failure(uc.ERR_ARG);
    if (!this.covers(address, size)) throw new Failure(uc.ERR_NOMEM);
    return address + size - 1n;
  }

  /** Makes region boundaries at both ends of a range. */
  #cut(begin: bigint, end: bigint): void {
    for (const at of [begin, end + 1n]) {
      this.#regions = this.#regions.flatMap((region) =>
        region.begin < at && at <= region.end
          ? [
              { ...region, end: at - 1n },
              { ...region, begin: at },
            ]
          : [region],
      );
    }
  }

  regionAt(address: bigint): Region | undefined {
    return this.#regions.find((region) => region.begin <= address && address <= region.end);
  }

  covers(address: bigint, size: bigint): boolean {
    for (let at = address; at < address + size; ) {
      const region = this.regionAt(at);
      if (!region) return false;
      at = region.end + 1n;
    }
    return true;
  }

  // Frames

  /** The CPU's question. */
  translate(gfn: number): NestedPage | undefined {
    let page = this.#pages.get(gfn);
    if (page) return page;
    const address = BigInt(gfn) * PAGE;
    const region = this.regionAt(address);
    const isForced = this.#view !== 'normal';
    if (!region && !isForced) return undefined;
    const can = (right: number): boolean => isForced || (region!.perms & right) !== 0;
    page = {
      frame: region ? this.#frameOf(gfn) : 0,
      read: can(uc.PROT_READ),
      write: can(uc.PROT_WRITE),
      execute: can(uc.PROT_EXEC),
      watched: isForced || this.#isWatched(address, address + PAGE - 1n),
    };
    this.#pages.set(gfn, page);
    return page;
  }

  /** Frame 0 stands in for pages that are not there. */
  #frameOf(gfn: number): number {
    const present = this.#frames.get(gfn);
    if (present !== undefined) return present;
    const { memory } = this.#cpu!;
    const recycled = this.#free.pop();
    const frame = recycled ?? this.#used++;
    if ((frame + 1) * PAGE_SIZE > memory.size) {
      this.#used--;
      throw new Failure(uc.ERR_NOMEM);
    }
    if (recycled !== undefined) {
      memory.bytes.fill(0, frame * PAGE_SIZE, (frame + 1) * PAGE_SIZE);
      memory.written(frame * PAGE_SIZE, PAGE_SIZE);
    }
    this.#frames.set(gfn, frame);
    return frame;
  }

  // The program's own accesses, whatever the rights

  read(address: bigint, size: number): Uint8Array {
    if (!this.covers(address, BigInt(size))) throw new Failure(uc.ERR_READ_UNMAPPED);
    const bytes = new Uint8Array(size);
    this.#pieces(address, size, (maddr, from, count) => bytes.set(this.#cpu!.memory.bytes.subarray(maddr, maddr + count), from));
    return bytes;
  }

  write(address: bigint, bytes: Uint8Array): void {
    if (!this.covers(address, BigInt(bytes.length))) throw new Failure(uc.ERR_WRITE_UNMAPPED);
    const { memory } = this.#cpu!;
    this.#pieces(address, bytes.length, (maddr, from, count) => {
      memory.written(maddr, count);
      memory.bytes.set(bytes.subarray(from, from + count), maddr);
    });
  }

  #pieces(address: bigint, size: number, visit: (maddr: number, from: number, count: number) => void): void {
    for (let from = 0; from < size; ) {
      const at = address + BigInt(from);
      const offset = Number(at & (PAGE - 1n));
      const count = Math.min(size - from, PAGE_SIZE - offset);
      visit(this.#frameOf(Number(at / PAGE)) * PAGE_SIZE + offset, from, count);
      from += count;
    }
  }
}
