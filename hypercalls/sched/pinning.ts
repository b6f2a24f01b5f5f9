/**
 * SCHEDOP_pin_override: a vCPU of the hardware domain asks for one physical core for a while. There is one core, so that
 * nothing moves; what it is told of its core by VCPUOP_get_physid depends on it.
 */
import { defineSlot } from '../../emulator/slot.ts';
import type { Vcpu } from '../../emulator/vcpu.ts';

const CORES = 1;
const INT_MAX = 0x7fff_ffff;

const pinning = defineSlot<Vcpu, { isPinned: boolean }>(() => ({ isPinned: false }));

export const isPinned = (vcpu: Vcpu): boolean => pinning.of(vcpu).isPinned;

/** `pcpu` below 0: it may move again. */
export function pin(vcpu: Vcpu, pcpu: number): 'EINVAL' | 'EBUSY' | undefined {
  const state = pinning.of(vcpu);
  if (pcpu === INT_MAX || pcpu >= CORES) return 'EINVAL';
  if (pcpu < 0 && !state.isPinned) return 'EINVAL';
  if (pcpu >= 0 && state.isPinned) return 'EBUSY';
  state.isPinned = pcpu >= 0;
  return undefined;
}
