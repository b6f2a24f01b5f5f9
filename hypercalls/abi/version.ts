/** xen:public/version.h: who ring -1 says it is, and what it can do. */
import { hypercall, op } from './hypercall.ts';
import { out, struct } from './struct.ts';
import { chars, flags, i32, ptr, u32, void_ } from './types.ts';
import { xen_ulong_t } from './xen.ts';

export const xen_extraversion_t = struct('xen_extraversion_t', { text: out(chars(16)) });
export const xen_compile_info = struct('xen_compile_info', {
  compiler: out(chars(64)),
  compile_by: out(chars(16)),
  compile_domain: out(chars(32)),
  compile_date: out(chars(32)),
});
export const xen_capabilities_info_t = struct('xen_capabilities_info_t', { text: out(chars(1024)) });
export const xen_changeset_info_t = struct('xen_changeset_info_t', { text: out(chars(64)) });
export const xen_platform_parameters = struct('xen_platform_parameters', { virt_start: out(xen_ulong_t) });

// biome-ignore format: one feature a line, with its bit
export const XENFEAT = {
  writable_page_tables:       1 << 0,
  writable_descriptor_tables: 1 << 1,
  auto_translated_physmap:    1 << 2,
  supervisor_mode_kernel:     1 << 3,
  pae_pgdir_above_4gb:        1 << 4,
  mmu_pt_update_preserve_ad:  1 << 5,
  highmem_assist:             1 << 6,
  gnttab_map_avail_bits:      1 << 7,
  hvm_callback_vector:        1 << 8,
  hvm_safe_pvclock:           1 << 9,
  hvm_pirqs:                  1 << 10,
  dom0:                       1 << 11,
  grant_map_identity:         1 << 12,
  memory_op_vnode_supported:  1 << 13,
  ARM_SMCCC_supported:        1 << 14,
  linux_rsdp_unrestricted:    1 << 15,
  not_direct_mapped:          1 << 16,
  direct_mapped:              1 << 17,
} as const;

export const xen_feature_info = struct('xen_feature_info', { submap_idx: u32, submap: out(flags('uint32_t', u32, XENFEAT)) });

// biome-ignore format: one op a line
export const xen_version = hypercall('xen_version', 17, { pv64: true, pvh: true }, { cmd: i32, arg: ptr(void_) }, {
  version:             op(0, null, 'major << 16 | minor; also the cheapest call, made to receive events.', [], { returns: 'value' }),
  extraversion:        op(1, xen_extraversion_t, 'What follows major.minor.'),
  compile_info:        op(2, xen_compile_info, 'Compiler, builder and date.'),
  capabilities:        op(3, xen_capabilities_info_t, 'Kinds of guests.'),
  changeset:           op(4, xen_changeset_info_t, 'Source revision.'),
  platform_parameters: op(5, xen_platform_parameters, 'Where the hypervisor\'s part of the address space starts.'),
  get_features:        op(6, xen_feature_info, 'XENFEAT_* bits.', ['EINVAL']),
  pagesize:            op(7, null, 'Bytes of a page; the pointer must be NULL.', ['EINVAL'], { returns: 'value' }),
  guest_handle:        op(8, null, 'The domain\'s 16-byte handle.'),
  commandline:         op(9, null, 'Ring -1\'s command line (privileged; others read <denied>).'),
  build_id:            op(10, null, 'Hash of the build; RAX is its size (privileged).', ['EPERM', 'EINVAL', 'ENOBUFS'], { returns: 'value' }),
});
