/**
 * The one door to guest memory. A hypercall's pointers are vaddrs of the calling vCPU; these functions translate them
 * through its page tables, once a page, and refuse what the guest's kernel could not touch itself. They answer false
 * where Xen answers -EFAULT; what lay before the bad page has then been copied, as Xen does.
 */
import type { Host } from '../emulator/host.ts';
import { PAGE_SIZE } from '../emulator/memory/machine_memory.ts';
import { type Call, type CallRecord, copyWords, structBytes, structHalfwords, structWords } from './call.ts';

/** Up to here a loop is faster than a view of the bytes. */
const SMALL = 128;
/** A vaddr's halves: no bigint is computed with. */
const vaddr64 = new BigUint64Array(1);
const halves = new Int32Array(vaddr64.buffer);

/** `[0x800000000000, 0xffff880000000000)`: non-canonical, or ring -1's own (xen:include/asm/x86_64/uaccess.h access_ok). */
export function isGuestAddress(vaddr: bigint): boolean {
  vaddr64[0] = vaddr;
  return isGuestHigh(halves[1]!);
}

/** By the upper half. */
const isGuestHigh = (upper: number): boolean => upper < 0x8000 && upper >= -0x7800;

/** Whether Xen would start an access at `vaddr` at all; a PVH guest's page tables alone decide. */
const isAllowed = (host: Host, vaddr: bigint): boolean => !host.current.domain.isPv || isGuestAddress(vaddr);

/** Where the walk over the pages of an access is: one at a time, nothing in here calls back. */
let low = 0;
let high = 0;
let isPv = true;

/** Goes to `vaddr + displacement`; false where no access may start. */
function seek(host: Host, vaddr: bigint, displacement: number): boolean {
  vaddr64[0] = vaddr;
  return seekHalves(host, halves[0]!, halves[1]!, displacement);
}

function seekHalves(host: Host, vaddrLow: number, vaddrHigh: number, displacement: number): boolean {
  low = (vaddrLow + displacement) | 0;
  high = (vaddrLow >>> 0) + displacement < 2 ** 32 ? vaddrHigh : (vaddrHigh + Math.floor(((vaddrLow >>> 0) + displacement) / 2 ** 32)) | 0;
  isPv = host.current.domain.isPv;
  return !isPv || isGuestHigh(high);
}

function forward(size: number): void {
  low = (low + size) | 0;
  if (low >>> 0 < size) high = (high + 1) | 0;
}

const untilPageEnd = (left: number): number => Math.min(left, PAGE_SIZE - (low & (PAGE_SIZE - 1)));

function place(host: Host, access: 'read' | 'write'): number {
  const maddr = host.cpu.place(low, high, access, isPv);
  return maddr < host.memory.bytes.length ? maddr : -1;
}

/** Copies between the guest's bytes from where `seek` went and `bytes[offset, offset + size)`, page by page. */
function copy(host: Host, access: 'read' | 'write', bytes: Uint8Array, offset: number, size: number): boolean {
  const ram = host.memory.bytes;
  for (let done = 0; done < size; ) {
    const inPage = untilPageEnd(size - done);
    const maddr = place(host, access);
    if (maddr < 0) return false;
    if (access === 'read') {
      move(ram, maddr, bytes, offset + done, inPage);
    } else {
      move(bytes, offset + done, ram, maddr, inPage);
      host.memory.written(maddr, inPage);
    }
    done += inPage;
    forward(inPage);
  }
  return true;
}

function move(from: Uint8Array, start: number, to: Uint8Array, at: number, size: number): void {
  if (size <= SMALL) for (let i = 0; i < size; i++) to[at + i] = from[start + i]!;
  else to.set(from.subarray(start, start + size), at);
}

/** Copies `size` bytes from `vaddr + displacement` to `target[offset...]`. */
export function copyFromGuest(
  host: Host,
  vaddr: bigint,
  target: Uint8Array,
  offset = 0,
  size = target.length - offset,
  displacement = 0,
): boolean {
  return seek(host, vaddr, displacement) && copy(host, 'read', target, offset, size);
}

/** Copies `source[offset, offset + size)` to `vaddr + displacement`. */
export function copyToGuest(
  host: Host,
  vaddr: bigint,
  source: Uint8Array,
  offset = 0,
  size = source.length - offset,
  displacement = 0,
): boolean {
  return seek(host, vaddr, displacement) && copy(host, 'write', source, offset, size);
}

/** The upper half of an address whose lower half is `at`, behind one in halves: compared by signs, as V8 makes unsigned numbers doubles. */
const highAt = (at: number, vaddrLow: number, vaddrHigh: number): number =>
  (at ^ SIGN) < (vaddrLow ^ SIGN) ? (vaddrHigh + 1) | 0 : vaddrHigh;
const SIGN = -(2 ** 31);

/**
 * The maddr of a struct at a vaddr in halves and `displacement` (below 2^31), to be read and written where it lies, until the guest's page
 * tables may have changed; -1: it does not lie in one page, or the guest may not write there.
 */
export function placeStruct(host: Host, vaddrLow: number, vaddrHigh: number, displacement: number, size: number): number {
  const at = (vaddrLow + displacement) | 0;
  const atHigh = highAt(at, vaddrLow, vaddrHigh);
  const isOfPv = host.current.domain.isPv;
  if ((at & (PAGE_SIZE - 1)) + size > PAGE_SIZE || (isOfPv && !isGuestHigh(atHigh))) return -1;
  return host.cpu.place(at, atHigh, 'write', isOfPv);
}

/** What `readStruct` answers if it could not. */
export const UNREADABLE = -2;
/** A struct lies where no KnownPlaces has said. */
export const ANYWHERE = -1;

/**
 * Fills the struct of call.ts from a vaddr in halves and `displacement`, and perhaps some of what is behind it. Says where it
 * lies among the known places, ANYWHERE or UNREADABLE.
 */
export function readStruct(call: Call, vaddrLow: number, vaddrHigh: number, displacement: number, size: number): number {
  const { known } = call;
  const low = (vaddrLow + displacement) | 0;
  const at = size & 3 ? ANYWHERE : known.find(low, highAt(low, vaddrLow, vaddrHigh), size);
  if (at < 0) return readStructAnywhere(call, vaddrLow, vaddrHigh, displacement, size);
  copyWords(structWords, 0, known.words, at, size >> 2);
  return at;
}

function readStructAnywhere({ host }: Call, vaddrLow: number, vaddrHigh: number, displacement: number, size: number): number {
  return seekHalves(host, vaddrLow, vaddrHigh, displacement) && copy(host, 'read', structBytes, 0, size) ? ANYWHERE : UNREADABLE;
}

/** The same of a call's own struct, which its record keeps. */
export function takeStruct(call: Call, record: CallRecord, vaddrLow: number, vaddrHigh: number, size: number): number {
  const { known } = call;
  const at = size & 3 ? ANYWHERE : known.find(vaddrLow, vaddrHigh, size);
  if (at < 0) return takeStructAnywhere(call, record, vaddrLow, vaddrHigh, size);
  record.takeStruct(known.words, at, size >> 2);
  return at;
}

function takeStructAnywhere(call: Call, record: CallRecord, vaddrLow: number, vaddrHigh: number, size: number): number {
  const at = readStructAnywhere(call, vaddrLow, vaddrHigh, 0, size);
  if (at === ANYWHERE) record.keepStruct(0, size);
  return at;
}

/** Copies the struct's bytes `[start, end)` to where they belong in the guest's at a vaddr in halves and `displacement`. */
export function writeStruct(
  { host }: Call,
  vaddrLow: number,
  vaddrHigh: number,
  displacement: number,
  start: number,
  end: number,
): boolean {
  return seekHalves(host, vaddrLow, vaddrHigh, displacement + start) && copy(host, 'write', structBytes, start, end - start);
}

/** The same to a place where it is known to lie; of half words. */
export function putStruct({ known }: Call, at: number, start: number, end: number): void {
  const { words, halfwords } = known;
  let word = (start + 3) >> 2;
  if (start & 2) halfwords[2 * (at + word) - 1] = structHalfwords[2 * word - 1]!;
  for (; word < end >> 2; word++) words[at + word] = structWords[word]!;
  if (end & 2) halfwords[2 * (at + word)] = structHalfwords[2 * word]!;
}

const scalarBytes = new Uint8Array(8);
const scalarView = new DataView(scalarBytes.buffer);

/** One `uint32_t` of the guest's, undefined when it cannot be read. */
export function readU32(host: Host, vaddr: bigint): number | undefined {
  return copyFromGuest(host, vaddr, scalarBytes, 0, 4) ? scalarView.getUint32(0, true) : undefined;
}

/** One `uint64_t` of the guest's, undefined when it cannot be read. */
export function readU64(host: Host, vaddr: bigint): bigint | undefined {
  return copyFromGuest(host, vaddr, scalarBytes, 0, 8) ? scalarView.getBigUint64(0, true) : undefined;
}

export function writeU32(host: Host, vaddr: bigint, value: number): boolean {
  scalarView.setUint32(0, value, true);
  return copyToGuest(host, vaddr, scalarBytes, 0, 4);
}

export function writeU64(host: Host, vaddr: bigint, value: bigint): boolean {
  scalarView.setBigUint64(0, value, true);
  return copyToGuest(host, vaddr, scalarBytes, 0, 8);
}

/**
 * guest_handle_okay: whether an array of `count` elements may lie at `vaddr`. Only the range is judged, so that -EFAULT
 * comes before any effect; the pages are looked at when they are copied.
 */
export function isGuestArray(host: Host, vaddr: bigint, count: number, elementSize: number): boolean {
  return isAllowed(host, vaddr) && Number.isSafeInteger(count * elementSize);
}

/** The same of a vaddr with this upper half, for a count that is no bigger than 32 bits. */
export function isGuestArrayAt(host: Host, vaddrHigh: number): boolean {
  return isGuestHigh(vaddrHigh) || !host.current.domain.isPv;
}
