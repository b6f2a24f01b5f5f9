/** xen:public/grant_table.h: pages that a domain lets another one use. */
import { batch, hypercall, op, refused } from './hypercall.ts';
import { inout, out, pad, struct } from './struct.ts';
import { flags, i16, ptr, symbols, typedef, u16, u32, u64, void_ } from './types.ts';
import { domid_t, hex64, xen_pfn_t } from './xen.ts';

export const grant_ref_t = typedef('grant_ref_t', u32);
export const grant_handle_t = typedef('grant_handle_t', u32);

// biome-ignore format: one status a line
export const GNTST = {
  okay: 0, general_error: -1, bad_domain: -2, bad_gntref: -3, bad_handle: -4, bad_virt_addr: -5, bad_dev_addr: -6, no_device_space: -7,
  permission_denied: -8, bad_page: -9, bad_copy_arg: -10, address_too_big: -11, eagain: -12, no_space: -13,
} as const;
const status_t = symbols('int16_t', i16, Object.fromEntries(Object.entries(GNTST).map(([name, value]) => [`GNTST_${name}`, value])));

export const GNTTAB_NR_RESERVED_ENTRIES = 8;
export const GNTTAB_RESERVED_CONSOLE = 0;
export const GNTTAB_RESERVED_XENSTORE = 1;

export const GTF_type_mask = 3;
export const GTF_invalid = 0;
export const GTF_permit_access = 1;
export const GTF_accept_transfer = 2;
export const GTF_transitive = 3;
export const GTF_readonly = 4;
export const GTF_reading = 8;
export const GTF_writing = 16;
export const GTF_sub_page = 256;
/** Of a GTF_accept_transfer entry. */
export const GTF_transfer_committed = 4;
export const GTF_transfer_completed = 8;

export const GNTMAP_device_map = 1;
export const GNTMAP_host_map = 2;
export const GNTMAP_readonly = 4;
export const GNTMAP_application_map = 8;
export const GNTMAP_contains_pte = 16;
/** The first bit that goes to the L1 entry's available ones. */
export const GNTMAP_guest_avail_shift = 16;
const gntmap_flags = flags('uint32_t', u32, {
  GNTMAP_device_map,
  GNTMAP_host_map,
  GNTMAP_readonly,
  GNTMAP_application_map,
  GNTMAP_contains_pte,
});

export const GNTCOPY_source_gref = 1;
export const GNTCOPY_dest_gref = 2;
const gntcopy_flags = flags('uint16_t', u16, { GNTCOPY_source_gref, GNTCOPY_dest_gref });

export const GNTTAB_CACHE_CLEAN = 1;
export const GNTTAB_CACHE_INVAL = 2;

/** `flags` [guest] and, for the reading and writing bits, [xen]; the rest [guest], but `frame` of a completed transfer [xen]. */
export const grant_entry_v1 = struct('grant_entry_v1', { flags: u16, domid: domid_t, frame: u32 });

/** The members of `union grant_entry_v2`; all begin like grant_entry_v1. The reading and writing bits are in its grant_status_t. */
export const grant_entry_v2_full_page = struct('grant_entry_v2.full_page', { flags: u16, domid: domid_t, pad0: pad(4, 4), frame: u64 });
export const grant_entry_v2_sub_page = struct('grant_entry_v2.sub_page', {
  flags: u16,
  domid: domid_t,
  page_off: u16,
  length: u16,
  frame: u64,
});
export const grant_entry_v2_transitive = struct('grant_entry_v2.transitive', {
  flags: u16,
  domid: domid_t,
  trans_domid: domid_t,
  pad0: pad(2, 2),
  gref: grant_ref_t,
  pad1: pad(4, 4),
});

export const gnttab_map_grant_ref = struct('gnttab_map_grant_ref', {
  /** A vaddr; with GNTMAP_contains_pte the maddr of an L1 entry. */
  host_addr: hex64,
  flags: gntmap_flags,
  ref: grant_ref_t,
  dom: domid_t,
  status: out(status_t),
  /** These two only change on success. */
  handle: inout(grant_handle_t),
  dev_bus_addr: inout(hex64),
});
export const gnttab_unmap_grant_ref = struct('gnttab_unmap_grant_ref', {
  host_addr: hex64,
  dev_bus_addr: hex64,
  handle: grant_handle_t,
  status: out(status_t),
});
export const gnttab_setup_table = struct('gnttab_setup_table', {
  dom: domid_t,
  nr_frames: u32,
  status: out(status_t),
  frame_list: ptr(xen_pfn_t),
});
export const gnttab_transfer = struct('gnttab_transfer', { mfn: xen_pfn_t, domid: domid_t, ref: grant_ref_t, status: out(status_t) });
export const gnttab_copy_ptr = struct('gnttab_copy_ptr', {
  /** `ref` (32 bits) or `gmfn`. */
  u: hex64,
  domid: domid_t,
  offset: u16,
});
export const gnttab_copy = struct('gnttab_copy', {
  source: gnttab_copy_ptr,
  dest: gnttab_copy_ptr,
  len: u16,
  flags: gntcopy_flags,
  status: out(status_t),
});
export const gnttab_query_size = struct('gnttab_query_size', {
  dom: domid_t,
  /** These two only change on success. */
  nr_frames: inout(u32),
  max_nr_frames: inout(u32),
  status: out(status_t),
});
export const gnttab_unmap_and_replace = struct('gnttab_unmap_and_replace', {
  host_addr: hex64,
  new_addr: hex64,
  handle: grant_handle_t,
  status: out(status_t),
});
/** Answers the version in use, also beside an errno. */
export const gnttab_set_version = struct('gnttab_set_version', { version: inout(u32) });
export const gnttab_get_status_frames = struct('gnttab_get_status_frames', {
  nr_frames: u32,
  dom: domid_t,
  status: out(status_t),
  frame_list: ptr(u64),
});
export const gnttab_get_version = struct('gnttab_get_version', { dom: domid_t, pad: pad(2, 2), version: out(u32) });
export const gnttab_swap_grant_ref = struct('gnttab_swap_grant_ref', { ref_a: grant_ref_t, ref_b: grant_ref_t, status: out(status_t) });
export const gnttab_cache_flush = struct('gnttab_cache_flush', {
  /** `dev_bus_addr`; `ref` is not supported. */
  a: hex64,
  offset: u16,
  length: u16,
  op: u32,
});

/** Bits of `cmd` above the op are how far cache_flush has searched. */
export const GNTTABOP_CONTINUATION_ARG_SHIFT = 12;
export const GNTTABOP_CMD_MASK = 2 ** GNTTABOP_CONTINUATION_ARG_SHIFT - 1;

// biome-ignore format: one op a line
export const grant_table_op = hypercall('grant_table_op', 20, { pv64: true, pvh: true }, { cmd: u32, uop: ptr(void_), count: u32 }, {
  map_grant_ref:     batch(op(0, gnttab_map_grant_ref, 'Map a granted page, at an address, at an L1 entry or for devices.'), 'count'),
  unmap_grant_ref:   batch(op(1, gnttab_unmap_grant_ref, 'Undo map_grant_ref.'), 'count'),
  setup_table:       op(2, gnttab_setup_table, 'Grow the grant table and learn its frames.', ['EFAULT']),
  dump_table:        refused(3, 'ENOSYS', 'Debugging aid of old.'),
  transfer:          batch(op(4, gnttab_transfer, 'Give a page away for good; not for PVH.'), 'count'),
  copy:              batch(op(5, gnttab_copy, 'Copy within a page, between frames of one\'s own and granted pages.'), 'count'),
  query_size:        op(6, gnttab_query_size, 'Frames of the table now and at most.'),
  unmap_and_replace: batch(op(7, gnttab_unmap_and_replace, 'Unmap and move another mapping there; not for PVH.'), 'count'),
  set_version:       op(8, null, 'Choose the layout of entries, while none but the first 8 is in use.', ['EINVAL', 'EBUSY', 'ERANGE', 'ENOMEM', 'ENOSYS'], { follows: gnttab_set_version }),
  get_status_frames: op(9, gnttab_get_status_frames, 'Frames with version 2\'s reading and writing bits; not for PVH.', ['EFAULT']),
  get_version:       op(10, gnttab_get_version, 'The layout in use.', ['ESRCH', 'EPERM']),
  swap_grant_ref:    batch(op(11, gnttab_swap_grant_ref, 'Exchange two entries.'), 'count'),
  cache_flush:       batch(op(12, gnttab_cache_flush, 'Write caches back; not for PVH.', ['EINVAL', 'EOPNOTSUPP', 'EPERM', 'EILSEQ']), 'count'),
}, { before: ['EINVAL', 'ENOSYS'], cmdMask: GNTTABOP_CMD_MASK });
