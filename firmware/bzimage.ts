/** Finds the ELF inside a Linux bzImage (Linux: Documentation/arch/x86/boot.rst, fields setup_sects, payload_offset, payload_length). */
import { ImageError } from './image_error.ts';

const HEADER_MAGIC_AT = 0x202;
const FIRST_VERSION_WITH_PAYLOAD = 0x0208;

const COMPRESSIONS: readonly (readonly [name: string, ...magic: number[]])[] = [
  ['gzip', 0x1f, 0x8b],
  ['bzip2', 0x42, 0x5a, 0x68],
  ['lzma', 0x5d, 0x00, 0x00],
  ['xz', 0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00],
  ['lzo', 0x89, 0x4c, 0x5a, 0x4f],
  ['lz4', 0x02, 0x21, 0x4c, 0x18],
  ['zstd', 0x28, 0xb5, 0x2f, 0xfd],
];

function compressionOf(bytes: Uint8Array): string | undefined {
  return COMPRESSIONS.find(([, ...magic]) => magic.every((byte, i) => bytes[i] === byte))?.[0];
}

/** The ELF: the image itself, or the payload of a bzImage that is not compressed. */
export function unwrapKernel(bytes: Uint8Array): Uint8Array | ImageError {
  const unpack = 'unpack it first, for instance with scripts/extract-vmlinux of the Linux sources';
  const compression = compressionOf(bytes);
  if (compression !== undefined) return new ImageError(`a file compressed with ${compression}: not supported yet`, 'unpack it first');
  const magic = String.fromCharCode(...bytes.subarray(HEADER_MAGIC_AT, HEADER_MAGIC_AT + 4));
  if (magic !== 'HdrS' || bytes.length < 0x250) return bytes;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const version = view.getUint16(0x206, true);
  if (version < FIRST_VERSION_WITH_PAYLOAD) {
    return new ImageError(
      `a bzImage of boot protocol 0x${version.toString(16)}, older than 0x208, which does not say where its kernel is`,
      unpack,
    );
  }
  const start = (view.getUint8(0x1f1) + 1) * 512 + view.getUint32(0x248, true);
  const size = view.getUint32(0x24c, true);
  if (start + size > bytes.length) {
    return new ImageError(
      `truncated: the bzImage payload ends at ${start + size}, behind the file's ${bytes.length} bytes`,
      'copy the file again',
    );
  }
  const payload = bytes.subarray(start, start + size);
  const payloadCompression = compressionOf(payload);
  if (payloadCompression !== undefined) {
    return new ImageError(`compressed bzImage payload (${payloadCompression}): not supported yet`, unpack);
  }
  return payload;
}
