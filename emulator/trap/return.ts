/**
 * The way back into a PV64 guest (xen entry.S test_all_events, restore_all_guest): first what is pending is bounced, then
 * the CPU leaves by SYSRET or IRET. An IRET whose selectors or RIP would fault becomes the failsafe callback.
 */
import { isCanonical } from '../../hypercalls/pv_cpu/canonical.ts';
import { loadCodeSegment, loadStackSegment } from '../../hypercalls/pv_cpu/segment_load.ts';
import { FLAT_RING3_CS32, FLAT_RING3_CS64, FLAT_RING3_SS64, flatSegment, SEGMENT_L } from '../../hypercalls/pv_cpu/selectors.ts';
import { type PvVcpu, pvVcpu, type ReturnSelectors } from '../../hypercalls/pv_cpu/state.ts';
import { isUpcallPending, upcallMask } from '../../hypercalls/pv_cpu/vcpu_info.ts';
import { type Cpu, R11, RCX } from '../cpu/interface.ts';
import type { Vcpu } from '../vcpu.ts';
import { bounce, injectNmi } from './bounce.ts';
import { hex, type TrapHost } from './trap_host.ts';

/** Makes the core ready for the vCPU's next instruction; the domain may be shut down instead. */
export function returnToGuest(host: TrapHost, vcpu: Vcpu): void {
  const pv = pvVcpu.of(vcpu);
  while (vcpu.domain.shutdownReason === undefined) {
    if (pv.nmiPending && !pv.nmiMasked) {
      injectNmi(host, vcpu);
    } else if (isUpcallPending(host, vcpu) && upcallMask(host, vcpu) === 0) {
      host.traceTrap?.(vcpu, `event at ${hex(host.cpu.rip)} -> ${hex(pv.event.address)}`);
      if (!bounce(host, vcpu, pv.event)) crashWithout(host, vcpu, 'event');
    } else if (leave(host, vcpu, pv)) {
      return;
    } else {
      host.traceTrap?.(vcpu, `failsafe: iret to ${pv.returnSelectors?.cs.toString(16)}:${hex(host.cpu.rip)} would fault`);
      if (!bounce(host, vcpu, { ...pv.failsafe, isFailsafe: true })) crashWithout(host, vcpu, 'failsafe');
    }
  }
}

function crashWithout(host: TrapHost, vcpu: Vcpu, callback: string): void {
  if (vcpu.domain.shutdownReason === undefined) host.crash(vcpu.domain, `no ${callback} callback is registered`);
}

/** False: the IRET would fault; nothing was loaded. */
function leave(host: TrapHost, vcpu: Vcpu, pv: PvVcpu): boolean {
  const { cpu } = host;
  if (pv.returnsBySysret && isCanonical(cpu.rip)) {
    sysret(cpu, pv.returnSelectors);
  } else if (pv.returnsBySysret || pv.returnSelectors !== undefined) {
    const asked = pv.returnSelectors ?? { cs: cpu.getSegment('cs').selector, ss: cpu.getSegment('ss').selector };
    if (!iret(host, vcpu, asked)) {
      pv.returnsBySysret = false;
      return false;
    }
  }
  pv.returnsBySysret = false;
  pv.returnSelectors = undefined;
  return true;
}

function sysret(cpu: Cpu, asked: ReturnSelectors | undefined): void {
  if (asked !== undefined) {
    cpu.setSegment('cs', flatSegment(asked.cs === FLAT_RING3_CS32 ? FLAT_RING3_CS32 : FLAT_RING3_CS64));
    cpu.setSegment('ss', flatSegment(FLAT_RING3_SS64));
  }
  cpu.gpr[RCX] = cpu.rip;
  cpu.gpr[R11] = cpu.rflags;
}

function iret(host: TrapHost, vcpu: Vcpu, { cs, ss }: ReturnSelectors): boolean {
  const { cpu } = host;
  const code = loadCodeSegment(host, vcpu, cs);
  if (code === undefined) return false;
  const is64 = (code.attributes & SEGMENT_L) !== 0;
  if (is64 ? !isCanonical(cpu.rip) : Number(cpu.rip & 0xffff_ffffn) > code.limit) return false;
  const stack = loadStackSegment(host, vcpu, ss);
  if (stack === undefined) return false;
  if (!is64) cpu.rip &= 0xffff_ffffn;
  cpu.setSegment('cs', code);
  cpu.setSegment('ss', stack);
  return true;
}
