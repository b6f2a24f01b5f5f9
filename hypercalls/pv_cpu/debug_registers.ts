/**
 * Debug registers of a PV vCPU (xen:arch/x86/pv/misc-hypercalls.c set_debugreg). DR0-3 and DR7 are the core's; an I/O
 * breakpoint is kept back, and honoured by port emulation only. Reached by hypercall and by MOV DR.
 */
import type { Host } from '../../emulator/host.ts';
import type { Vcpu } from '../../emulator/vcpu.ts';
import { isGuestAddress } from '../guest_memory.ts';
import { pvVcpu } from './state.ts';

const CR4_DE = 8n;
const DR6_RESERVED_ONE = 0xffff_0ff0n;
const DR6_WRITABLE = 0xffff_efffn;
const DR7_RESERVED_ONE = 0x400n;
const DR7_WRITABLE = 0xffff_27ffn;
const DR7_GENERAL_DETECT = 0x2000n;
const DR7_ACTIVE_MASK = 0xffn;
const DR7_TYPE_SHIFT = 16;
const DR7_TYPE_IO = 2;

/** Value of register `index`; undefined: no such register, or DR4 or DR5 with CR4.DE. */
export function readDebugRegister(host: Host, vcpu: Vcpu, index: number): bigint | undefined {
  const pv = pvVcpu.of(vcpu);
  if (index >= 0 && index <= 3) return host.cpu.getDr(index);
  if ((index === 4 || index === 5) && pv.cr4 & CR4_DE) return undefined;
  if (index === 4 || index === 6) return BigInt(pv.dr6);
  if (index === 5 || index === 7) return BigInt((pv.dr7 | pv.dr7Emulated) >>> 0);
  return undefined;
}

/** ENODEV: no such register; EINVAL: a bit that is none; EPERM: a bit or address that a guest may not use. */
export function writeDebugRegister(host: Host, vcpu: Vcpu, index: number, value: bigint): 'ENODEV' | 'EINVAL' | 'EPERM' | undefined {
  const pv = pvVcpu.of(vcpu);
  if (index < 0 || index > 7) return 'ENODEV';
  if (index <= 3) {
    if (!isGuestAddress(value)) return 'EPERM';
    host.cpu.setDr(index, value);
    return undefined;
  }
  if (index <= 5 && pv.cr4 & CR4_DE) return 'ENODEV';
  if (value > 0xffff_ffffn) return 'EINVAL';
  if (index === 4 || index === 6) {
    pv.dr6 = Number((value & DR6_WRITABLE) | DR6_RESERVED_ONE);
    host.cpu.setDr(6, BigInt(pv.dr6));
    return undefined;
  }
  const dr7 = Number((value & DR7_WRITABLE) | DR7_RESERVED_ONE);
  if (value & DR7_GENERAL_DETECT) return 'EPERM';
  let ioEnabled = 0;
  if (value & DR7_ACTIVE_MASK) {
    for (let breakpoint = 0; breakpoint < 4; breakpoint++) {
      if (((dr7 >>> (DR7_TYPE_SHIFT + breakpoint * 4)) & 3) !== DR7_TYPE_IO) continue;
      if (!(pv.cr4 & CR4_DE)) return 'EPERM';
      ioEnabled |= dr7 & (3 << (breakpoint * 2));
    }
  }
  pv.dr7Emulated = ioEnabled;
  pv.dr7 = (dr7 & ~ioEnabled) >>> 0;
  host.cpu.setDr(7, BigInt(pv.dr7));
  return undefined;
}
