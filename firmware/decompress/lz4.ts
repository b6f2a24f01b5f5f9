/** LZ4 as Linux's build makes it: the legacy frame, blocks of up to 8 MiB of their own (lz4: doc/lz4_Frame_format.md, lz4_Block_format.md). */
import { CorruptData } from './lzma2.ts';

const BLOCK_SIZE = 8 << 20;
const MATCH_MIN = 4;

/** A byte of a length counts for so many at most. */
const MAX_EXPANSION = 255;

/** What the frame at the start of `bytes` holds. Throws CorruptData. */
export function unpackLz4(bytes: Uint8Array): Uint8Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const blocks: Uint8Array[] = [];
  // Four bytes at the end are no block, but the size of the whole.
  for (let at = 4; at + 8 <= bytes.length; ) {
    const start = at + 4;
    at = start + view.getUint32(at, true);
    if (at > bytes.length) throw new CorruptData('it ends too early');
    blocks.push(bytes.subarray(start, at));
  }
  const whole = new Uint8Array(blocks.reduce((size, { length }) => size + Math.min(BLOCK_SIZE, length * MAX_EXPANSION), 0));
  const size = blocks.reduce((at, block) => unpackBlock(block, whole, at), 0);
  return whole.subarray(0, size);
}

/** Appends what a block holds at `at`; where that ends. */
function unpackBlock(block: Uint8Array, whole: Uint8Array, at: number): number {
  const start = at;
  let to = at;
  let i = 0;
  const length = (nibble: number): number => {
    let count = nibble;
    if (nibble === 15) for (let more = 255; more === 255; count += more) more = block[i++]!;
    return count;
  };
  while (i < block.length) {
    const token = block[i++]!;
    const literals = length(token >> 4);
    if (i + literals > block.length || to + literals > whole.length) throw new CorruptData('a block of it is damaged');
    whole.set(block.subarray(i, i + literals), to);
    i += literals;
    to += literals;
    if (i >= block.length) break;
    const distance = block[i]! + block[i + 1]! * 256;
    i += 2;
    const matched = length(token & 15) + MATCH_MIN;
    if (distance === 0 || distance > to - start || to + matched > whole.length) throw new CorruptData('a block of it is damaged');
    for (const end = to + matched; to < end; to++) whole[to] = whole[to - distance]!;
  }
  return to;
}
