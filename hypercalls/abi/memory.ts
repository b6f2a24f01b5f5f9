/** xen:public/memory.h: how much memory a domain has, and getting, giving back and exchanging it. */
import { hypercall, op, refused } from './hypercall.ts';
import { inout, out, pad, struct } from './struct.ts';
import { hex, i32, ptr, typedef, u8, u16, u32, u64, void_ } from './types.ts';
import { domid_t, xen_pfn_t, xen_ulong_t } from './xen.ts';

/** Bits of the command above the op: extents done before a continuation. */
export const MEMOP_EXTENT_SHIFT = 6;
export const MEMOP_CMD_MASK = (1 << MEMOP_EXTENT_SHIFT) - 1;

const mem_flags_t = typedef('unsigned int', u32, hex);

export const xen_memory_reservation = struct('xen_memory_reservation', {
  extent_start: ptr(xen_pfn_t),
  nr_extents: xen_ulong_t,
  extent_order: u32,
  mem_flags: mem_flags_t,
  domid: domid_t,
});
export const xen_memory_exchange = struct('xen_memory_exchange', {
  in: xen_memory_reservation,
  out: xen_memory_reservation,
  nr_exchanged: inout(xen_ulong_t),
});
export const xen_memory_domain = struct('xen_memory_domain', { domid: domid_t });
export const xen_machphys_mfn_list = struct('xen_machphys_mfn_list', {
  max_extents: u32,
  extent_start: ptr(xen_pfn_t),
  nr_extents: out(u32),
});
export const xen_machphys_mapping = struct('xen_machphys_mapping', {
  v_start: out(xen_ulong_t),
  v_end: out(xen_ulong_t),
  max_mfn: out(xen_ulong_t),
});
export const xen_memory_map = struct('xen_memory_map', { nr_entries: inout(u32), buffer: ptr(u8) });

export const xen_foreign_memory_map = struct('xen_foreign_memory_map', {
  domid: domid_t,
  map: struct('xen_memory_map', { nr_entries: u32, buffer: ptr(u8) }),
});
export const xen_add_to_physmap = struct('xen_add_to_physmap', {
  domid: domid_t,
  size: u16,
  space: u32,
  idx: xen_ulong_t,
  gpfn: xen_pfn_t,
});
export const xen_add_to_physmap_batch = struct('xen_add_to_physmap_batch', {
  domid: domid_t,
  space: u16,
  size: u16,
  u: u16,
  idxs: ptr(xen_ulong_t),
  gpfns: ptr(xen_pfn_t),
  errs: ptr(i32),
});
export const xen_remove_from_physmap = struct('xen_remove_from_physmap', { domid: domid_t, gpfn: xen_pfn_t });
export const xen_pod_target = struct('xen_pod_target', {
  target_pages: u64,
  tot_pages: u64,
  pod_cache_pages: u64,
  pod_entries: u64,
  domid: domid_t,
});
export const xen_mem_access_op = struct('xen_mem_access_op', {
  op: u8,
  access: u8,
  domid: domid_t,
  nr: u32,
  pfn: u64,
  pfn_list: ptr(u64),
  access_list: ptr(u8),
});
export const xen_mem_acquire_resource = struct('xen_mem_acquire_resource', {
  domid: domid_t,
  type: u16,
  id: u32,
  nr_frames: u32,
  pad: u32,
  frame: u64,
  frame_list: ptr(xen_pfn_t),
});
export const xen_reserved_device_memory_map = struct('xen_reserved_device_memory_map', {
  flags: u32,
  nr_entries: inout(u32),
  buffer: ptr(u8),
  dev: u32,
});

/** Only what its refusal looks at. */
export const xen_vnuma_topology_info = struct('xen_vnuma_topology_info', {
  domid: domid_t,
  pad: u16,
  nr_vnodes: u32,
  nr_vcpus: u32,
  nr_vmemranges: u32,
  handles: pad(24, 8),
});

/** Values of `space`. */
export const XENMAPSPACE_shared_info = 0;
export const XENMAPSPACE_grant_table = 1;
export const XENMAPSPACE_gmfn = 2;
export const XENMAPSPACE_gmfn_range = 3;
export const XENMAPSPACE_gmfn_foreign = 4;
export const XENMAPSPACE_dev_mmio = 5;
/** Of an index in the grant table: a frame with status words. */
export const XENMAPIDX_grant_table_status = 0x8000_0000;
export const XENMEM_RDM_ALL = 1;
/** sizeof(struct xen_reserved_device_memory) */
export const RESERVED_REGION_SIZE = 16;
/** Of mem_flags: XENMEMF_get_address_bits. */
export const XENMEMF_ADDRESS_BITS = 0xff;
export const XENMEMF_populate_on_demand = 1 << 16;
export const E820MAX = 1024;

/** An E820 entry is packed: 8 + 8 + 4 bytes. */
export const E820_ENTRY_SIZE = 20;
export const E820_RAM = 1;

const value = { returns: 'value' } as const;
const reservation = { returns: 'value', follows: xen_memory_reservation } as const;

// biome-ignore format: one op a line
export const memory_op = hypercall('memory_op', 12, { pv64: true, pvh: true }, { cmd: u64, arg: ptr(void_) }, {
  increase_reservation:  op(0, null, 'More pages; RAX is how many extents were done.', [], reservation),
  decrease_reservation:  op(1, null, 'Give pages back; RAX is how many extents were done.', [], reservation),
  maximum_ram_page:      op(2, null, 'Highest machine frame.', [], value),
  current_reservation:   op(3, xen_memory_domain, 'Pages that a domain has.', ['ESRCH', 'EPERM'], value),
  maximum_reservation:   op(4, xen_memory_domain, 'Pages that a domain may have.', ['ESRCH', 'EPERM'], value),
  machphys_mfn_list:     op(5, xen_machphys_mfn_list, 'Frames of the machine-to-physical table, one per 2 MiB.'),
  populate_physmap:      op(6, null, 'Pages at given pfns; RAX is how many extents were done.', [], reservation),
  add_to_physmap:        op(7, xen_add_to_physmap, 'Place a page at a gfn (translated guests).', ['EACCES', 'ENOSYS', 'ESRCH', 'EINVAL', 'ENOENT', 'EPERM', 'EXDEV']),
  memory_map:            op(9, xen_memory_map, 'The domain\'s pseudo-physical E820.', ['ENOSYS', 'EINVAL']),
  machine_memory_map:    refused(10, 'EPERM', 'The machine\'s E820.'),
  exchange:              op(11, xen_memory_exchange, 'Pages for others, usually for contiguous ones.', ['EINVAL', 'EPERM', 'ENOMEM', 'ESRCH', 'EBUSY', 'EOPNOTSUPP']),
  machphys_mapping:      op(12, xen_machphys_mapping, 'Where the machine-to-physical table is mapped.'),
  set_memory_map:        op(13, xen_foreign_memory_map, 'Give a domain its E820.', ['EINVAL', 'EPERM', 'ESRCH']),
  maximum_gpfn:          op(14, xen_memory_domain, 'Highest pfn of a domain.', ['ESRCH', 'EPERM'], value),
  remove_from_physmap:   op(15, xen_remove_from_physmap, 'Empty a gfn (translated guests).', ['EACCES', 'ESRCH', 'ENOENT', 'EPERM']),
  set_pod_target:        op(16, xen_pod_target, 'Populate on demand (HVM guests).', ['EINVAL', 'ESRCH']),
  get_pod_target:        op(17, xen_pod_target, 'Populate on demand (HVM guests).', ['EINVAL', 'ESRCH']),
  get_sharing_freed_pages:  op(18, null, 'Pages saved by sharing: none.'),
  get_sharing_shared_pages: op(19, null, 'Pages shared: none.'),
  access_op:             op(21, xen_mem_access_op, 'Introspection of another domain.', ['EINVAL', 'EPERM', 'ESRCH']),
  add_to_physmap_batch:  op(23, xen_add_to_physmap_batch, 'Place pages at gfns (translated guests).', ['EACCES', 'EOPNOTSUPP', 'ESRCH', 'EPERM', 'EFAULT']),
  claim_pages:           op(24, xen_memory_reservation, 'Set memory aside for a domain.', ['EINVAL', 'EPERM']),
  machphys_compat_mfn_list: refused(25, 'EOPNOTSUPP', '32-bit machine-to-physical table.'),
  get_vnumainfo:         op(26, xen_vnuma_topology_info, 'Virtual NUMA; no domain has any.', ['EINVAL', 'ESRCH', 'EPERM', 'EOPNOTSUPP']),
  reserved_device_memory_map: op(27, xen_reserved_device_memory_map, 'RAM that devices need; there are none.', ['EINVAL']),
  acquire_resource:      op(28, xen_mem_acquire_resource, 'Map another domain\'s special pages; not for PVH.', ['EINVAL', 'EPERM', 'ESRCH']),
}, { cmdMask: MEMOP_CMD_MASK, before: ['EINVAL', 'ENOSYS', 'EACCES'] });
