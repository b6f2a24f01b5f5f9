/** Guest memory as its page tables have it, looked at without a trace: no accessed bit is set, no TLB entry is made. */
import type { Host } from '../host.ts';

/** The maddr of a vaddr, -1: nothing is mapped there. */
export function maddrOf(host: Host, vaddr: bigint): number {
  const translation = host.cpu.translate(BigInt.asUintN(64, vaddr), 'read');
  return translation.ok && translation.maddr < host.memory.bytes.length ? translation.maddr : -1;
}

/** As many of the bytes at `vaddr` as are mapped. */
export function peek(host: Host, vaddr: bigint, size: number): Uint8Array {
  const bytes = new Uint8Array(size);
  let maddr = -1;
  for (let i = 0; i < size; i++) {
    const at = vaddr + BigInt(i);
    maddr = i === 0 || (at & 0xfffn) === 0n ? maddrOf(host, at) : maddr + 1;
    if (maddr < 0) return bytes.subarray(0, i);
    bytes[i] = host.memory.bytes[maddr]!;
  }
  return bytes;
}

/** A little-endian number of `size` bytes, undefined where it is not mapped. */
export function peekNumber(host: Host, vaddr: bigint, size: 4 | 8): bigint | undefined {
  const bytes = peek(host, vaddr, size);
  if (bytes.length < size) return undefined;
  const view = new DataView(bytes.buffer);
  return size === 4 ? BigInt(view.getUint32(0, true)) : view.getBigUint64(0, true);
}
