/**
 * I/O ports as a PV domain sees them: there are none. Reads give ones, writes go nowhere; only the two index registers
 * that Xen keeps itself, CMOS and PCI configuration, read back (xen:arch/x86/pv/emul-priv-op.c guest_io_read).
 */
import { pvVcpu } from '../../hypercalls/pv_cpu/state.ts';
import type { Domain } from '../domain.ts';
import type { Host } from '../host.ts';
import { pvCr3 } from '../memory/pv_cr3.ts';
import { defineSlot } from '../slot.ts';
import type { Vcpu } from '../vcpu.ts';

export type PortSize = 1 | 2 | 4;

const CMOS_INDEX = 0x70;
const CMOS_DATA = 0x71;
const PCI_CONFIG_ADDRESS = 0xcf8;

const ports = defineSlot<Domain, { cmosIndex: number; pciConfigAddress: number }>(() => ({ cmosIndex: 0, pciConfigAddress: 0 }), {
  name: 'trap.ports',
});

export function readPort(domain: Domain, port: number, size: PortSize): number {
  const state = ports.of(domain);
  if (port === PCI_CONFIG_ADDRESS && size === 4) return state.pciConfigAddress;
  let value = 0;
  for (let i = 0; i < size; i++) value |= (port + i === CMOS_INDEX ? state.cmosIndex : 0xff) << (8 * i);
  return value >>> 0;
}

export function writePort(domain: Domain, port: number, size: PortSize, value: number): void {
  const state = ports.of(domain);
  if (port === PCI_CONFIG_ADDRESS && size === 4) state.pciConfigAddress = value >>> 0;
  else for (let i = 0; i < size; i++) if (port + i === CMOS_INDEX) state.cmosIndex = (value >>> (8 * i)) & 0xff;
}

/** Those that Xen keeps to itself even from the initial domain, which otherwise reaches the machine's own. */
export const isKeptPort = (port: number, size: PortSize): boolean =>
  port === PCI_CONFIG_ADDRESS ? size === 4 : port <= CMOS_DATA && port + size > CMOS_INDEX;

/** Whether the guest gave itself the ports: by its virtual IOPL, or by the I/O bitmap that its kernel named. */
export function mayUsePort(host: Host, vcpu: Vcpu, isIoplEnough: boolean, port: number, size: PortSize): boolean {
  const pv = pvVcpu.of(vcpu);
  if (isIoplEnough) return true;
  if (port + size > pv.iobmpLimit) return false;
  const denied = (bitmapByte(host, vcpu, pv.iobmp, port >>> 3) | (bitmapByte(host, vcpu, pv.iobmp, (port >>> 3) + 1) << 8)) >>> (port & 7);
  return (denied & ((1 << size) - 1)) === 0;
}

/** A byte that cannot be read denies. The bitmap is the kernel's, whatever mode asks. */
function bitmapByte(host: Host, vcpu: Vcpu, base: bigint, index: number): number {
  const { cpu } = host;
  const active = cpu.cr3;
  const kernel = BigInt(pvCr3.of(vcpu).kernelMfn) << 12n;
  if (active !== kernel) cpu.cr3 = kernel;
  const vaddr = base + BigInt(index);
  const maddr = cpu.place(Number(BigInt.asIntN(32, vaddr)), Number(BigInt.asIntN(32, vaddr >> 32n)), 'read', true);
  if (active !== kernel) cpu.cr3 = active;
  return maddr < 0 ? 0xff : host.memory.bytes[maddr]!;
}

/** Enabled I/O breakpoints that `[port, port + size)` hits, as DR6 bits. */
export function ioBreakpoints(host: Host, vcpu: Vcpu, port: number, size: PortSize): number {
  const { dr7, dr7Emulated } = pvVcpu.of(vcpu);
  if (dr7Emulated === 0) return 0;
  let hit = 0;
  for (let i = 0; i < 4; i++) {
    if (!((dr7Emulated >>> (2 * i)) & 3)) continue;
    const width = [1, 2, 8, 4][(dr7 >>> (18 + 4 * i)) & 3]!;
    const start = Number(host.cpu.getDr(i) & 0xffff_ffffn & -BigInt(width));
    if (start < port + size && start + width > port) hit |= 1 << i;
  }
  return hit;
}
