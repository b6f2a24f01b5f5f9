/**
 * What ring -1 keeps of a grant entry in use, whatever the guest writes there meanwhile: which frame, for whom, and how
 * often it is pinned, by kind of use (xen:common/grant_table.c struct active_grant_entry).
 */
import type { Domain } from '../../emulator/domain.ts';
import { PAGE_SIZE } from '../../emulator/memory/machine_memory.ts';
import { GNTMAP_device_map, GNTMAP_host_map, GNTMAP_readonly } from '../abi/grant_table.ts';

/** What is granted: bytes `[start, start + length)` of a frame. */
export interface GrantedPage {
  readonly mfn: number;
  readonly start: number;
  readonly length: number;
  /** Not all of a page, or granted through another domain: it can only be copied. */
  readonly isSubPage: boolean;
  /** Where a transitive grant leads. */
  readonly through: { readonly domain: Domain; readonly ref: number } | undefined;
}

/** One use of each kind: there is a byte for them in `pins` (xen GNTPIN_). */
const HOST_WRITE = 1;
const HOST_READ = 1 << 8;
const DEVICE_WRITE = 1 << 16;
const DEVICE_READ = 1 << 24;
/** From a write's to a read's. */
const READ_SHIFT = 8;
const WRITES = 0xff * (HOST_WRITE | DEVICE_WRITE);
/** A counter that has come to two to this is not trusted with one more. */
const MAX_PINS_SHIFT = 7;

/** One use of each kind that is among these GNTMAP_ flags; what they say beyond that does not count. */
const USES = Int32Array.from({ length: 8 }, (_, flags) => {
  const writes = (flags & GNTMAP_host_map ? HOST_WRITE : 0) | (flags & GNTMAP_device_map ? DEVICE_WRITE : 0);
  return flags & GNTMAP_readonly ? writes << READ_SHIFT : writes;
});
const usesOf = (flags: number): number => USES[flags & (GNTMAP_host_map | GNTMAP_device_map | GNTMAP_readonly)]!;

/** How often an entry is used, by kinds. */
export interface Pins {
  readonly hostReads: number;
  readonly hostWrites: number;
  readonly deviceReads: number;
  readonly deviceWrites: number;
}

export class ActiveEntry implements GrantedPage {
  /** Maddrs of the guest's entry, and of the word with its reading and writing bits; -1: the table is gone. */
  entry = -1;
  status = -1;
  /** Four counters of a byte each. */
  pins = 0;
  /** Who uses it. */
  domid = -1;
  mfn = -1;
  start = 0;
  length = 0;
  isSubPage = false;
  through: GrantedPage['through'] = undefined;

  get isPinned(): boolean {
    return this.pins !== 0;
  }

  get isWritePinned(): boolean {
    return (this.pins & WRITES) !== 0;
  }

  /** Whether the counters have room for a use with these GNTMAP_ flags. */
  hasRoomFor(flags: number): boolean {
    return (this.pins & (usesOf(flags) << MAX_PINS_SHIFT)) === 0;
  }

  /** Who uses it now: all of a frame of the granter's own. */
  use(domid: number, mfn: number): void {
    this.domid = domid;
    this.mfn = mfn;
    this.start = 0;
    this.length = PAGE_SIZE;
    this.isSubPage = false;
    this.through = undefined;
  }

  /** The same of something else. */
  usePage(domid: number, { mfn, start, length, isSubPage, through }: GrantedPage): void {
    this.domid = domid;
    this.mfn = mfn;
    this.start = start;
    this.length = length;
    this.isSubPage = isSubPage;
    this.through = through;
  }

  get page(): GrantedPage {
    const { mfn, start, length, isSubPage, through } = this;
    return { mfn, start, length, isSubPage, through };
  }

  /** One use more with these GNTMAP_ flags. */
  pin(flags: number): void {
    this.pins = (this.pins + usesOf(flags)) | 0;
  }

  /** One use less. */
  unpin(flags: number): void {
    this.pins = (this.pins - usesOf(flags)) | 0;
  }

  get counts(): Pins {
    const { pins } = this;
    return {
      hostReads: (pins >>> 8) & 0xff,
      hostWrites: pins & 0xff,
      deviceReads: pins >>> 24,
      deviceWrites: (pins >>> 16) & 0xff,
    };
  }

  set counts({ hostReads, hostWrites, deviceReads, deviceWrites }: Pins) {
    this.pins = (hostReads * HOST_READ + hostWrites * HOST_WRITE + deviceReads * DEVICE_READ + deviceWrites * DEVICE_WRITE) | 0;
  }
}
