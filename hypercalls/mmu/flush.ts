/** TLB flushes that a guest asks for, and the vCPU masks that say where. What is not for the caller alone is for all. */
import type { Call } from '../call.ts';
import { readU64 } from '../guest_memory.ts';

/** The mask at `bitmap`: read as far as there are vCPUs; undefined when it cannot be read. */
export function hasVcpuInMask(call: Call, bitmap: bigint): boolean | undefined {
  const count = call.domain.vcpus.length;
  let isAny = false;
  for (let first = 0; first < count; first += 64) {
    const word = readU64(call.host, BigInt.asUintN(64, bitmap + BigInt(first / 8)));
    if (word === undefined) return undefined;
    const valid = count - first >= 64 ? word : word & ((1n << BigInt(count - first)) - 1n);
    if (valid !== 0n) isAny = true;
  }
  return isAny;
}

/** Of the calling vCPU alone. */
export function flushOwnTlb(call: Call): void {
  call.host.cpu.flushTlb({ global: true });
}

export function flushTlbs(call: Call): void {
  call.host.memory.flushTlbs();
}

/** `isLocal`: of the calling vCPU alone. */
export function flushPage(call: Call, vaddr: bigint, isLocal: boolean): void {
  call.host.cpu.flushTlbPage(vaddr, !isLocal);
}
