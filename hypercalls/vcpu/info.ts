/** VCPUOP_register_vcpu_info: the vcpu_info leaves shared_info for a page of the guest's (xen:common/domain.c map_vcpu_info). */
import type { Host } from '../../emulator/host.ts';
import { holdOwnFrame } from '../../emulator/memory/held_frames.ts';
import { PAGE_SIZE } from '../../emulator/memory/machine_memory.ts';
import { frameOf, gfnOf } from '../../emulator/memory/p2m.ts';
import { defineSlot } from '../../emulator/slot.ts';
import type { Vcpu } from '../../emulator/vcpu.ts';
import { vcpu_info } from '../abi/xen.ts';
import { selectAll } from '../event_channel/upcall.ts';

const info = defineSlot<Vcpu, { isMoved: boolean }>(() => ({ isMoved: false }), { name: 'vcpu.info' });
const { evtchn_upcall_mask: UPCALL_MASK } = vcpu_info.offset;

/** Moves it to `offset` of the guest's frame `gfn`, which stays writable and the guest's for good. */
export function moveVcpuInfo(host: Host, vcpu: Vcpu, gfn: bigint, offset: number): 'EINVAL' | 'ENXIO' | undefined {
  if (offset > PAGE_SIZE - vcpu_info.size || offset % vcpu_info.align !== 0) return 'ENXIO';
  const state = info.of(vcpu);
  if (state.isMoved) return 'EINVAL';
  if (vcpu !== host.current && vcpu.isUp) return 'EINVAL';
  const frame = frameOf(host.memory, vcpu.domain, gfnOf(gfn));
  if (frame < 0 || holdOwnFrame(host.memory, vcpu.domain, frame) !== undefined) return 'EINVAL';
  const { bytes } = host.memory;
  const maddr = frame * PAGE_SIZE + offset;
  if (vcpu.hasVcpuInfo) {
    bytes.copyWithin(maddr, vcpu.vcpuInfoMaddr, vcpu.vcpuInfoMaddr + vcpu_info.size);
  } else {
    bytes.fill(0, maddr, maddr + vcpu_info.size);
    bytes[maddr + UPCALL_MASK] = 1;
  }
  vcpu.hasVcpuInfo = true;
  vcpu.vcpuInfoMaddr = maddr;
  state.isMoved = true;
  // Whatever came in while the guest looked at neither place: one look at every port finds it.
  selectAll(host, vcpu);
  host.memory.written(maddr, vcpu_info.size);
  return undefined;
}
