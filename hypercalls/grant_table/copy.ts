/**
 * GNTTABOP_copy: bytes within a page, from and to frames of the caller's own or granted ones. A page stays pinned from
 * one element of a batch to the next that uses it (xen:common/grant_table.c gnttab_copy).
 */
import type { Domain } from '../../emulator/domain.ts';
import { PAGE_SIZE } from '../../emulator/memory/machine_memory.ts';
import { PGT_writable_page } from '../../emulator/memory/page_type.ts';
import { getPageType, putPageAndType } from '../../emulator/memory/page_types.ts';
import { defineSlot } from '../../emulator/slot.ts';
import type { Vcpu } from '../../emulator/vcpu.ts';
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
      this.active = undefined;
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
    if (this.active !== undefined) releaseGrant(call.host, this.active, this.isReadonly);
  }
}

interface Buffers {
  readonly source: Buffer;
  readonly dest: Buffer;
}

const buffersOf = defineSlot<Vcpu, Buffers>(() => ({ source: new Buffer(true), dest: new Buffer(false) }), {
  name: 'grant_table.copy_buffers',
  isTransient: true,
});

/** One element of a batch, in the struct; the status, or RESTART. */
export function copy(call: Call): number {
  const buffers = buffersOf.of(call.vcpu);
  const status = copyOne(call, buffers);
  if (status !== GNTST.okay) releasePages(call, buffers);
  return status;
}

/** Lets go of what the batch's last elements used. */
export function endCopies(call: Call): void {
  const buffers = buffersOf.of(call.vcpu);
  releasePages(call, buffers);
  buffers.source.domain = undefined;
  buffers.dest.domain = undefined;
}

function releasePages(call: Call, { source, dest }: Buffers): void {
  source.release(call);
  dest.release(call);
}

function nameAt(offset: number, isGrant: boolean): number {
  const low = structView.getUint32(offset, true);
  return isGrant ? low : structView.getUint32(offset + 4, true) * 2 ** 32 + low;
}

function copyOne(call: Call, buffers: Buffers): number {
  const half = (offset: number): number => structView.getUint16(offset, true);
  const sourceDomid = half(SOURCE + DOMID);
  const destDomid = half(DEST + DOMID);
  const flags = half(FLAGS);
  const fromGrant = (flags & GNTCOPY_source_gref) !== 0;
  const toGrant = (flags & GNTCOPY_dest_gref) !== 0;
  const from = buffers.source;
  const to = buffers.dest;
  if (from.domain === undefined || to.domain === undefined || from.domid !== sourceDomid || to.domid !== destDomid) {
    releasePages(call, buffers);
    from.domain = undefined;
    to.domain = undefined;
    const status = from.findDomain(call, sourceDomid) || to.findDomain(call, destDomid);
    if (status !== GNTST.okay) {
      from.domain = undefined;
      return status;
    }
  }
  const status = from.claim(call, nameAt(SOURCE + U, fromGrant), fromGrant) || to.claim(call, nameAt(DEST + U, toGrant), toGrant);
  if (status !== GNTST.okay) return status;
  const start = half(SOURCE + OFFSET);
  const target = half(DEST + OFFSET);
  const size = half(LEN);
  if (start + size > PAGE_SIZE || target + size > PAGE_SIZE) return GNTST.bad_copy_arg;
  if (!from.contains(start, size) || !to.contains(target, size)) return GNTST.general_error;
  copyBytes(call, from.mfn * PAGE_SIZE + start, to.mfn * PAGE_SIZE + target, size);
  return GNTST.okay;
}

/** As Xen's memcpy, eight bytes at a time and then single ones, which shows where the ranges overlap. */
function copyBytes({ host: { memory } }: Call, from: number, to: number, size: number): void {
  const { bytes, view } = memory;
  if (to <= from || to >= from + size) {
    bytes.copyWithin(to, from, from + size);
  } else {
    let done = 0;
    for (; done + 8 <= size; done += 8) {
      const low = view.getUint32(from + done, true);
      const high = view.getUint32(from + done + 4, true);
      view.setUint32(to + done, low, true);
      view.setUint32(to + done + 4, high, true);
    }
    for (; done < size; done++) bytes[to + done] = bytes[from + done]!;
  }
  memory.written(to, size);
}
