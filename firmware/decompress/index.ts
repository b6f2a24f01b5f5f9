/** What kernels are compressed with, by the first bytes, and how that is undone. */
import { gunzipSync } from 'fflate/browser';
import { decompress as unpackZstd } from 'fzstd';
import { ImageError } from '../image_error.ts';
import { unpackLz4 } from './lz4.ts';
import { unpackXz } from './xz.ts';

interface Compression {
  readonly name: string;
  readonly magic: readonly number[];
  /** Does not want to see anything behind the data. */
  readonly isStrict?: true;
  unpack?(bytes: Uint8Array): Uint8Array;
}

// biome-ignore format: a table
const compressions: readonly Compression[] = [
  { name: 'gzip',  magic: [0x1f, 0x8b],                         unpack: (bytes) => gunzipSync(bytes) },
  { name: 'bzip2', magic: [0x42, 0x5a, 0x68] },
  { name: 'lzma',  magic: [0x5d, 0x00, 0x00] },
  { name: 'xz',    magic: [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00], unpack: unpackXz },
  { name: 'lzo',   magic: [0x89, 0x4c, 0x5a, 0x4f] },
  { name: 'lz4',   magic: [0x02, 0x21, 0x4c, 0x18],             unpack: unpackLz4 },
  { name: 'zstd',  magic: [0x28, 0xb5, 0x2f, 0xfd],             unpack: (bytes) => unpackZstd(bytes), isStrict: true },
];

/** The last that was unpacked, as long as nobody needs the memory: a host creates many domains of one kernel. */
let last: WeakRef<{ readonly packed: Uint8Array; readonly unpacked: Uint8Array }> | undefined;

function isSame(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

/**
 * What `bytes` hold, or as they are if they are not compressed. `sizeBehind`: so many bytes at the end are not of the
 * compressed data, unless the format has its size there itself.
 */
export function decompress(bytes: Uint8Array, what: string, sizeBehind = 0): Uint8Array | ImageError {
  const found = compressions.find(({ magic }) => magic.every((byte, i) => bytes[i] === byte));
  if (found === undefined) return bytes;
  const { name, isStrict, unpack } = found;
  if (unpack === undefined) return new ImageError(`${what} compressed with ${name}: not supported`, 'unpack it first');
  const known = last?.deref();
  if (known !== undefined && isSame(known.packed, bytes)) return known.unpacked;
  try {
    const unpacked = unpack(isStrict ? bytes.subarray(0, bytes.length - sizeBehind) : bytes);
    last = new WeakRef({ packed: bytes, unpacked });
    return unpacked;
  } catch (error) {
    return new ImageError(`${what} compressed with ${name} cannot be unpacked: ${(error as Error).message}`, 'copy the file again');
  }
}
