/**
 * The hypercalls with which a PV64 kernel sets up its virtual CPU: virtual IDT, callbacks, GDT, stacks, segment bases,
 * debug registers (xen:arch/x86/pv/callback.c, descriptor-tables.c, misc-hypercalls.c). They act on the calling vCPU.
 */
import { setGdt } from '../../emulator/memory/descriptor_mapping.ts';
import { PAGE_SHIFT, PAGE_SIZE } from '../../emulator/memory/machine_memory.ts';
import { PGT_seg_desc_page, PGT_writable_page } from '../../emulator/memory/page_type.ts';
import { getPageAndType, putPageAndType } from '../../emulator/memory/page_types.ts';
import { FIRST_RESERVED_GDT_ENTRY, sanitizeDescriptor } from '../../emulator/memory/segment_descriptor.ts';
import * as abi from '../abi/arch_xen.ts';
import * as callbackAbi from '../abi/callback.ts';
import { nmi_op } from '../abi/nmi.ts';
import { arch_shared_info, shared_info } from '../abi/xen.ts';
import type { Call } from '../call.ts';
import { copyFromGuest } from '../guest_memory.ts';
import { implement } from '../implement.ts';
import { isCanonical } from './canonical.ts';
import { readDebugRegister, writeDebugRegister } from './debug_registers.ts';
import { hypercallIret } from './iret.ts';
import { MSR_FS_BASE, MSR_GS_BASE, MSR_SHADOW_GS_BASE } from './mode.ts';
import { loadDataSegment } from './segment_load.ts';
import { FLAT_KERNEL_CS, fixupSelector, nullSegment } from './selectors.ts';
import { CR0_TS, pvVcpu, TI_IF, type TrapInfo } from './state.ts';

const VECTOR_NMI = 2;
const NMI_REASON = shared_info.offset.arch + arch_shared_info.offset.nmi_reason;

function clear(entry: TrapInfo): void {
  entry.flags = 0;
  entry.cs = 0;
  entry.address = 0n;
}

const trapBytes = new Uint8Array(abi.trap_info.size);
const trapView = new DataView(trapBytes.buffer);

const setTrapTable = implement(abi.set_trap_table, ({ host, vcpu }, { traps }) => {
  const { trapTable } = pvVcpu.of(vcpu);
  if (traps === 0n) {
    trapTable.forEach(clear);
    return;
  }
  for (let vaddr = traps; ; vaddr += BigInt(abi.trap_info.size)) {
    if (!copyFromGuest(host, vaddr, trapBytes)) return 'EFAULT';
    const { vector, flags, cs, address } = abi.trap_info.read(trapView, 0);
    if (address === 0n) return;
    if (!isCanonical(address)) return 'EINVAL';
    Object.assign(trapTable[vector]!, { flags, cs: fixupSelector(cs), address });
  }
});

/** An NMI that shared_info tells of, which may have come before there was a handler, comes again. */
function registerNmi({ host, vcpu }: Call, address: bigint): 'EINVAL' | undefined {
  if (!isCanonical(address)) return 'EINVAL';
  if (vcpu.id === 0 && host.memory.view.getBigUint64(vcpu.domain.sharedInfoMfn * PAGE_SIZE + NMI_REASON, true) !== 0n) {
    pvVcpu.of(vcpu).nmiPending = true;
  }
  Object.assign(pvVcpu.of(vcpu).trapTable[VECTOR_NMI]!, { flags: TI_IF, cs: FLAT_KERNEL_CS, address });
  return undefined;
}

function registerCallback(call: Call, type: number, flags: number, address: bigint): 'EINVAL' | 'ENOSYS' | undefined {
  if (!isCanonical(address)) return 'EINVAL';
  const pv = pvVcpu.of(call.vcpu);
  const masksEvents = (flags & callbackAbi.CALLBACKF_mask_events) !== 0;
  switch (type) {
    case callbackAbi.CALLBACKTYPE_event:
      pv.event.address = address;
      return undefined;
    case callbackAbi.CALLBACKTYPE_failsafe:
      Object.assign(pv.failsafe, { address, masksEvents });
      return undefined;
    case callbackAbi.CALLBACKTYPE_syscall:
      Object.assign(pv.syscall, { address, masksEvents });
      return undefined;
    case callbackAbi.CALLBACKTYPE_syscall32:
      Object.assign(pv.syscall32, { address, masksEvents });
      return undefined;
    case callbackAbi.CALLBACKTYPE_sysenter:
      Object.assign(pv.sysenter, { address, masksEvents });
      return undefined;
    case callbackAbi.CALLBACKTYPE_nmi:
      return registerNmi(call, address);
    default:
      return 'ENOSYS';
  }
}

const callbackOp = implement(callbackAbi.callback_op, {
  register: (call, { type, flags, address }) => registerCallback(call, type, flags, address),
  unregister({ vcpu }, { type }) {
    switch (type) {
      case callbackAbi.CALLBACKTYPE_event:
      case callbackAbi.CALLBACKTYPE_failsafe:
      case callbackAbi.CALLBACKTYPE_syscall:
      case callbackAbi.CALLBACKTYPE_syscall32:
      case callbackAbi.CALLBACKTYPE_sysenter:
        return 'EINVAL';
      case callbackAbi.CALLBACKTYPE_nmi:
        clear(pvVcpu.of(vcpu).trapTable[VECTOR_NMI]!);
        return;
      default:
        return 'ENOSYS';
    }
  },
});

const setCallbacks = implement(abi.set_callbacks, (call, { event_address, failsafe_address, syscall_address }) => {
  registerCallback(call, callbackAbi.CALLBACKTYPE_event, 0, event_address);
  registerCallback(call, callbackAbi.CALLBACKTYPE_failsafe, 0, failsafe_address);
  registerCallback(call, callbackAbi.CALLBACKTYPE_syscall, 0, syscall_address);
});

const nmiOp = implement(nmi_op, {
  register_callback: (call, { handler_address }) => registerNmi(call, handler_address),
  unregister_callback({ vcpu }) {
    clear(pvVcpu.of(vcpu).trapTable[VECTOR_NMI]!);
  },
});

const frameBytes = new Uint8Array(16 * 8);
const frameView = new DataView(frameBytes.buffer);

const setGdtCall = implement(abi.set_gdt, ({ host, vcpu }, { frame_list, entries }) => {
  if (entries > FIRST_RESERVED_GDT_ENTRY) return 'EINVAL';
  const count = Math.ceil(entries / 512);
  if (count > 0 && !copyFromGuest(host, frame_list, frameBytes, 0, count * 8)) return 'EFAULT';
  const frames = Array.from({ length: count }, (_, i) => Number(frameView.getBigUint64(i * 8, true)));
  return setGdt(host.memory, vcpu, frames, entries) === undefined ? undefined : 'EINVAL';
});

const stackSwitch = implement(abi.stack_switch, ({ vcpu }, { ss, esp }) => {
  const pv = pvVcpu.of(vcpu);
  pv.kernelSs = fixupSelector(Number(ss & 0xffffn));
  pv.kernelSp = esp;
});

const fpuTaskswitch = implement(abi.fpu_taskswitch, ({ host, vcpu }, { set }) => {
  pvVcpu.of(vcpu).hasTaskSwitched = set !== 0;
  host.cpu.cr0 = set !== 0 ? host.cpu.cr0 | CR0_TS : host.cpu.cr0 & ~CR0_TS;
});

const setDebugreg = implement(abi.set_debugreg, ({ host, vcpu }, { reg, value }) => writeDebugRegister(host, vcpu, reg, value));
const getDebugreg = implement(abi.get_debugreg, ({ host, vcpu }, { reg }) => readDebugRegister(host, vcpu, reg) ?? 'ENODEV');

const updateDescriptor = implement(abi.update_descriptor, ({ host, domain }, { ma, desc }) => {
  const { memory } = host;
  const mfn = Number(ma >> BigInt(PAGE_SHIFT));
  const descriptor = sanitizeDescriptor(desc);
  if (ma & 7n || descriptor === undefined || !memory.isFrame(mfn) || memory.owner[mfn] !== domain.id) return 'EINVAL';
  const type = memory.typeOf(mfn) === PGT_seg_desc_page ? PGT_seg_desc_page : PGT_writable_page;
  if (getPageAndType(memory, mfn, type, domain.id) !== undefined) return 'EINVAL';
  memory.view.setBigUint64(Number(ma), descriptor, true);
  memory.written(Number(ma), 8);
  putPageAndType(memory, mfn);
  return;
});

const setSegmentBase = implement(abi.set_segment_base, ({ host, vcpu }, { which, base }) => {
  const { cpu } = host;
  switch (which) {
    case abi.SEGBASE_FS:
    case abi.SEGBASE_GS_USER:
    case abi.SEGBASE_GS_KERNEL: {
      if (!isCanonical(base)) return 'EINVAL';
      cpu.writeMsr(which === abi.SEGBASE_FS ? MSR_FS_BASE : which === abi.SEGBASE_GS_USER ? MSR_SHADOW_GS_BASE : MSR_GS_BASE, base);
      return;
    }
    case abi.SEGBASE_GS_USER_SEL: {
      const asked = Number(base & 0xffffn);
      const segment = asked > 3 ? loadDataSegment(host, vcpu, asked | 3) : nullSegment(asked);
      const kernelBase = cpu.readMsr(MSR_GS_BASE)!;
      cpu.writeMsr(MSR_SHADOW_GS_BASE, segment?.base ?? 0n);
      cpu.setSegment('gs', { ...(segment ?? nullSegment(0)), base: kernelBase });
      return;
    }
    default:
      return 'EINVAL';
  }
});

const iret = implement(abi.iret, (call) => hypercallIret(call));

export const pvCpu = [
  setTrapTable,
  setGdtCall,
  stackSwitch,
  setCallbacks,
  fpuTaskswitch,
  setDebugreg,
  getDebugreg,
  updateDescriptor,
  iret,
  setSegmentBase,
  nmiOp,
  callbackOp,
];
