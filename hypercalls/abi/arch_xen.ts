/** xen:public/arch-x86/xen.h and xen-x86_64.h: the virtual CPU of a PV64 guest, and the hypercalls that set it up. */
import { call, hypercall } from './hypercall.ts';
import { pad, struct } from './struct.ts';
import { array, hex, i32, typedef, u8, u16, u32, u64 } from './types.ts';
import { hex64, xen_ulong_t } from './xen.ts';

/** One entry of the table that set_trap_table reads; `address` 0 ends it. */
export const trap_info = struct('trap_info', {
  vector: u8,
  /** Bits 0-1: DPL for INT n; bit 2: mask events on the way (TI_SET_IF). */
  flags: u8,
  cs: u16,
  pad: pad(4),
  address: xen_ulong_t,
});

/** Registers of a vCPU, in the order of Xen's stack frame. */
export const cpu_user_regs = struct('cpu_user_regs', {
  r15: xen_ulong_t,
  r14: xen_ulong_t,
  r13: xen_ulong_t,
  r12: xen_ulong_t,
  rbp: xen_ulong_t,
  rbx: xen_ulong_t,
  r11: xen_ulong_t,
  r10: xen_ulong_t,
  r9: xen_ulong_t,
  r8: xen_ulong_t,
  rax: xen_ulong_t,
  rcx: xen_ulong_t,
  rdx: xen_ulong_t,
  rsi: xen_ulong_t,
  rdi: xen_ulong_t,
  error_code: u32,
  entry_vector: u32,
  rip: xen_ulong_t,
  cs: u16,
  _pad0: pad(2),
  saved_upcall_mask: u8,
  _pad1: pad(3),
  rflags: xen_ulong_t,
  rsp: xen_ulong_t,
  ss: u16,
  _pad2: pad(6),
  es: u16,
  _pad3: pad(6),
  ds: u16,
  _pad4: pad(6),
  fs: u16,
  _pad5: pad(6),
  gs: u16,
  _pad6: pad(6),
});

export const VGCF_I387_VALID = 1 << 0;
export const VGCF_in_kernel = 1 << 2;
export const VGCF_failsafe_disables_events = 1 << 3;
export const VGCF_syscall_disables_events = 1 << 4;
export const VGCF_online = 1 << 5;

/** All of a vCPU before its first instruction; `ctrlreg[3]` and `[1]` are its kernel's and its user's page tables. */
export const vcpu_guest_context = struct('vcpu_guest_context', {
  fpu_ctxt: array(u8, 512),
  flags: xen_ulong_t,
  user_regs: cpu_user_regs,
  trap_ctxt: array(trap_info, 256),
  ldt_base: xen_ulong_t,
  ldt_ents: xen_ulong_t,
  gdt_frames: array(xen_ulong_t, 16),
  gdt_ents: xen_ulong_t,
  kernel_ss: xen_ulong_t,
  kernel_sp: xen_ulong_t,
  ctrlreg: array(xen_ulong_t, 8),
  debugreg: array(xen_ulong_t, 8),
  event_callback_eip: xen_ulong_t,
  failsafe_callback_eip: xen_ulong_t,
  syscall_callback_eip: xen_ulong_t,
  vm_assist: xen_ulong_t,
  fs_base: u64,
  gs_base_kernel: u64,
  gs_base_user: u64,
});

/** RCX and R11 are not restored: the return may use SYSRET. */
export const VGCF_in_syscall = 1 << 8;

/** What hypercall iret takes from the guest kernel's stack, lowest address first. */
export const iret_context = struct('iret_context', {
  rax: u64,
  r11: u64,
  rcx: u64,
  flags: u64,
  rip: u64,
  cs: u64,
  rflags: u64,
  rsp: u64,
  ss: u64,
});

export const SEGBASE_FS = 0;
export const SEGBASE_GS_USER = 1;
export const SEGBASE_GS_KERNEL = 2;
/** `base` is a selector, loaded into the user's GS. */
export const SEGBASE_GS_USER_SEL = 3;

const pv64 = { pv64: true } as const;
const trap_table = typedef('const trap_info_t *', u64, hex);
const frame_list = typedef('const xen_ulong_t *', u64, hex);

export const set_trap_table = hypercall(
  'set_trap_table',
  0,
  pv64,
  { traps: trap_table },
  call(null, 'Set entries of the virtual IDT; a null table clears it.', ['EINVAL']),
);

export const set_gdt = hypercall(
  'set_gdt',
  2,
  pv64,
  { frame_list, entries: u32 },
  call(null, "Replace the guest's part of the GDT.", ['EINVAL']),
);

export const stack_switch = hypercall(
  'stack_switch',
  3,
  pv64,
  { ss: xen_ulong_t, esp: xen_ulong_t },
  call(null, 'Set the stack that a bounce from user mode goes to.'),
);

export const set_callbacks = hypercall(
  'set_callbacks',
  4,
  pv64,
  { event_address: xen_ulong_t, failsafe_address: xen_ulong_t, syscall_address: xen_ulong_t },
  call(null, 'Set three callbacks at once; what cannot be an address is skipped.'),
);

export const fpu_taskswitch = hypercall('fpu_taskswitch', 5, pv64, { set: i32 }, call(null, 'Set or clear the virtual CR0.TS.'));

export const set_debugreg = hypercall(
  'set_debugreg',
  8,
  pv64,
  { reg: i32, value: xen_ulong_t },
  call(null, 'Write a debug register.', ['ENODEV', 'EINVAL', 'EPERM']),
);

export const get_debugreg = hypercall(
  'get_debugreg',
  9,
  pv64,
  { reg: i32 },
  call(null, 'Read a debug register.', ['ENODEV'], { returns: 'value' }),
);

export const update_descriptor = hypercall(
  'update_descriptor',
  10,
  pv64,
  { ma: hex64, desc: hex64 },
  call(null, 'Write one descriptor at a machine address.', ['EINVAL']),
);

export const iret = hypercall(
  'iret',
  23,
  pv64,
  {},
  call(null, 'Return from an upcall to the iret_context on the stack.', [], { returns: 'value' }),
);

export const set_segment_base = hypercall(
  'set_segment_base',
  25,
  pv64,
  { which: u32, base: xen_ulong_t },
  call(null, 'Set a base of FS or GS.', ['EINVAL']),
);
