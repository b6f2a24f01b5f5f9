/** The xz format: blocks of LZMA2, perhaps behind the x86 filter, as the kernel's build makes them (The .xz File Format 1.2). */
import { crc32, joined } from '../../emulator/bytes.ts';
import { CorruptData, decodeLzma2 } from './lzma2.ts';
import { undoX86Filter } from './x86_filter.ts';

const STREAM_HEADER_SIZE = 12;
const LZMA2 = 0x21;
const X86 = 0x04;
const HAS_COMPRESSED_SIZE = 0x40;
const HAS_SIZE = 0x80;
/** Bytes of a block's check, by its kind; 1 is a CRC32, which is looked at. */
const CHECK_SIZES = [0, 4, 4, 4, 8, 8, 8, 16, 16, 16, 32, 32, 32, 64, 64, 64] as const;
const CRC32 = 1;

interface BlockHeader {
  readonly end: number;
  /** What the first byte counts as for the x86 filter; undefined: there is no such filter. */
  readonly x86Start: number | undefined;
}

/** A number of 7 bits a byte, the lowest first. */
function readNumber(bytes: Uint8Array, at: number): { value: number; end: number } {
  let value = 0;
  for (let i = 0; i < 9; i++) {
    const byte = bytes[at + i] ?? 0;
    value += (byte & 0x7f) * 2 ** (7 * i);
    if (byte < 0x80) return { value, end: at + i + 1 };
  }
  throw new CorruptData('a number in it has no end');
}

function readBlockHeader(bytes: Uint8Array, at: number): BlockHeader {
  const end = at + (bytes[at]! + 1) * 4;
  const flags = bytes[at + 1]!;
  let next = at + 2;
  const take = (): number => {
    const { value, end } = readNumber(bytes, next);
    next = end;
    return value;
  };
  if (flags & HAS_COMPRESSED_SIZE) take();
  if (flags & HAS_SIZE) take();
  let x86Start: number | undefined;
  for (let left = (flags & 3) + 1; left > 0; left--) {
    const filter = take();
    const size = take();
    const properties = new DataView(bytes.buffer, bytes.byteOffset + next, size);
    next += size;
    if (filter === X86 && left > 1) x86Start = size === 4 ? properties.getUint32(0, true) : 0;
    else if (filter !== LZMA2 || left > 1) throw new CorruptData(`its filter 0x${filter.toString(16)} is not supported`);
  }
  return { end, x86Start };
}

/** What the stream at the start of `bytes` holds; what stands behind it is not looked at. Throws CorruptData. */
export function unpackXz(bytes: Uint8Array): Uint8Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const check = bytes[7]! & 15;
  const blocks: Uint8Array[] = [];
  for (let at = STREAM_HEADER_SIZE; bytes[at] !== 0; ) {
    if (at >= bytes.length) throw new CorruptData('it ends too early');
    const header = readBlockHeader(bytes, at);
    const { data, end } = decodeLzma2(bytes, header.end);
    if (header.x86Start !== undefined) undoX86Filter(data, header.x86Start);
    const checkAt = end + ((header.end - end) & 3);
    if (check === CRC32 && view.getUint32(checkAt, true) !== crc32(data)) throw new CorruptData('its checksum is wrong');
    blocks.push(data);
    at = checkAt + CHECK_SIZES[check]!;
  }
  return joined(blocks);
}
