/** xen:public/memory.h: how much memory a domain has, and getting, giving back and exchanging it. */
import { hypercall, op, refused } from './hypercall.ts';
import { inout, out, pad, struct } from './struct.ts';
import { hex, ptr, typedef, u8, u16, u32, u64, void_ } from './types.ts';
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

/** Only what its refusal looks at. */
export const xen_vnuma_topology_info = struct('xen_vnuma_topology_info', {
  domid: domid_t,
  pad: u16,
  nr_vnodes: u32,
  nr_vcpus: u32,
  nr_vmemranges: u32,
  handles: pad(24, 8),
});

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
  add_to_physmap:        refused(7, 'EACCES', 'Place a special page at a gfn (translated guests).', { reads: 32 }),
  memory_map:            op(9, xen_memory_map, 'The domain\'s pseudo-physical E820.', ['ENOSYS', 'EINVAL']),
  machine_memory_map:    refused(10, 'EPERM', 'The machine\'s E820.'),
  exchange:              op(11, xen_memory_exchange, 'Pages for others, usually for contiguous ones.', ['EINVAL', 'EPERM', 'ENOMEM', 'ESRCH', 'EBUSY', 'EOPNOTSUPP']),
  machphys_mapping:      op(12, xen_machphys_mapping, 'Where the machine-to-physical table is mapped.'),
  set_memory_map:        refused(13, 'EPERM', 'Give a domain its E820.', { reads: 24 }),
  maximum_gpfn:          op(14, xen_memory_domain, 'Highest pfn of a domain.', ['ESRCH', 'EPERM'], value),
  remove_from_physmap:   refused(15, 'EACCES', 'Empty a gfn (translated guests).', { reads: 16 }),
  set_pod_target:        refused(16, 'EINVAL', 'Populate on demand.', { reads: 40 }),
  get_pod_target:        refused(17, 'EINVAL', 'Populate on demand.', { reads: 40 }),
  get_sharing_freed_pages:  op(18, null, 'Pages saved by sharing: none.'),
  get_sharing_shared_pages: op(19, null, 'Pages shared: none.'),
  access_op:             refused(21, 'EINVAL', 'Introspection.', { reads: 40 }),
  add_to_physmap_batch:  refused(23, 'EACCES', 'Place pages at gfns (translated guests).', { reads: 32 }),
  claim_pages:           refused(24, 'EPERM', 'Set memory aside for a domain.', { reads: 32 }),
  machphys_compat_mfn_list: refused(25, 'EOPNOTSUPP', '32-bit machine-to-physical table.'),
  get_vnumainfo:         op(26, xen_vnuma_topology_info, 'Virtual NUMA; no domain has any.', ['ESRCH', 'EPERM', 'EOPNOTSUPP']),
  acquire_resource:      refused(28, 'EPERM', 'Map another domain\'s special pages.', { reads: 40 }),
}, { cmdMask: MEMOP_CMD_MASK });
