/** Finds the ELF inside a Linux bzImage (Linux: Documentation/arch/x86/boot.rst, fields setup_sects, payload_offset, payload_length). */
import { decompress } from './decompress/index.ts';
import { ImageError } from './image_error.ts';

const HEADER_MAGIC_AT = 0x202;
const FIRST_VERSION_WITH_PAYLOAD = 0x0208;

/** Linux's build puts the payload's size behind it, unless its compression has that at the end. */
const SIZE_SIZE = 4;

/** The ELF: the image itself, or the payload of a bzImage; unpacked, if it is compressed. */
export function unwrapKernel(file: Uint8Array): Uint8Array | ImageError {
  const bytes = decompress(file, 'a file');
  if (bytes instanceof ImageError) return bytes;
  const magic = String.fromCharCode(...bytes.subarray(HEADER_MAGIC_AT, HEADER_MAGIC_AT + 4));
  if (magic !== 'HdrS' || bytes.length < 0x250) return bytes;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const version = view.getUint16(0x206, true);
  if (version < FIRST_VERSION_WITH_PAYLOAD) {
    return new ImageError(
      `a bzImage of boot protocol 0x${version.toString(16)}, older than 0x208, which does not say where its kernel is`,
      'unpack it first, for instance with scripts/extract-vmlinux of the Linux sources',
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
  return decompress(bytes.subarray(start, start + size), 'a bzImage payload', SIZE_SIZE);
}
