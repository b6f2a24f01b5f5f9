/**
 * The one door to guest memory. A hypercall's pointers are vaddrs of the calling vCPU; these functions translate them
 * through its page tables, once a page, and refuse what the guest's kernel could not touch itself. They answer false
 * where Xen answers -EFAULT; what lay before the bad page has then been copied, as Xen does.
 */
import type { Host } from '../emulator/host.ts';

const PAGE_SIZE = 4096;
/** Up to here a loop is faster than a view of the bytes. */
const SMALL = 64;
/** A vaddr's halves: no bigint is computed with. */
const vaddr64 = new BigUint64Array(1);
const halves = new Int32Array(vaddr64.buffer);

/** `[0x800000000000, 0xffff880000000000)`: non-canonical, or ring -1's own (xen:include/asm/x86_64/uaccess.h access_ok). */
export function isGuestAddress(vaddr: bigint): boolean {
  vaddr64[0] = vaddr;
  return halves[1]! < 0x8000 && halves[1]! >= -0x7800;
}

/** Whether Xen would start an access at `vaddr` at all; a PVH guest's page tables alone decide. */
const isAllowed = (host: Host, vaddr: bigint): boolean => host.current.domain.type !== 'pv' || isGuestAddress(vaddr);

/**
 * Calls `copy` with the place of each page's part of `[vaddr, vaddr + size)`, its offset and size. False at the first page
 * that the guest could not access.
 */
function eachPage(
  host: Host,
  vaddr: bigint,
  size: number,
  access: 'read' | 'write',
  copy: (ram: Uint8Array, maddr: number, offset: number, size: number) => void,
): boolean {
  if (!isAllowed(host, vaddr)) return false;
  const isPv = host.current.domain.type === 'pv';
  const ram = host.memory.bytes;
  vaddr64[0] = vaddr;
  let low = halves[0]!;
  let high = halves[1]!;
  for (let done = 0; done < size; ) {
    const inPage = Math.min(size - done, PAGE_SIZE - (low & (PAGE_SIZE - 1)));
    const maddr = host.cpu.place(low, high, access, isPv);
    if (maddr < 0 || maddr >= ram.length) return false;
    copy(ram, maddr, done, inPage);
    done += inPage;
    low = (low + inPage) | 0;
    if (low === 0) high = (high + 1) | 0;
  }
  return true;
}

/** Copies `[vaddr, vaddr + size)` to `target[offset...]`. */
export function copyFromGuest(host: Host, vaddr: bigint, target: Uint8Array, offset = 0, size = target.length - offset): boolean {
  return eachPage(host, vaddr, size, 'read', (ram, maddr, done, inPage) => {
    if (inPage <= SMALL) for (let i = 0; i < inPage; i++) target[offset + done + i] = ram[maddr + i]!;
    else target.set(ram.subarray(maddr, maddr + inPage), offset + done);
  });
}

/** Copies `source[offset, offset + size)` to `vaddr`. */
export function copyToGuest(host: Host, vaddr: bigint, source: Uint8Array, offset = 0, size = source.length - offset): boolean {
  return eachPage(host, vaddr, size, 'write', (ram, maddr, done, inPage) => {
    if (inPage <= SMALL) for (let i = 0; i < inPage; i++) ram[maddr + i] = source[offset + done + i]!;
    else ram.set(source.subarray(offset + done, offset + done + inPage), maddr);
    host.memory.written(maddr, inPage);
  });
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
