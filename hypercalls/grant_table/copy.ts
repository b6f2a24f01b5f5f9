/**
 * GNTTABOP_copy: bytes within a page, from and to frames of the caller's own or granted ones. A page stays pinned from
 * one element of a batch to the next that uses it (xen:common/grant_table.c gnttab_copy).
 */
import type { Domain } from '../../emulator/domain.ts';
import { type MachineMemory, PAGE_SIZE } from '../../emulator/memory/machine_memory.ts';
import { PGT_writable_page } from '../../emulator/memory/page_type.ts';
import { getPageType, putPageType } from '../../emulator/memory/page_types.ts';
import { GNTCOPY_dest_gref, GNTCOPY_source_gref, GNTST, gnttab_copy, gnttab_copy_ptr } from '../abi/grant_table.ts';
import { DOMID_SELF } from '../abi/xen.ts';
import { type Call, structHalfwords, structWords } from '../call.ts';
import { acquireGrant, type CopyFlags, releaseGrant, TO_READ, TO_WRITE } from './acquire.ts';
import type { ActiveEntry } from './active_entry.ts';
import { takeFrame } from './entry_access.ts';

/** Where a source or destination is in the struct, in words and half words. */
const placesFrom = (at: number) => ({
  name: (at + gnttab_copy_ptr.offset.u) >> 2,
  domid: (at + gnttab_copy_ptr.offset.domid) >> 1,
  offset: (at + gnttab_copy_ptr.offset.offset) >> 1,
});
const SOURCE = placesFrom(gnttab_copy.offset.source);
const DEST = placesFrom(gnttab_copy.offset.dest);
const LEN = gnttab_copy.offset.len >> 1;
const FLAGS = gnttab_copy.offset.flags >> 1;

/** A source or destination of the running batch. */
class Buffer {
  readonly flags: CopyFlags;
  domain: Domain | undefined;
  /** As the guest wrote it. */
  domid = -1;
  /** The claimed page, of which `[start, end)` may be used; -1: none. */
  mfn = -1;
  start = 0;
  end = 0;
  /** Through which it is granted, if it is. */
  active: ActiveEntry | undefined;
  /** A grant reference, or a frame if this is 0. */
  isGrant = 0;
  name = 0;

  constructor(flags: CopyFlags) {
    this.flags = flags;
  }

  /** Who is meant; or a status. */
  findDomain(call: Call, domid: number): number {
    const domain = domid === DOMID_SELF ? call.domain : call.host.domains.get(domid);
    if (domain === undefined) return GNTST.bad_domain;
    this.domain = domain;
    this.domid = domid;
    return GNTST.okay;
  }

  /** Has the page that is named at `at` of the struct; or says a status. */
  claim(call: Call, at: number, isGrant: number): number {
    const name = isGrant !== 0 ? structWords[at]! : frameAt(at);
    if (this.mfn >= 0 && this.isGrant === isGrant && this.name === name) return GNTST.okay;
    this.release(call);
    const status = isGrant !== 0 ? this.#claimGrant(call, name) : this.#claimFrame(call, name);
    if (status !== GNTST.okay) return status;
    this.isGrant = isGrant;
    this.name = name;
    const isUsable = this.flags === TO_READ || getPageType(call.host.memory, this.mfn, PGT_writable_page) === undefined;
    return isUsable ? GNTST.okay : this.#refuse(call);
  }

  #claimGrant(call: Call, ref: number): number {
    const active = acquireGrant(call.host, this.domain!, ref, call.domain.id, this.flags);
    if (typeof active === 'number') return active;
    this.active = active;
    this.mfn = active.mfn;
    this.start = active.start;
    this.end = active.start + active.length;
    return GNTST.okay;
  }

  #claimFrame({ host }: Call, name: number): number {
    if (this.domid !== DOMID_SELF) return GNTST.permission_denied;
    this.mfn = takeFrame(host.memory, this.domain!, name);
    this.start = 0;
    this.end = PAGE_SIZE;
    return this.mfn < 0 ? GNTST.bad_page : GNTST.okay;
  }

  /** The page is none to be written. */
  #refuse(call: Call): number {
    this.#releasePin(call);
    call.host.memory.putPage(this.mfn);
    this.mfn = -1;
    return GNTST.general_error;
  }

  contains(offset: number, size: number): boolean {
    return offset >= this.start && offset + size <= this.end;
  }

  release(call: Call): void {
    if (this.mfn < 0) return;
    const { memory } = call.host;
    this.#releasePin(call);
    if (this.flags === TO_WRITE) putPageType(memory, this.mfn);
    memory.putPage(this.mfn);
    this.mfn = -1;
  }

  #releasePin(call: Call): void {
    if (this.active === undefined) return;
    releaseGrant(call.host, this.active, this.flags);
    this.active = undefined;
  }
}

/** Nothing in here calls back, and a batch leaves nothing behind (`endCopies`): all share these. */
const source = new Buffer(TO_READ);
const dest = new Buffer(TO_WRITE);

/** One element of a batch, in the struct; the status, or RESTART. */
export function copy(call: Call): number {
  const status = copyOne(call);
  if (status !== GNTST.okay) releasePages(call);
  return status;
}

/** Whatever the batch still holds. */
export function endCopies(call: Call): void {
  releasePages(call);
  source.domain = undefined;
  dest.domain = undefined;
}

function releasePages(call: Call): void {
  source.release(call);
  dest.release(call);
}

const frameAt = (at: number): number => (structWords[at + 1]! >>> 0) * 2 ** 32 + (structWords[at]! >>> 0);

/** The status. */
function findDomains(call: Call, sourceDomid: number, destDomid: number): number {
  releasePages(call);
  source.domain = undefined;
  dest.domain = undefined;
  const status = source.findDomain(call, sourceDomid) || dest.findDomain(call, destDomid);
  if (status !== GNTST.okay) source.domain = undefined;
  return status;
}

function copyOne(call: Call): number {
  const sourceDomid = structHalfwords[SOURCE.domid]!;
  const destDomid = structHalfwords[DEST.domid]!;
  if (source.domain === undefined || dest.domain === undefined || source.domid !== sourceDomid || dest.domid !== destDomid) {
    const status = findDomains(call, sourceDomid, destDomid);
    if (status !== GNTST.okay) return status;
  }
  const flags = structHalfwords[FLAGS]!;
  const status = source.claim(call, SOURCE.name, flags & GNTCOPY_source_gref) || dest.claim(call, DEST.name, flags & GNTCOPY_dest_gref);
  if (status !== GNTST.okay) return status;
  const start = structHalfwords[SOURCE.offset]!;
  const target = structHalfwords[DEST.offset]!;
  const size = structHalfwords[LEN]!;
  if (start + size > PAGE_SIZE || target + size > PAGE_SIZE) return GNTST.bad_copy_arg;
  if (!source.contains(start, size) || !dest.contains(target, size)) return GNTST.general_error;
  const { memory } = call.host;
  const from = source.mfn * PAGE_SIZE + start;
  const to = dest.mfn * PAGE_SIZE + target;
  if (to <= from || to >= from + size) memory.ram.copy(to, from, size);
  else copyOverlapping(memory, from, to, size);
  memory.writtenInPage(to, size);
  return GNTST.okay;
}

/** As Xen's memcpy, eight bytes at a time and then single ones, which shows where the ranges overlap. */
function copyOverlapping({ bytes, view }: MachineMemory, from: number, to: number, size: number): void {
  let done = 0;
  for (; done + 8 <= size; done += 8) {
    const low = view.getUint32(from + done, true);
    const high = view.getUint32(from + done + 4, true);
    view.setUint32(to + done, low, true);
    view.setUint32(to + done + 4, high, true);
  }
  for (; done < size; done++) bytes[to + done] = bytes[from + done]!;
}
