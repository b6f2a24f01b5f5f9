/** xen:public/xen.h struct start_info, which a PV domain finds at RSI when it starts, and the flags in it. */
import { struct } from '../hypercalls/abi/struct.ts';
import { array, u8, u32, u64 } from '../hypercalls/abi/types.ts';
import { hex64, xen_pfn_t, xen_ulong_t } from '../hypercalls/abi/xen.ts';

export const MAX_GUEST_CMDLINE = 1024;

export const start_info = struct('start_info', {
  magic: array(u8, 32),
  nr_pages: xen_ulong_t,
  /** Machine address of the shared_info page. */
  shared_info: xen_ulong_t,
  flags: u32,
  store_mfn: xen_pfn_t,
  store_evtchn: u32,
  /** In a domU; the initial domain has `info_off` and, 32 bits up, `info_size` of a dom0_vga_console_info here. */
  console_mfn: hex64,
  console_evtchn: u32,
  /** Vaddr of the L4. */
  pt_base: xen_ulong_t,
  nr_pt_frames: xen_ulong_t,
  /** Vaddr of the p2m list. */
  mfn_list: xen_ulong_t,
  /** Vaddr, or with SIF_MOD_START_PFN the pfn, of the ramdisk. */
  mod_start: xen_ulong_t,
  mod_len: xen_ulong_t,
  cmd_line: array(u8, MAX_GUEST_CMDLINE),
  first_p2m_pfn: u64,
  nr_p2m_frames: u64,
});

/** What Xen says of the initial domain's screen: a dom0_vga_console_info behind start_info, here all zeros for no screen. */
export const DOM0_VGA_INFO_OFFSET = start_info.size;
export const DOM0_VGA_INFO_SIZE = 40;

/** SIF_PM_MASK of the initial domain: it may do C-states and P-states (xen_processor_pmbits). */
export const SIF_PM_DEFAULT = 0x300;

/** The text in UTF-8 as a C string in `size` bytes, cut to fit. */
export function encodeText(text: string, size: number): number[] {
  const escaped = encodeURIComponent(text).match(/%..|./g) ?? [];
  const bytes = escaped.slice(0, size - 1).map((part) => (part.length === 3 ? Number.parseInt(part.slice(1), 16) : part.charCodeAt(0)));
  return [...bytes, ...new Array<number>(size - bytes.length).fill(0)];
}
