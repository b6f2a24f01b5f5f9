/**
 * The `pdone` counter of mmu_update and mmuext_op: how many elements succeeded, over all slices of a batch. A continued call
 * says so in its count and finds there what was done before. A pointer that cannot be followed is ignored, as in Xen.
 */
import { MMU_UPDATE_PREEMPTED } from '../abi/mmu.ts';
import { type Call, registerWords } from '../call.ts';
import { readU32, writeU32 } from '../guest_memory.ts';

/** Of the third register; most guests pass none. */
const hasPdone = (): boolean => (registerWords[4]! | registerWords[5]!) !== 0;

/** After a slice in which `done` elements succeeded. */
export function countDone({ host }: Call, registers: { readonly count: number; readonly pdone: bigint }, done: number): void {
  if (!hasPdone()) return;
  const { count, pdone } = registers;
  const before = count >= MMU_UPDATE_PREEMPTED ? (readU32(host, pdone) ?? 0) : 0;
  writeU32(host, pdone, before + done);
}
