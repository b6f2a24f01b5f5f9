/**
 * GNTTABOP_copy: bytes within a page, from and to frames of the caller's own or granted ones. A page stays pinned from
 * one element of a batch to the next that uses it (xen:common/grant_table.c gnttab_copy).
 */
import type { Domain } from '../../emulator/domain.ts';
import { PGT_writable_page } from '../../emulator/memory/page_type.ts';
import { getPageType, putPageAndType } from '../../emulator/memory/page_types.ts';
import { defineSlot } from '../../emulator/slot.ts';
import type { Vcpu } from '../../emulator/vcpu.ts';
import { GNTCOPY_dest_gref, GNTCOPY_source_gref, GNTST } from '../abi/grant_table.ts';
import { DOMID_SELF } from '../abi/xen.ts';
import type { Call } from '../call.ts';
import { acquireGrant, releaseGrant } from './acquire.ts';
import { takeFrame } from './entry_access.ts';

interface Place {
  /** A grant reference (32 bits) or a frame. */
  readonly u: bigint;
  readonly domid: number;
  readonly offset: number;
}

interface CopyArgs {
  readonly source: Place;
  readonly dest: Place;
  readonly len: number;
  readonly flags: number;
}

const PAGE_SIZE = 4096;

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
  isGrant = false;
  name = 0n;

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
  claim(call: Call, name: bigint, isGrant: boolean): number {
    if (this.mfn >= 0 && this.isGrant === isGrant && this.name === name) return GNTST.okay;
    this.release(call);
    if (this.domid !== DOMID_SELF && !isGrant) return GNTST.permission_denied;
    const { memory } = call.host;
    const domain = this.domain!;
    if (isGrant) {
      const page = acquireGrant(call.host, domain, Number(name), call.domain.id, this.isReadonly);
      if (typeof page === 'number') return page;
      this.mfn = page.mfn;
      this.start = page.start;
      this.length = page.length;
    } else {
      this.mfn = name < BigInt(memory.frameCount) ? takeFrame(memory, domain, Number(name)) : -1;
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
    if (this.isGrant) releaseGrant(call.host, this.domain!, Number(this.name), this.isReadonly);
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

/** One element of a batch; the status, or RESTART. */
export function copy(call: Call, args: CopyArgs): number {
  const buffers = buffersOf.of(call.vcpu);
  const status = copyOne(call, args, buffers);
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

function nameOf({ u }: Place, isGrant: boolean): bigint {
  return isGrant ? u & 0xffff_ffffn : u;
}

function copyOne(call: Call, args: CopyArgs, buffers: Buffers): number {
  const { source, dest, len, flags } = args;
  const fromGrant = (flags & GNTCOPY_source_gref) !== 0;
  const toGrant = (flags & GNTCOPY_dest_gref) !== 0;
  const from = buffers.source;
  const to = buffers.dest;
  if (from.domain === undefined || to.domain === undefined || from.domid !== source.domid || to.domid !== dest.domid) {
    releasePages(call, buffers);
    from.domain = undefined;
    to.domain = undefined;
    const status = from.findDomain(call, source.domid) || to.findDomain(call, dest.domid);
    if (status !== GNTST.okay) {
      from.domain = undefined;
      return status;
    }
  }
  const status = from.claim(call, nameOf(source, fromGrant), fromGrant) || to.claim(call, nameOf(dest, toGrant), toGrant);
  if (status !== GNTST.okay) return status;
  if (source.offset + len > PAGE_SIZE || dest.offset + len > PAGE_SIZE) return GNTST.bad_copy_arg;
  if (!from.contains(source.offset, len) || !to.contains(dest.offset, len)) return GNTST.general_error;
  copyBytes(call, from.mfn * PAGE_SIZE + source.offset, to.mfn * PAGE_SIZE + dest.offset, len);
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
