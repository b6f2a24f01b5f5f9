/** Sizes of memory as people write them. */
import { PAGE_SIZE } from '../memory/machine_memory.ts';

const MIB = 1024 * 1024;
const UNITS: Readonly<Record<string, number>> = { K: 1024, M: MIB, G: 1024 * MIB };
export const MIN_MEMORY = 4 * MIB;
export const MAX_MEMORY = 3 * UNITS.G!;

/** Bytes of `128M`, `1G`, `8192K`, or of a number alone, which means MiB; else what is wrong, as a sentence. */
export function parseMemory(text: string): number | string {
  const match = /^(\d+(?:\.\d+)?)([KMG])?i?B?$/i.exec(text.trim());
  if (match === null) return 'Write a size such as 128M or 1G (a number alone means MiB).';
  const size = Number(match[1]) * UNITS[(match[2] ?? 'M').toUpperCase()]!;
  if (size < MIN_MEMORY || size > MAX_MEMORY) return 'Give from 4M to 3G.';
  if (size % PAGE_SIZE !== 0) return 'Give whole pages of 4K.';
  return size;
}
