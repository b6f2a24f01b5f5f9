/**
 * The file of a saved domain: what it is, its size and its checksum, then the data (plain_data.ts), packed. A file from
 * anywhere is read: whatever is wrong with it is a sentence, and it never takes more memory than a host's domains may have.
 */
import { DataError, decode, encode } from '../plain_data.ts';
import { ToolstackError } from './toolstack_error.ts';

/** Of another program's making, and unpacking ends at `most` bytes. What cannot be unpacked is undefined. */
export interface Packing {
  pack(bytes: Uint8Array): Uint8Array;
  unpack(bytes: Uint8Array, most: number): Uint8Array | undefined;
}

const MAGIC = Uint8Array.from('beneath\x1a', (character) => character.charCodeAt(0));
const VERSION = 2;
/** MAGIC, then as u32: the version, the CRC of what is packed, the size of the data. */
const HEADER_SIZE = MAGIC.length + 12;

/** Beside a domain's memory: registers, books of frames, xenstore. */
const MOST_BESIDE = 64 * 1024 * 1024;

const crcTable = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0xedb8_8320 : crc >>> 1;
  return crc;
});

function crc32(bytes: Uint8Array): number {
  let crc = -1;
  for (const byte of bytes) crc = (crc >>> 8) ^ crcTable[(crc ^ byte) & 0xff]!;
  return ~crc >>> 0;
}

/** The file, in parts. */
export function writeSaveFile(data: unknown, { pack }: Packing): Uint8Array[] {
  const bytes = encode(data);
  const packed = pack(bytes);
  const header = new Uint8Array(HEADER_SIZE);
  const view = new DataView(header.buffer);
  header.set(MAGIC);
  view.setUint32(MAGIC.length, VERSION, true);
  view.setUint32(MAGIC.length + 4, crc32(packed), true);
  view.setUint32(MAGIC.length + 8, bytes.length, true);
  return [header, packed];
}

/** The data; a host whose domains have `memory` bytes has no use for much more. */
export function readSaveFile(path: string, file: Uint8Array, memory: number, { unpack }: Packing): unknown {
  const refuse = (what: string): never => {
    throw new ToolstackError(`${path} ${what}`);
  };
  if (file.length < HEADER_SIZE || MAGIC.some((byte, i) => file[i] !== byte)) refuse('holds no saved domain');
  const view = new DataView(file.buffer, file.byteOffset);
  const version = view.getUint32(MAGIC.length, true);
  if (version !== VERSION) refuse(`has version ${version} of the format, and this beneath reads version ${VERSION}`);
  const size = view.getUint32(MAGIC.length + 8, true);
  if (size > memory + MOST_BESIDE) refuse(`holds ${Math.ceil(size / 2 ** 20)} MiB, more than this host has memory`);
  const packed = file.subarray(HEADER_SIZE);
  const isWhole = crc32(packed) === view.getUint32(MAGIC.length + 4, true);
  const bytes = isWhole ? unpack(packed, size) : undefined;
  if (bytes?.length !== size) return refuse('is broken: its content is not what was written');
  try {
    return decode(bytes);
  } catch (error) {
    if (!(error instanceof DataError)) throw error;
    return refuse(`is broken: ${error.message}`);
  }
}
