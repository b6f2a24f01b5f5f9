/** A few pages that stand for the machine's RAM where no CPU is needed. */
import type { PhysicalMemory } from '../../emulator/cpu/interface.ts';

export function pageOfMemory(count = 1): PhysicalMemory {
  const bytes = new Uint8Array(count * 4096);
  const copy = (to: number, from: number, length: number): void => void bytes.copyWithin(to, from, from + length);
  return { size: bytes.length, bytes, view: new DataView(bytes.buffer), isCode: new Uint8Array(count), copy, written() {} };
}
