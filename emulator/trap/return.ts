/**
 * The way back into a PV64 guest (xen entry.S test_all_events, restore_all_guest): first what is pending is bounced, then
 * the CPU leaves by SYSRET or IRET. What an IRET would fault on becomes that exception of the guest, as if its first
 * instruction there had raised it.
 */
import { isCanonical } from '../../hypercalls/pv_cpu/canonical.ts';
import { loadCodeSegment, loadDataSegment, loadStackSegment, type SegmentFault } from '../../hypercalls/pv_cpu/segment_load.ts';
import {
  FLAT_RING3_CS32,
  FLAT_RING3_CS64,
  FLAT_RING3_SS64,
  flatSegment,
  nullSegment,
  SEGMENT_L,
} from '../../hypercalls/pv_cpu/selectors.ts';
import { type PvVcpu, pvVcpu, type ReturnSelectors } from '../../hypercalls/pv_cpu/state.ts';
import { isUpcallDue } from '../../hypercalls/pv_cpu/vcpu_info.ts';
import type { Cpu } from '../cpu/interface.ts';
import type { Vcpu } from '../vcpu.ts';
import { DR6_BS, enter, inject, injectDebug, injectNmi, RFLAGS_TF } from './bounce.ts';
import { emulatePrivileged } from './privileged.ts';
import type { TrapHost } from './trap_host.ts';

const VECTOR_GP = 13;
const DATA_SEGMENTS = ['ds', 'es', 'fs', 'gs'] as const;
const GP_0: SegmentFault = { vector: VECTOR_GP, errorCode: 0 };

/** Makes the core ready for the vCPU's next instruction; the domain may be shut down instead. */
export function returnToGuest(host: TrapHost, vcpu: Vcpu, pv = pvVcpu.of(vcpu)): void {
  while (vcpu.domain.shutdownReason === undefined) {
    if (pv.nmiPending && !pv.nmiMasked) {
      injectNmi(host, vcpu);
    } else if (isUpcallDue(host, vcpu)) {
      host.timeline?.upcallBegins(vcpu);
      enter(host, vcpu, 'event', pv.event);
    } else {
      const isSysret = pv.returnsBySysret && host.cpu.hasCanonicalRip;
      const fault = leave(host, vcpu, pv);
      if (fault !== undefined) {
        if (!performThere(host, vcpu, pv, fault)) inject(host, vcpu, fault.vector, fault.errorCode);
      } else if (isSysret && host.cpu.rflags & RFLAGS_TF) {
        // Unlike IRET, SYSRET traps before the first instruction there.
        injectDebug(host, vcpu, DR6_BS);
      } else {
        return;
      }
    }
  }
}

/** As for a #GP in the guest, the instruction at the place where it cannot go on may be one to perform. */
function performThere(host: TrapHost, vcpu: Vcpu, { returnSelectors }: PvVcpu, { vector, errorCode }: SegmentFault): boolean {
  const hasCode = returnSelectors === undefined || returnSelectors.cs > 3;
  return hasCode && vector === VECTOR_GP && errorCode === 0 && emulatePrivileged(host, vcpu);
}

/**
 * What `returnToGuest` does behind most system calls, where nothing is pending and RCX and R11 are what a SYSRET leaves there.
 * False: nothing is done.
 */
export function returnPlainly(host: TrapHost, vcpu: Vcpu, pv: PvVcpu): boolean {
  if (pv.returnsBySysret !== true || pv.hasReturnSaved !== true || pv.nmiPending !== false) return false;
  if (pv.returnSelectors !== undefined || isUpcallDue(host, vcpu) || !host.cpu.hasCanonicalRip) return false;
  pv.returnsBySysret = false;
  return true;
}

/**
 * The vCPU's registers came back on the core: what its tables no longer allow in DS, ES, FS or GS is cleared, and told
 * to its kernel by the failsafe callback (xen:arch/x86/domain.c load_segments).
 */
export function reloadSegments(host: TrapHost, vcpu: Vcpu): void {
  const { cpu } = host;
  if (!cpu.hasDataSegments) return;
  const lost = DATA_SEGMENTS.filter((name) => {
    const selector = cpu.getSelector(name);
    return selector > 3 && loadDataSegment(host, vcpu, selector) === undefined;
  });
  if (lost.length === 0) return;
  enter(host, vcpu, 'failsafe', { ...pvVcpu.of(vcpu).failsafe, isFailsafe: true });
  for (const name of lost) cpu.setSegment(name, nullSegment(0));
}

/** The fault that the IRET would raise; nothing was loaded then. */
function leave(host: TrapHost, vcpu: Vcpu, pv: PvVcpu): SegmentFault | undefined {
  const { cpu } = host;
  let fault: SegmentFault | undefined;
  if (pv.returnsBySysret && cpu.hasCanonicalRip) {
    sysret(cpu, pv);
  } else if (pv.returnsBySysret || pv.returnSelectors !== undefined) {
    fault = iret(host, vcpu, pv.returnSelectors ?? { cs: cpu.getSegment('cs').selector, ss: cpu.getSegment('ss').selector });
  }
  pv.returnsBySysret = false;
  if (fault === undefined) pv.returnSelectors = undefined;
  return fault;
}

function sysret(cpu: Cpu, { returnSelectors, hasReturnSaved }: PvVcpu): void {
  if (returnSelectors !== undefined) {
    cpu.setSegment('cs', flatSegment(returnSelectors.cs === FLAT_RING3_CS32 ? FLAT_RING3_CS32 : FLAT_RING3_CS64));
    cpu.setSegment('ss', flatSegment(FLAT_RING3_SS64));
  }
  if (!hasReturnSaved) cpu.saveReturn();
}

function iret(host: TrapHost, vcpu: Vcpu, { cs, ss }: ReturnSelectors): SegmentFault | undefined {
  const { cpu } = host;
  const code = loadCodeSegment(host, vcpu, cs);
  if ('vector' in code) return code;
  const is64 = (code.attributes & SEGMENT_L) !== 0;
  if (is64 ? !isCanonical(cpu.rip) : Number(cpu.rip & 0xffff_ffffn) > code.limit) return GP_0;
  const stack = loadStackSegment(host, vcpu, ss);
  if ('vector' in stack) return stack;
  if (!is64) cpu.rip &= 0xffff_ffffn;
  cpu.setSegment('cs', code);
  cpu.setSegment('ss', stack);
  // On the way to an outer ring IRET clears what is null in more than name.
  for (const name of DATA_SEGMENTS) {
    const segment = cpu.getSegment(name);
    if (segment.selector > 0 && segment.selector <= 3) cpu.setSegment(name, { ...segment, selector: 0 });
  }
  return undefined;
}
