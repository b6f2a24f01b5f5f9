/** Hypercalls declared in xen:public/xen.h itself (and hvm_op.h, pmu.h, platform.h ... as far as a guest may ask). */
import { batch, call, hypercall, op, refused } from './hypercall.ts';
import { out, struct } from './struct.ts';
import { array, hex, i32, ptr, symbols, typedef, u8, u16, u32, u64, void_ } from './types.ts';
import { domid_t, xen_ulong_t } from './xen.ts';

const both = { pv64: true, pvh: true };

export const CONSOLEIO_write = 0;
export const CONSOLEIO_read = 1;

// biome-ignore format: one op a line
export const console_io = hypercall('console_io', 18, both, { cmd: i32, count: u32, buffer: ptr(u8) }, {
  write: op(CONSOLEIO_write, null, 'Print on the emergency console.', ['EPERM']),
  read:  op(CONSOLEIO_read, null, 'Read what was typed there.', ['EPERM', 'E2BIG'], { returns: 'value' }),
}, { before: ['EPERM'] });

export const multicall_entry = struct('multicall_entry', {
  op: typedef('xen_ulong_t', u64),
  result: out(typedef('xen_long_t', u64, (value) => String(BigInt.asIntN(64, value)))),
  args: array(xen_ulong_t, 6),
});

export const multicall = hypercall(
  'multicall',
  13,
  both,
  { call_list: ptr(multicall_entry), nr_calls: u32 },
  batch(call(multicall_entry, 'Several hypercalls, one after the other.', ['EINVAL']), 'nr_calls'),
);

// biome-ignore format: one assist a line, with its bit
export const VMASST_TYPE = {
  '4gb_segments': 0, '4gb_segments_notify': 1, writable_pagetables: 2, pae_extended_cr3: 3, architectural_iopl: 4, runstate_update_flag: 5,
  m2p_strict: 32,
} as const;
const assist_t = symbols('type', u32, Object.fromEntries(Object.entries(VMASST_TYPE).map(([name, bit]) => [`VMASST_TYPE_${name}`, bit])));

// biome-ignore format: one op a line
export const vm_assist = hypercall('vm_assist', 21, both, { cmd: u32, type: assist_t }, {
  enable:  op(0, null, 'Ask for a convenience.'),
  disable: op(1, null, 'No longer.'),
}, { before: ['EINVAL'] });

export const xenpmu_op = hypercall(
  'xenpmu_op',
  40,
  both,
  { op: u32, arg: u64 },
  refused(-1, 'EOPNOTSUPP', 'Performance counters; off unless Xen was told vpmu=.'),
);

export const xen_hvm_param = struct('xen_hvm_param', { domid: typedef('domid_t', u16), pad: u16, index: u32, value: u64 });
const xen_hvm_get_param = struct('xen_hvm_param', { domid: typedef('domid_t', u16), pad: u16, index: u32, value: out(u64) });
/** xen_hvm_get_time, xen_hvm_xentrace. */
const xen_hvm_get_time = struct('xen_hvm_get_time', { now: out(u64) });
const xen_hvm_xentrace = struct('xen_hvm_xentrace', { event: u16, extra_bytes: u16, extra: array(u8, 28) });

const xen_hvm_pagetable_dying = struct('xen_hvm_pagetable_dying', { domid: domid_t, pad: array(u16, 3), gpa: u64 });
const xen_hvm_get_mem_type = struct('xen_hvm_get_mem_type', { domid: domid_t, mem_type: out(u16), pad: array(u16, 2), pfn: u64 });
export const xen_hvm_evtchn_upcall_vector = struct('xen_hvm_evtchn_upcall_vector', { vcpu: u32, vector: u8 });

/** None of it is about PV guests: they are told so. */
// biome-ignore format: one op a line
export const hvm_op = hypercall('hvm_op', 34, both, { cmd: i32, arg: ptr(void_) }, {
  set_param:             op(0, xen_hvm_param, 'Parameters of an HVM domain.', ['EINVAL', 'ESRCH', 'EPERM', 'ENODEV']),
  get_param:             op(1, xen_hvm_get_param, 'Parameters of an HVM domain.', ['EINVAL', 'ESRCH', 'EPERM']),
  flush_tlbs:            op(5, null, 'Flush the TLBs of an HVM domain\'s vCPUs.', ['EINVAL']),
  pagetable_dying:       op(9, xen_hvm_pagetable_dying, 'Shadow paging hint.', ['EINVAL', 'EOPNOTSUPP', 'ESRCH']),
  get_time:              op(10, xen_hvm_get_time, 'System time in nanoseconds.'),
  xentrace:              op(11, xen_hvm_xentrace, 'Put a record into the trace buffer, which is off.', ['EINVAL']),
  get_mem_type:          op(15, xen_hvm_get_mem_type, 'Kind of a guest frame.', ['EINVAL', 'EPERM', 'ESRCH']),
  set_evtchn_upcall_vector: op(23, null, 'Upcall through the local APIC.', ['EINVAL', 'ENOENT'], { follows: xen_hvm_evtchn_upcall_vector }),
  guest_request_vm_event: op(24, null, 'Tell the introspection tool; the pointer must be NULL.', ['EINVAL']),
  altp2m:                refused(25, 'EOPNOTSUPP', 'Alternative views of memory.'),
});

const version_t = typedef('interface_version', u32, hex);
const privileged_op = struct('privileged_op', { cmd: u32, interface_version: version_t });
/** The head of struct xen_domctl. */
const domain_op = struct('domain_op', { cmd: u32, interface_version: version_t, domain: domid_t });

/** Hypercalls of the toolstack: an unprivileged domain learns that its headers are of another Xen, or -EPERM. */
export const platform_op = hypercall(
  'platform_op',
  7,
  both,
  { u_xenpf_op: ptr(privileged_op) },
  call(privileged_op, 'Host platform.', ['EACCES', 'EPERM']),
);
export const sysctl = hypercall(
  'sysctl',
  35,
  both,
  { u_sysctl: ptr(privileged_op) },
  call(privileged_op, 'Host-wide control.', ['EACCES', 'EPERM']),
);
export const domctl = hypercall(
  'domctl',
  36,
  both,
  { u_domctl: ptr(domain_op) },
  call(domain_op, 'Control of domains.', ['EACCES', 'EINVAL', 'EOPNOTSUPP', 'EPERM', 'ESRCH']),
);
export const kexec_op = hypercall('kexec_op', 37, { pv64: true }, { op: u32, uarg: u64 }, refused(-1, 'EPERM', 'Crash kernels.'));
export const hypfs_op = hypercall('hypfs_op', 42, both, { cmd: u32, arg1: u64 }, refused(-1, 'EPERM', "Ring -1's parameters as files."));
export const mca = hypercall('mca', 48, { pv64: true }, { u_xen_mc: u64 }, refused(-1, 'EPERM', 'Machine checks.'));

/** A continuation of domctl, not meant for guests. */
export const paging_domctl_cont = hypercall(
  'paging_domctl_cont',
  49,
  both,
  { u_domctl: ptr(domain_op) },
  call(domain_op, 'The rest of a long domctl.', ['EOPNOTSUPP', 'EPERM', 'ESRCH']),
);
export const dm_op = hypercall(
  'dm_op',
  41,
  both,
  { domid: domid_t, nr_bufs: u32, bufs: u64 },
  call(null, 'Device models.', ['E2BIG', 'ENODATA', 'EINVAL', 'EPERM', 'ESRCH']),
);
export const xenoprof_op = hypercall(
  'xenoprof_op',
  31,
  { pv64: true },
  { op: i32, arg: u64 },
  call(null, 'Profiling by performance counters, which are off.', ['EINVAL', 'ENODEV', 'EPERM']),
);

/** Before 3.2 the sub-operation was the first word of the struct; what follows it begins at these offsets. */
export const event_channel_op_compat = hypercall(
  'event_channel_op_compat',
  16,
  { pv64: true },
  { uop: u64 },
  call(null, 'event_channel_op as it was.', [], { returns: 'value' }),
);
export const physdev_op_compat = hypercall(
  'physdev_op_compat',
  19,
  { pv64: true },
  { uop: u64 },
  call(null, 'physdev_op as it was.', [], { returns: 'value' }),
);

export const XENPF_INTERFACE_VERSION = 0x03000001;
export const XEN_SYSCTL_INTERFACE_VERSION = 0x15;
export const XEN_DOMCTL_INTERFACE_VERSION = 0x15;
