/**
 * The file of a saved domain: what it is and its size, then the data (plain_data.ts) in parts, each packed, behind its size
 * and its checksum. A file from anywhere is read: whatever is wrong with it is a sentence, and it never takes more memory than
 * a host's domains may have.
 */
import { crc32 } from '../bytes.ts';
import { DataError, decode, encode } from '../plain_data.ts';
import { ToolstackError } from './toolstack_error.ts';

/** Of another program's making, and unpacking ends at `most` bytes. What cannot be unpacked is undefined. */
export interface Packing {
  /** Beside everything else that this process does. */
  pack(bytes: Uint8Array): Promise<Uint8Array>;
  unpack(bytes: Uint8Array, most: number): Uint8Array | undefined;
}

const MAGIC = Uint8Array.from('beneath\x1a', (character) => character.charCodeAt(0));
export const SAVE_VERSION = 3;
/** MAGIC, then as u32: the version, the size of the data. */
const HEADER_SIZE = MAGIC.length + 8;
/** As u32: the size of what is packed, its CRC. */
const PART_HEADER_SIZE = 8;
/** Of the data: as many bytes as xl takes along in one go. */
const PART_SIZE = 1024 * 4096;

/** Beside a domain's memory: registers, books of frames, xenstore. */
const MOST_BESIDE = 64 * 1024 * 1024;

const u32s = (...values: number[]): Uint8Array => {
  const view = new DataView(new ArrayBuffer(4 * values.length));
  for (const [i, value] of values.entries()) view.setUint32(4 * i, value, true);
  return new Uint8Array(view.buffer);
};

/** The file, piece by piece; `progress` is told how much of it has been taken, from 0 to 1. */
export async function* writeSaveFile(data: unknown, { pack }: Packing, progress?: (done: number) => void): AsyncGenerator<Uint8Array> {
  const bytes = encode(data);
  yield MAGIC;
  yield u32s(SAVE_VERSION, bytes.length);
  for (let at = 0; at < bytes.length; at += PART_SIZE) {
    const packed = await pack(bytes.subarray(at, at + PART_SIZE));
    yield u32s(packed.length, crc32(packed));
    yield packed;
    progress?.(Math.min(1, (at + PART_SIZE) / bytes.length));
  }
}

/** The data; a host whose domains have `memory` bytes has no use for much more. */
export function readSaveFile(path: string, file: Uint8Array, memory: number, packing: Packing): unknown {
  const refuse = (what: string): never => {
    throw new ToolstackError(`${path} ${what}`);
  };
  if (file.length < HEADER_SIZE || MAGIC.some((byte, i) => file[i] !== byte)) refuse('holds no saved domain');
  const view = new DataView(file.buffer, file.byteOffset, file.length);
  const version = view.getUint32(MAGIC.length, true);
  if (version !== SAVE_VERSION) refuse(`has version ${version} of the format, and this beneath reads version ${SAVE_VERSION}`);
  const size = view.getUint32(MAGIC.length + 4, true);
  if (size > memory + MOST_BESIDE) refuse(`holds ${Math.ceil(size / 2 ** 20)} MiB, more than this host has memory`);
  const bytes = unpackParts(view, size, packing);
  if (bytes === undefined) return refuse('is broken: its content is not what was written');
  try {
    return decode(bytes);
  } catch (error) {
    if (!(error instanceof DataError)) throw error;
    return refuse(`is broken: ${error.message}`);
  }
}

/** undefined: they are not what was written. */
function unpackParts(file: DataView, size: number, { unpack }: Packing): Uint8Array | undefined {
  const bytes = new Uint8Array(size);
  let done = 0;
  for (let at = HEADER_SIZE; at < file.byteLength; ) {
    const start = at + PART_HEADER_SIZE;
    if (start > file.byteLength) return undefined;
    const packedSize = file.getUint32(at, true);
    const end = start + packedSize;
    if (end > file.byteLength) return undefined;
    const packed = new Uint8Array(file.buffer, file.byteOffset + start, packedSize);
    if (crc32(packed) !== file.getUint32(at + 4, true)) return undefined;
    const partSize = Math.min(PART_SIZE, size - done);
    const part = unpack(packed, partSize);
    if (part?.length !== partSize) return undefined;
    bytes.set(part, done);
    done += partSize;
    at = end;
  }
  return done === size ? bytes : undefined;
}
