/**
 * The one door to guest memory. A hypercall's pointers are vaddrs of the calling vCPU; these functions translate them
 * through its page tables, once a page, and refuse what the guest's kernel could not touch itself. They answer false
 * where Xen answers -EFAULT; what lay before the bad page has then been copied, as Xen does.
 */
import type { Host } from '../emulator/host.ts';

const PAGE_SIZE = 4096;

/** `[0x800000000000, 0xffff880000000000)`: non-canonical, or ring -1's own (xen:include/asm/x86_64/uaccess.h access_ok). */
export function isGuestAddress(vaddr: bigint): boolean {
  const signed = Number(BigInt.asIntN(64, vaddr));
  return signed < 0x8000_0000_0000 && signed >= -0x7800_0000_0000;
}

function maddrOf(host: Host, vaddr: bigint, access: 'read' | 'write'): number {
  const isPv = host.current.domain.type === 'pv';
  const translation = host.cpu.translate(vaddr, access, isPv);
  return translation.ok && translation.maddr < host.memory.bytes.length ? translation.maddr : -1;
}

/** Whether Xen would start an access at `vaddr` at all; a PVH guest's page tables alone decide. */
const isAllowed = (host: Host, vaddr: bigint): boolean => host.current.domain.type !== 'pv' || isGuestAddress(vaddr);

/** Copies `[vaddr, vaddr + size)` to `target[offset...]`. */
export function copyFromGuest(host: Host, vaddr: bigint, target: Uint8Array, offset = 0, size = target.length - offset): boolean {
  if (!isAllowed(host, vaddr)) return false;
  const ram = host.memory.bytes;
  for (let done = 0; done < size; ) {
    const at = BigInt.asUintN(64, vaddr + BigInt(done));
    const inPage = Math.min(size - done, PAGE_SIZE - Number(BigInt.asUintN(12, at)));
    const maddr = maddrOf(host, at, 'read');
    if (maddr < 0) return false;
    if (inPage <= 64) for (let i = 0; i < inPage; i++) target[offset + done + i] = ram[maddr + i]!;
    else target.set(ram.subarray(maddr, maddr + inPage), offset + done);
    done += inPage;
  }
  return true;
}

/** Copies `source[offset, offset + size)` to `vaddr`. */
export function copyToGuest(host: Host, vaddr: bigint, source: Uint8Array, offset = 0, size = source.length - offset): boolean {
  if (!isAllowed(host, vaddr)) return false;
  const ram = host.memory.bytes;
  for (let done = 0; done < size; ) {
    const at = BigInt.asUintN(64, vaddr + BigInt(done));
    const inPage = Math.min(size - done, PAGE_SIZE - Number(BigInt.asUintN(12, at)));
    const maddr = maddrOf(host, at, 'write');
    if (maddr < 0) return false;
    if (inPage <= 64) for (let i = 0; i < inPage; i++) ram[maddr + i] = source[offset + done + i]!;
    else ram.set(source.subarray(offset + done, offset + done + inPage), maddr);
    host.memory.written(maddr, inPage);
    done += inPage;
  }
  return true;
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
