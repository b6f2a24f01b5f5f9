/**
 * What ring -1 keeps of a grant entry in use, whatever the guest writes there meanwhile: which frame, for whom, and how
 * often it is pinned, by kind of use (xen:common/grant_table.c struct active_grant_entry).
 */
import type { Domain } from '../../emulator/domain.ts';
import { GNTMAP_device_map, GNTMAP_host_map, GNTMAP_readonly } from '../abi/grant_table.ts';

/** Beyond, a counter is not trusted with one more. */
const MAX_PINS = 128;

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

const NOTHING: GrantedPage = { mfn: -1, start: 0, length: 0, isSubPage: false, through: undefined };

export class ActiveEntry {
  hostReads = 0;
  hostWrites = 0;
  deviceReads = 0;
  deviceWrites = 0;
  /** Who uses it. */
  domid = -1;
  page: GrantedPage = NOTHING;

  get isPinned(): boolean {
    return this.hostReads + this.hostWrites + this.deviceReads + this.deviceWrites > 0;
  }

  get isWritePinned(): boolean {
    return this.hostWrites + this.deviceWrites > 0;
  }

  /** Whether the counters have room for a use with these GNTMAP_ flags. */
  hasRoomFor(flags: number): boolean {
    const isReadonly = (flags & GNTMAP_readonly) !== 0;
    if (flags & GNTMAP_host_map && (isReadonly ? this.hostReads : this.hostWrites) >= MAX_PINS) return false;
    return !(flags & GNTMAP_device_map) || (isReadonly ? this.deviceReads : this.deviceWrites) < MAX_PINS;
  }

  /** Who uses it now, and what: bytes of a frame of the granter's own. */
  use(domid: number, mfn: number, start: number, length: number, isSubPage: boolean): void {
    this.domid = domid;
    const { page } = this;
    const isSame =
      page.mfn === mfn && page.start === start && page.length === length && page.isSubPage === isSubPage && page.through === undefined;
    if (!isSame) this.page = { mfn, start, length, isSubPage, through: undefined };
  }

  /** Counts `by` uses more with these GNTMAP_ flags. */
  pin(flags: number, by: 1 | -1): void {
    const isReadonly = (flags & GNTMAP_readonly) !== 0;
    if (flags & GNTMAP_host_map) {
      if (isReadonly) this.hostReads += by;
      else this.hostWrites += by;
    }
    if (flags & GNTMAP_device_map) {
      if (isReadonly) this.deviceReads += by;
      else this.deviceWrites += by;
    }
  }
}
