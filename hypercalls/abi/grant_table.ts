/** xen:public/grant_table.h, version 1: pages that a domain lets another one use. */
import { hypercall, op, refused } from './hypercall.ts';
import { inout, out, pad, struct } from './struct.ts';
import { i16, ptr, symbols, typedef, u16, u32, void_ } from './types.ts';
import { domid_t, xen_pfn_t } from './xen.ts';

export const grant_ref_t = typedef('grant_ref_t', u32);
export const grant_handle_t = typedef('grant_handle_t', u32);

// biome-ignore format: one status a line
export const GNTST = {
  okay: 0, general_error: -1, bad_domain: -2, bad_gntref: -3, bad_handle: -4, bad_virt_addr: -5, bad_dev_addr: -6, no_device_space: -7,
  permission_denied: -8, bad_page: -9, bad_copy_arg: -10, address_too_big: -11, eagain: -12, no_space: -13,
} as const;
const status_t = symbols('int16_t', i16, Object.fromEntries(Object.entries(GNTST).map(([name, value]) => [`GNTST_${name}`, value])));

export const GTF_type_mask = 3;
export const GTF_permit_access = 1;
export const GTF_readonly = 4;
export const GTF_reading = 8;
export const GTF_writing = 16;
export const GTF_sub_page = 256;

/** `flags` [guest] and, for the reading and writing bits, [xen]; the rest [guest]. */
export const grant_entry_v1 = struct('grant_entry_v1', { flags: u16, domid: domid_t, frame: u32 });

export const gnttab_setup_table = struct('gnttab_setup_table', {
  dom: domid_t,
  nr_frames: u32,
  status: out(status_t),
  frame_list: ptr(xen_pfn_t),
});
export const gnttab_query_size = struct('gnttab_query_size', {
  dom: domid_t,
  nr_frames: out(u32),
  max_nr_frames: out(u32),
  status: out(status_t),
});
export const gnttab_set_version = struct('gnttab_set_version', { version: inout(u32) });
export const gnttab_get_version = struct('gnttab_get_version', { dom: domid_t, pad: pad(2, 2), version: out(u32) });

// biome-ignore format: one op a line
export const grant_table_op = hypercall('grant_table_op', 20, { pv64: true, pvh: true }, { cmd: u32, uop: ptr(void_), count: u32 }, {
  map_grant_ref:    refused(0, 'ENOSYS', 'Map a page that another domain granted.'),
  unmap_grant_ref:  refused(1, 'ENOSYS', 'Undo map_grant_ref.'),
  setup_table:      op(2, gnttab_setup_table, 'Grow the grant table and learn its frames.'),
  dump_table:       refused(3, 'ENOSYS', 'Debugging aid of old.'),
  transfer:         refused(4, 'ENOSYS', 'Give a page away for good.'),
  copy:             refused(5, 'ENOSYS', 'Copy between granted pages.'),
  query_size:       op(6, gnttab_query_size, 'Frames of the table now and at most.'),
  unmap_and_replace: refused(7, 'ENOSYS', 'Unmap and put another page there.'),
  set_version:      op(8, gnttab_set_version, 'Choose the layout of entries; only 1 here.', ['EINVAL', 'ENOSYS']),
  get_status_frames: refused(9, 'ENOSYS', 'Version 2\'s status frames.'),
  get_version:      op(10, gnttab_get_version, 'The layout in use.', ['ESRCH', 'EPERM']),
  swap_grant_ref:   refused(11, 'ENOSYS', 'Exchange two entries.'),
  cache_flush:      refused(12, 'ENOSYS', 'ARM only.'),
}, { before: ['EINVAL'] });
