/**
 * The `pdone` counter of mmu_update and mmuext_op: how many elements succeeded, over all slices of a call that the
 * dispatcher lets the guest make again. A pointer that cannot be written is ignored, as in Xen.
 */
import { defineSlot } from '../../emulator/slot.ts';
import type { Vcpu } from '../../emulator/vcpu.ts';
import type { Call } from '../call.ts';
import { writeU32 } from '../guest_memory.ts';

/** What a slice leaves for the next: the arguments that it will have, and what was done before. */
interface Progress {
  array: bigint;
  count: bigint;
  done: number;
}

const progressOf = defineSlot<Vcpu, Progress>(() => ({ array: 0n, count: 0n, done: 0 }));

/** After a slice: `done` of the `count` elements in it, of `elementSize` bytes, succeeded. */
export function countDone(call: Call, count: number, elementSize: number, pdone: bigint, done: number): void {
  const progress = progressOf.of(call.vcpu);
  const array = call.args[0]!;
  const isContinued = progress.done > 0 && progress.array === array && progress.count === BigInt(count);
  const total = (isContinued ? progress.done : 0) + done;
  if (pdone !== 0n) writeU32(call.host, pdone, total);
  progress.array = array + BigInt(done * elementSize);
  progress.count = BigInt(count - done);
  progress.done = done < count ? total : 0;
}
