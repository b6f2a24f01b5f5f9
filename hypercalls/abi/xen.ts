/** xen:public/xen.h and arch-x86/xen.h: what every family shares. */
import { pad, struct } from './struct.ts';
import { array, hex, i8, symbols, type Type, typedef, u8, u16, u32, u64 } from './types.ts';

export const DOMID_FIRST_RESERVED = 0x7ff0;
export const DOMID_SELF = 0x7ff0;
export const DOMID_IO = 0x7ff1;
export const DOMID_XEN = 0x7ff2;
export const DOMID_COW = 0x7ff3;
export const DOMID_INVALID = 0x7ff4;

const domainNames = new Map([
  [DOMID_SELF, 'DOMID_SELF'],
  [DOMID_IO, 'DOMID_IO'],
  [DOMID_XEN, 'DOMID_XEN'],
  [DOMID_COW, 'DOMID_COW'],
  [DOMID_INVALID, 'DOMID_INVALID'],
]);

export const domid_t = typedef('domid_t', u16, (value) => domainNames.get(value) ?? String(value));
export const xen_pfn_t = typedef('xen_pfn_t', u64, hex);
export const xen_ulong_t = typedef('xen_ulong_t', u64, hex);
/** `uint64_t` that is an address or a bit pattern. */
export const hex64: Type<bigint> = typedef('uint64_t', u64, hex);

/** xen:public/xen.h vcpu_time_info, all [xen]: `version` is odd while it is being written. */
export const vcpu_time_info = struct('vcpu_time_info', {
  version: u32,
  pad0: pad(4),
  /** TSC at `system_time`. */
  tsc_timestamp: u64,
  /** Nanoseconds since boot at `tsc_timestamp`. */
  system_time: u64,
  /** ns = ((tsc << tsc_shift) * tsc_to_system_mul) >> 32. */
  tsc_to_system_mul: u32,
  tsc_shift: i8,
  flags: u8,
  pad1: pad(2),
});
export const XEN_PVCLOCK_TSC_STABLE_BIT = 1;

export const arch_vcpu_info = struct('arch_vcpu_info', {
  /** [xen] Faulting address of the last bounced #PF. */
  cr2: u64,
  pad: pad(8),
});

export const vcpu_info = struct('vcpu_info', {
  /** [xen] sets, [guest] clears. */
  evtchn_upcall_pending: u8,
  /** [guest], and [xen] on entry to the event callback. */
  evtchn_upcall_mask: u8,
  evtchn_pending_sel: xen_ulong_t,
  arch: arch_vcpu_info,
  time: vcpu_time_info,
});

export const arch_shared_info = struct('arch_shared_info', {
  /** All [guest]: for the tools' sake only. */
  max_pfn: u64,
  pfn_to_mfn_frame_list_list: xen_pfn_t,
  nmi_reason: u64,
  p2m_cr3: u64,
  p2m_vaddr: u64,
  p2m_generation: u64,
});

export const shared_info = struct('shared_info', {
  vcpu_info: array(vcpu_info, 32),
  /** [xen] sets, [guest] clears. */
  evtchn_pending: array(u64, 64),
  /** [guest], and [xen] in EVTCHNOP_unmask. */
  evtchn_mask: array(u64, 64),
  /** [xen]; odd while being written. */
  wc_version: u32,
  wc_sec: u32,
  wc_nsec: u32,
  wc_sec_hi: u32,
  arch: arch_shared_info,
});

export const XEN_LEGACY_MAX_VCPUS = 32;

export const SIF_PRIVILEGED = 1;
export const SIF_INITDOMAIN = 2;
export const SIF_MULTIBOOT_MOD = 4;
export const SIF_MOD_START_PFN = 8;
export const SIF_VIRT_P2M_4TOOLS = 16;

// biome-ignore format: one VIRQ a line
export const virqs = {
  VIRQ_TIMER: 0, VIRQ_DEBUG: 1, VIRQ_CONSOLE: 2, VIRQ_DOM_EXC: 3, VIRQ_TBUF: 4, VIRQ_DEBUGGER: 6, VIRQ_XENOPROF: 7, VIRQ_CON_RING: 8,
  VIRQ_PCPU_STATE: 9, VIRQ_MEM_EVENT: 10, VIRQ_ARGO: 11, VIRQ_ENOMEM: 12, VIRQ_XENPMU: 13, VIRQ_ARCH_0: 16,
} as const;
export const { VIRQ_TIMER, VIRQ_DEBUG, VIRQ_CONSOLE, VIRQ_XENOPROF, VIRQ_XENPMU } = virqs;
export const NR_VIRQS = 24;
export const virq_t = symbols('virq', u32, virqs);
