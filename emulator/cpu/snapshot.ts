/**
 * A CPU with its memory, frozen: registers, instruction count, what waits (shadows, NMIs, an interrupt window), and the pages
 * of RAM that are not all zero. Plain data of typed arrays: it can be cloned, posted to a worker, kept in a file, and
 * restored on any CPU with as much memory, whatever its engine. What the host holds (intercepts, breakpoints) is not in it.
 */
import type { CpuContext, PhysicalMemory } from './interface.ts';
import * as L from './layout.ts';
import { PAGE_SIZE } from './layout.ts';

export interface MemorySnapshot {
  /** Bytes of RAM in all. */
  readonly size: number;
  /** Frames that hold anything but zeros, ascending, and their bytes in that order. */
  readonly frames: Uint32Array;
  readonly bytes: Uint8Array;
}

export interface CpuSnapshot {
  readonly context: CpuContext;
  readonly instructions: number;
  readonly wantsInterruptWindow: boolean;
  readonly memory: MemorySnapshot;
}

export function saveMemory({ size, bytes }: PhysicalMemory): MemorySnapshot {
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset, size / 4);
  const frames: number[] = [];
  for (let frame = 0; frame < size / PAGE_SIZE; frame++) if (!isZero(words, frame)) frames.push(frame);
  const kept = new Uint8Array(frames.length * PAGE_SIZE);
  frames.forEach((frame, i) => {
    kept.set(bytes.subarray(frame * PAGE_SIZE, (frame + 1) * PAGE_SIZE), i * PAGE_SIZE);
  });
  return { size, frames: Uint32Array.from(frames), bytes: kept };
}

/** Throws a RangeError when the memory is not as large as the one that was saved. */
export function loadMemory({ size, bytes, written }: PhysicalMemory, snapshot: MemorySnapshot): void {
  if (snapshot.size !== size) throw new RangeError(`a snapshot of ${snapshot.size} bytes of RAM does not fit a CPU with ${size}`);
  bytes.fill(0);
  snapshot.frames.forEach((frame, i) => {
    bytes.set(snapshot.bytes.subarray(i * PAGE_SIZE, (i + 1) * PAGE_SIZE), frame * PAGE_SIZE);
  });
  written(0, size);
}

function isZero(words: Uint32Array, frame: number): boolean {
  const end = ((frame + 1) * PAGE_SIZE) / 4;
  for (let i = (frame * PAGE_SIZE) / 4; i < end; i++) if (words[i] !== 0) return false;
  return true;
}

export const CONTEXT_SIZE = L.CONTEXT_END - L.CONTEXT_START;

/** What the engine left between the registers, and nobody reads again. */
const LEAVINGS: readonly (readonly [start: number, size: number])[] = [
  [L.ARGS, L.LINK_FROM - L.ARGS],
  [L.LINK_FROM, 8],
  [L.SCRATCH, L.SCRATCH_END - L.SCRATCH],
];

/** The registers alone: the same, whatever was done before to get there. */
export function lastingContext({ bytes }: CpuContext): Uint8Array {
  const kept = bytes.slice();
  for (const [start, size] of LEAVINGS) kept.fill(0, start - L.CONTEXT_START, start - L.CONTEXT_START + size);
  return kept;
}
