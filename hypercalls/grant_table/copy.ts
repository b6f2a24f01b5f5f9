/**
 * GNTTABOP_copy: bytes within a page, from and to frames of the caller's own or granted ones. A page stays pinned from
 * one element of a batch to the next that uses it (xen:common/grant_table.c gnttab_copy).
 */
import type { Domain } from '../../emulator/domain.ts';
import { type MachineMemory, PAGE_SIZE } from '../../emulator/memory/machine_memory.ts';
import { PGT_writable_page } from '../../emulator/memory/page_type.ts';
import { getPageType, putPageAndType } from '../../emulator/memory/page_types.ts';
import { GNTCOPY_dest_gref, GNTCOPY_source_gref, GNTST, gnttab_copy, gnttab_copy_ptr } from '../abi/grant_table.ts';
import { DOMID_SELF } from '../abi/xen.ts';
import { type Call, structView } from '../call.ts';
import { acquireGrant, releaseGrant } from './acquire.ts';
import type { ActiveEntry } from './active_entry.ts';
import { takeFrame } from './entry_access.ts';

const { source: SOURCE, dest: DEST, len: LEN, flags: FLAGS } = gnttab_copy.offset;
const { u: U, domid: DOMID, offset: OFFSET } = gnttab_copy_ptr.offset;
/** A source or destination of the running batch. */
class Buffer {
  readonly isReadonly: boolean;
  domain: Domain | undefined;
  /** As the guest wrote it. */
  domid = -1;
  /** The claimed page; -1: none. */
  mfn = -1;
  start = 0;
  length = 0;
  /** Through which it is granted, if it is. */
  active: ActiveEntry | undefined;
  isGrant = false;
  /** A grant reference (32 bits) or a frame. */
  name = 0;

  constructor(isReadonly: boolean) {
    this.isReadonly = isReadonly;
  }

  /** Who is meant; or a status. */
  findDomain(call: Call, domid: number): number {
    const domain = domid === DOMID_SELF ? call.domain : call.host.domains.get(domid);
    if (domain === undefined) return GNTST.bad_domain;
    this.domain = domain;
    this.domid = domid;
    return GNTST.okay;
  }

  /** Has the page `name` of its domain; or says a status. */
  claim(call: Call, name: number, isGrant: boolean): number {
    if (this.mfn >= 0 && this.isGrant === isGrant && this.name === name) return GNTST.okay;
    this.release(call);
    if (this.domid !== DOMID_SELF && !isGrant) return GNTST.permission_denied;
    const { memory } = call.host;
    const domain = this.domain!;
    if (isGrant) {
      const active = acquireGrant(call.host, domain, name, call.domain.id, this.isReadonly);
      if (typeof active === 'number') return active;
      this.active = active;
      this.mfn = active.mfn;
      this.start = active.start;
      this.length = active.length;
    } else {
      this.mfn = takeFrame(memory, domain, name);
      this.start = 0;
      this.length = PAGE_SIZE;
      if (this.mfn < 0) return GNTST.bad_page;
    }
    this.isGrant = isGrant;
    this.name = name;
    if (this.isReadonly || getPageType(memory, this.mfn, PGT_writable_page) === undefined) return GNTST.okay;
    this.#releasePin(call);
    memory.putPage(this.mfn);
    this.mfn = -1;
    return GNTST.general_error;
  }

  contains(offset: number, size: number): boolean {
    return offset >= this.start && offset + size <= this.start + this.length;
  }

  release(call: Call): void {
    if (this.mfn < 0) return;
    this.#releasePin(call);
    if (this.isReadonly) call.host.memory.putPage(this.mfn);
    else putPageAndType(call.host.memory, this.mfn);
    this.mfn = -1;
  }

  #releasePin(call: Call): void {
    if (this.active === undefined) return;
    releaseGrant(call.host, this.active, this.isReadonly);
    this.active = undefined;
  }
}

/** Nothing in here calls back, and a batch leaves nothing behind (`endCopies`): all share these. */
const source = new Buffer(true);
const dest = new Buffer(false);

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

const half = (offset: number): number => structView.getUint16(offset, true);

function nameAt(offset: number, isGrant: boolean): number {
  const low = structView.getUint32(offset, true);
  return isGrant ? low : structView.getUint32(offset + 4, true) * 2 ** 32 + low;
}

function copyOne(call: Call): number {
  const sourceDomid = half(SOURCE + DOMID);
  const destDomid = half(DEST + DOMID);
  if (source.domain === undefined || dest.domain === undefined || source.domid !== sourceDomid || dest.domid !== destDomid) {
    releasePages(call);
    source.domain = undefined;
    dest.domain = undefined;
    const status = source.findDomain(call, sourceDomid) || dest.findDomain(call, destDomid);
    if (status !== GNTST.okay) {
      source.domain = undefined;
      return status;
    }
  }
  const flags = half(FLAGS);
  const fromGrant = (flags & GNTCOPY_source_gref) !== 0;
  const toGrant = (flags & GNTCOPY_dest_gref) !== 0;
  const status = source.claim(call, nameAt(SOURCE + U, fromGrant), fromGrant) || dest.claim(call, nameAt(DEST + U, toGrant), toGrant);
  if (status !== GNTST.okay) return status;
  const start = half(SOURCE + OFFSET);
  const target = half(DEST + OFFSET);
  const size = half(LEN);
  if (start + size > PAGE_SIZE || target + size > PAGE_SIZE) return GNTST.bad_copy_arg;
  if (!source.contains(start, size) || !dest.contains(target, size)) return GNTST.general_error;
  const { memory } = call.host;
  const from = source.mfn * PAGE_SIZE + start;
  const to = dest.mfn * PAGE_SIZE + target;
  if (to <= from || to >= from + size) memory.ram.copy(to, from, size);
  else copyOverlapping(memory, from, to, size);
  memory.written(to, size);
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
