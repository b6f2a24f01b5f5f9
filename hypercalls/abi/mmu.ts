/** xen:public/xen.h, the calls with which a PV guest changes its page tables: mmu_update, mmuext_op, update_va_mapping. */
import { batch, call, hypercall } from './hypercall.ts';
import { pad, struct } from './struct.ts';
import { ptr, symbols, u32 } from './types.ts';
import { domid_t, hex64 } from './xen.ts';

/** Low bits of mmu_update.ptr. */
export const MMU_NORMAL_PT_UPDATE = 0;
export const MMU_MACHPHYS_UPDATE = 1;
export const MMU_PT_UPDATE_PRESERVE_AD = 2;
export const MMU_PT_UPDATE_NO_TRANSLATE = 3;

export const mmu_update_t = struct('mmu_update', {
  /** Machine address of the entry, and what to do in bits 0-2. */
  ptr: hex64,
  val: hex64,
});

// biome-ignore format: one command a line
export const mmuextCmds = {
  MMUEXT_PIN_L1_TABLE:       0,
  MMUEXT_PIN_L2_TABLE:       1,
  MMUEXT_PIN_L3_TABLE:       2,
  MMUEXT_PIN_L4_TABLE:       3,
  MMUEXT_UNPIN_TABLE:        4,
  MMUEXT_NEW_BASEPTR:        5,
  MMUEXT_TLB_FLUSH_LOCAL:    6,
  MMUEXT_INVLPG_LOCAL:       7,
  MMUEXT_TLB_FLUSH_MULTI:    8,
  MMUEXT_INVLPG_MULTI:       9,
  MMUEXT_TLB_FLUSH_ALL:      10,
  MMUEXT_INVLPG_ALL:         11,
  MMUEXT_FLUSH_CACHE:        12,
  MMUEXT_SET_LDT:            13,
  MMUEXT_NEW_USER_BASEPTR:   15,
  MMUEXT_CLEAR_PAGE:         16,
  MMUEXT_COPY_PAGE:          17,
  MMUEXT_FLUSH_CACHE_GLOBAL: 18,
  MMUEXT_MARK_SUPER:         19,
  MMUEXT_UNMARK_SUPER:       20,
} as const;

export const mmuext_op_t = struct('mmuext_op', {
  cmd: symbols('mmuext_cmd', u32, mmuextCmds),
  pad: pad(4),
  /** `mfn` or `linear_addr`. */
  arg1: hex64,
  /** `nr_ents` (32 bits), `vcpumask` (a pointer) or `src_mfn`. */
  arg2: hex64,
});

/** Bits 0-1 of update_va_mapping's flags; the others are UVMF_LOCAL, UVMF_ALL or a pointer to a vCPU mask. */
export const UVMF_TLB_FLUSH = 1n;
export const UVMF_INVLPG = 2n;
export const UVMF_FLUSHTYPE_MASK = 3n;
export const UVMF_LOCAL = 0n;
export const UVMF_ALL = 4n;

/** Of `count`: `pdone` has what earlier slices of the batch did. */
export const MMU_UPDATE_PREEMPTED = 0x8000_0000;

/** `foreigndom` of mmu_update: whose frames, and in the upper half 1 + whose page tables. */
const foreigndom = u32;

export const mmu_update = hypercall(
  'mmu_update',
  1,
  { pv64: true },
  { ureqs: ptr(mmu_update_t), count: u32, pdone: ptr(u32), foreigndom },
  batch(
    call(mmu_update_t, 'Change page-table entries or the machine-to-physical table.', [
      'EINVAL',
      'EPERM',
      'ESRCH',
      'EBUSY',
      'EACCES',
      'ENOMEM',
      'ENOSYS',
    ]),
    'count',
    { continuedBit: MMU_UPDATE_PREEMPTED },
  ),
);

export const mmuext_op = hypercall(
  'mmuext_op',
  26,
  { pv64: true, pvh: true },
  { uops: ptr(mmuext_op_t), count: u32, pdone: ptr(u32), foreigndom },
  batch(
    call(mmuext_op_t, 'Pin, switch and flush page tables; set the LDT; clear and copy pages.', [
      'EINVAL',
      'EPERM',
      'ESRCH',
      'EBUSY',
      'EACCES',
      'ENOMEM',
      'ENOSYS',
      'EOPNOTSUPP',
    ]),
    'count',
    { continuedBit: MMU_UPDATE_PREEMPTED },
  ),
);

export const update_va_mapping = hypercall(
  'update_va_mapping',
  14,
  { pv64: true },
  { va: hex64, val: hex64, flags: hex64 },
  call(null, 'Change the L1 entry that maps a vaddr, and flush.', ['EINVAL', 'EPERM', 'EBUSY', 'EACCES', 'ENOMEM', 'EFAULT']),
);

export const update_va_mapping_otherdomain = hypercall(
  'update_va_mapping_otherdomain',
  22,
  { pv64: true },
  { va: hex64, val: hex64, flags: hex64, domid: domid_t },
  call(null, 'The same, to map a frame of another domain.', ['EINVAL', 'EPERM', 'ESRCH', 'EBUSY', 'EACCES', 'ENOMEM', 'EFAULT']),
);
