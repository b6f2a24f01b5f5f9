/** Areas of guest memory that a vCPU registered by vaddr and that ring -1 keeps up to date, whatever page tables are loaded. */
import type { Host } from '../../emulator/host.ts';
import { findL1Entry } from '../../emulator/memory/guest_walk.ts';
import { PAGE_SIZE } from '../../emulator/memory/machine_memory.ts';
import type { Vcpu } from '../../emulator/vcpu.ts';
import { copyToGuest } from '../guest_memory.ts';

const PRESENT_AND_WRITABLE = 3n;
const FRAME_MASK = 0x000f_ffff_ffff_f000n;

/** Writes through the vCPU's kernel page tables; where they do not lead to a writable page, nothing happens (as in Xen). */
export function writeArea(host: Host, vcpu: Vcpu, vaddr: bigint, bytes: Uint8Array): void {
  if (vcpu.domain.type === 'pvh') {
    host.withRegisters(vcpu, () => copyToGuest(host, vaddr, bytes));
    return;
  }
  for (let done = 0; done < bytes.length; ) {
    const at = BigInt.asUintN(64, vaddr + BigInt(done));
    const found = findL1Entry(host.memory, vcpu, at);
    if (found === undefined || (found.entry & PRESENT_AND_WRITABLE) !== PRESENT_AND_WRITABLE) return;
    const inPage = Number(at & 0xfffn);
    const size = Math.min(bytes.length - done, PAGE_SIZE - inPage);
    const maddr = Number(found.entry & FRAME_MASK) + inPage;
    host.memory.bytes.set(bytes.subarray(done, done + size), maddr);
    host.memory.written(maddr, size);
    done += size;
  }
}
