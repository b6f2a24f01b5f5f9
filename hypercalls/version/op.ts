/** XENVER_*: what Debian 12's Xen 4.17 says of itself, to the letter, so that a guest sees no difference. */
import type { Domain } from '../../emulator/domain.ts';
import { PAGE_SIZE } from '../../emulator/memory/machine_memory.ts';
import { defineSlot } from '../../emulator/slot.ts';
import { XENFEAT, xen_version } from '../abi/version.ts';
import { VMASST_TYPE } from '../abi/xen_calls.ts';
import { copyToGuest, readU32 } from '../guest_memory.ts';
import { implement } from '../implement.ts';

export const VERSION = (4 << 16) | 17;
export const HYPERVISOR_VIRT_START = 0xffff_8000_0000_0000n;
const DENIED = new Uint8Array([...'<denied>\0'].map((c) => c.charCodeAt(0)));
const EMPTY = new Uint8Array(1);
export const BUILD_ID_TEXT = '151b373fd64b321593bf987fd923cd10dabadac4';
const BUILD_ID = bytesOf(BUILD_ID_TEXT);
export const EXTRAVERSION = '.7';
export const COMPILE_INFO = {
  compiler: 'x86_64-linux-gnu-gcc (Debian 12.2.0-14+deb12u1) 12.2.0',
  compile_by: 'pkg-xen-devel',
  compile_domain: 'lists.alioth.debian.org',
  compile_date: 'Wed Nov  4 16:52:28 UTC 2026',
};
export const CAPABILITIES = 'xen-3.0-x86_64 hvm-3.0-x86_32 hvm-3.0-x86_32p hvm-3.0-x86_64 ';

/** The UUID that the toolstack gave the domain. */
export const domainHandle = defineSlot<Domain, Uint8Array>(() => new Uint8Array(16), { name: 'version.domain_handle' });

/** The 16 bytes that a UUID's digits stand for. */
export const handleOf = (uuid: string): Uint8Array => bytesOf(uuid.replaceAll('-', ''));

function bytesOf(digits: string): Uint8Array {
  return Uint8Array.from(digits.match(/../g) ?? [], (byte) => Number.parseInt(byte, 16));
}

function featuresOf(domain: Domain): number {
  const common = XENFEAT.memory_op_vnode_supported | (domain.isInitial ? XENFEAT.dom0 : 0);
  if (domain.type === 'pvh') {
    return (
      common |
      XENFEAT.writable_page_tables |
      XENFEAT.auto_translated_physmap |
      XENFEAT.hvm_callback_vector |
      XENFEAT.hvm_safe_pvclock |
      XENFEAT.not_direct_mapped
    );
  }
  const hasWidePgdir = ((domain.vmAssist >> BigInt(VMASST_TYPE.pae_extended_cr3)) & 1n) !== 0n;
  return (
    common |
    (hasWidePgdir ? XENFEAT.pae_pgdir_above_4gb : 0) |
    XENFEAT.mmu_pt_update_preserve_ad |
    XENFEAT.highmem_assist |
    XENFEAT.gnttab_map_avail_bits |
    XENFEAT.direct_mapped
  );
}

const version = implement(xen_version, {
  version: () => VERSION,
  extraversion: () => ({ text: EXTRAVERSION }),
  compile_info: () => COMPILE_INFO,
  capabilities: () => ({ text: CAPABILITIES }),
  changeset: () => ({ text: '' }),
  platform_parameters: () => ({ virt_start: HYPERVISOR_VIRT_START }),
  get_features: (call, { submap_idx }) => (submap_idx === 0 ? { submap: featuresOf(call.domain) } : 'EINVAL'),
  pagesize: (call) => (call.args[1] === 0n ? PAGE_SIZE : 'EINVAL'),
  guest_handle: (call) => (copyToGuest(call.host, call.args[1]!, domainHandle.of(call.domain)) ? undefined : 'EFAULT'),
  commandline: (call) => (copyToGuest(call.host, call.args[1]!, call.domain.isInitial ? EMPTY : DENIED) ? undefined : 'EFAULT'),
  build_id(call) {
    if (!call.domain.isInitial) return 'EPERM';
    const pointer = call.args[1]!;
    if (pointer === 0n) return BUILD_ID.length;
    const room = readU32(call.host, pointer);
    if (room === undefined) return 'EFAULT';
    if (room === 0) return 'EINVAL';
    if (room < BUILD_ID.length) return 'ENOBUFS';
    return copyToGuest(call.host, BigInt.asUintN(64, pointer + 4n), BUILD_ID) ? BUILD_ID.length : 'EFAULT';
  },
});

export const versionFamily = [version];
