/**
 * SCHEDOP_pin_override: a vCPU of the hardware domain asks for one physical core for a while, and VCPUOP_get_physid says
 * which core it is bound to. As Xen gives that domain a vCPU for each core unless told otherwise, it sees as many cores.
 */
import { defineSlot } from '../../emulator/slot.ts';
import type { Vcpu } from '../../emulator/vcpu.ts';

const INT_MAX = 0x7fff_ffff;

const pinning = defineSlot<Vcpu, { isPinned: boolean }>(() => ({ isPinned: false }), { name: 'sched.pinning' });

/** It can run on one core only. */
export const isBoundToCore = (vcpu: Vcpu): boolean => vcpu.domain.vcpus.length === 1 || pinning.of(vcpu).isPinned;

/** `pcpu` below 0: it may move again. */
export function pin(vcpu: Vcpu, pcpu: number): 'EINVAL' | 'EBUSY' | undefined {
  const state = pinning.of(vcpu);
  if (pcpu === INT_MAX || pcpu >= vcpu.domain.vcpus.length) return 'EINVAL';
  if (pcpu < 0 && !state.isPinned) return 'EINVAL';
  if (pcpu >= 0 && state.isPinned) return 'EBUSY';
  state.isPinned = pcpu >= 0;
  return undefined;
}
