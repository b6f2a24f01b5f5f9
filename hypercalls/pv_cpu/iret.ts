/**
 * Hypercall iret: how a PV64 kernel returns from an upcall, to itself or to user mode (xen:arch/x86/pv/iret.c). The frame
 * is on the kernel's stack; its CS and SS are only loaded on the way out, where a bad one becomes the failsafe callback.
 */
import { R11, RCX, RSP } from '../../emulator/cpu/interface.ts';
import { pvCr3 } from '../../emulator/memory/pv_cr3.ts';
import { iret_context, VGCF_in_syscall } from '../abi/arch_xen.ts';
import type { Call } from '../call.ts';
import { copyFromGuest } from '../guest_memory.ts';
import { hasArchitecturalIopl, toggleGuestMode } from './mode.ts';
import { fixupSelector } from './selectors.ts';
import { pvVcpu } from './state.ts';
import { setUpcallMask } from './vcpu_info.ts';

const RFLAGS_IF = 0x200n;
const RFLAGS_IOPL = 0x3000n;
/** Bits that a frame may set; VM and IOPL may not, reserved ones read as they are. */
const RFLAGS_FROM_FRAME = 0x25_4dd5n;
const RFLAGS_ALWAYS = RFLAGS_IF | 2n;

const bytes = new Uint8Array(iret_context.size);
const view = new DataView(bytes.buffer);

/** The value for RAX. */
export function hypercallIret({ host, vcpu }: Call): bigint {
  const { cpu } = host;
  const { gpr } = cpu;
  const pv = pvVcpu.of(vcpu);
  if (!copyFromGuest(host, gpr[RSP]!, bytes)) {
    host.crash(vcpu.domain, 'fault while reading the IRET context from the guest stack');
    return 0n;
  }
  const frame = iret_context.read(view, 0);
  const cs = Number(frame.cs & 0xffffn);
  if ((cs & 3) === 3) {
    if (pvCr3.of(vcpu).userMfn === 0) {
      host.crash(vcpu.domain, 'guest switching to user mode with no user page tables');
      return 0n;
    }
    toggleGuestMode(host, vcpu);
  }
  if (hasArchitecturalIopl(vcpu)) pv.iopl = Number(frame.rflags & RFLAGS_IOPL);

  cpu.rip = frame.rip;
  gpr[RSP] = frame.rsp;
  cpu.rflags = (frame.rflags & RFLAGS_FROM_FRAME) | RFLAGS_ALWAYS;
  pv.returnSelectors = { cs: fixupSelector(cs), ss: fixupSelector(Number(frame.ss & 0xffffn)) };
  pv.hasReturnSaved = false;
  if (!(frame.flags & BigInt(VGCF_in_syscall))) {
    pv.returnsBySysret = false;
    gpr[R11] = frame.r11;
    gpr[RCX] = frame.rcx;
  }
  setUpcallMask(host, vcpu, frame.rflags & RFLAGS_IF ? 0 : 1);
  pv.nmiMasked = false;
  return frame.rax;
}
