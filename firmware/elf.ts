/** Reads an ELF64 executable for x86-64 and trusts nothing in it: every range is checked against the file (System V ABI, chapter 4 and 5). */
import { ImageError } from './image_error.ts';

export const PT_LOAD = 1;
export const PT_NOTE = 4;
export const SHT_NOTE = 7;
const ELFCLASS64 = 2;
const ELFDATA2LSB = 1;
const ET_EXEC = 2;
const ET_DYN = 3;
const EM_X86_64 = 62;
const SHT_NOBITS = 8;
const EHDR_SIZE = 64;
const PHDR_SIZE = 56;
const SHDR_SIZE = 64;

/** File offsets, sizes and physical addresses are below 2^53; virtual addresses are not. */
export interface Segment {
  readonly type: number;
  readonly flags: number;
  readonly offset: number;
  readonly vaddr: bigint;
  readonly paddr: bigint;
  readonly fileSize: number;
  readonly memorySize: number;
}

export interface Section {
  readonly name: string;
  readonly type: number;
  readonly offset: number;
  readonly size: number;
}

export interface Elf {
  readonly bytes: Uint8Array;
  readonly entry: bigint;
  readonly segments: readonly Segment[];
  readonly sections: readonly Section[];
}

const TRUNCATED = 'copy the file again';
const WRONG_IMAGE = 'give a 64-bit x86-64 ELF executable built for Xen PV';

export function parseElf(bytes: Uint8Array): Elf | ImageError {
  if (bytes.length < 4 || bytes[0] !== 0x7f || bytes[1] !== 0x45 || bytes[2] !== 0x4c || bytes[3] !== 0x46) {
    return new ImageError('not an ELF file', WRONG_IMAGE);
  }
  if (bytes.length < EHDR_SIZE) return new ImageError(`truncated: ${bytes.length} bytes are no whole ELF header`, TRUNCATED);
  if (bytes[4] !== ELFCLASS64) return new ImageError('a 32-bit ELF file', WRONG_IMAGE);
  if (bytes[5] !== ELFDATA2LSB) return new ImageError('a big-endian ELF file', WRONG_IMAGE);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const type = view.getUint16(16, true);
  if (type !== ET_EXEC && type !== ET_DYN)
    return new ImageError(`an ELF file of type ${type}, not an executable`, 'link it into an executable');
  const machine = view.getUint16(18, true);
  if (machine !== EM_X86_64) return new ImageError(`an ELF file for machine ${machine}, not x86-64 (62)`, WRONG_IMAGE);

  const segments = parseSegments(bytes, view);
  if (segments instanceof ImageError) return segments;
  const sections = parseSections(bytes, view);
  if (sections instanceof ImageError) return sections;
  return { bytes, entry: view.getBigUint64(24, true), segments, sections };
}

/** A u64 of the file that counts or locates bytes; what no file can hold becomes infinite, and then fails its check. */
function readSize(view: DataView, offset: number): number {
  const value = view.getBigUint64(offset, true);
  return value < 1n << 52n ? Number(value) : Number.POSITIVE_INFINITY;
}

function parseSegments(bytes: Uint8Array, view: DataView): Segment[] | ImageError {
  const start = readSize(view, 32);
  const entrySize = view.getUint16(54, true);
  const count = view.getUint16(56, true);
  if (count > 0 && entrySize < PHDR_SIZE) return new ImageError(`program headers of ${entrySize} bytes`, WRONG_IMAGE);
  if (start + count * entrySize > bytes.length) {
    return new ImageError(`program headers end at ${start + count * entrySize}, behind the file's ${bytes.length} bytes`, TRUNCATED);
  }
  const segments: Segment[] = [];
  for (let i = 0; i < count; i++) {
    const at = start + i * entrySize;
    const segment: Segment = {
      type: view.getUint32(at, true),
      flags: view.getUint32(at + 4, true),
      offset: readSize(view, at + 8),
      vaddr: view.getBigUint64(at + 16, true),
      paddr: view.getBigUint64(at + 24, true),
      fileSize: readSize(view, at + 32),
      memorySize: readSize(view, at + 40),
    };
    if (segment.type === PT_LOAD || segment.type === PT_NOTE) {
      if (segment.offset + segment.fileSize > bytes.length) {
        return new ImageError(
          `truncated: segment ${i} ends at ${segment.offset + segment.fileSize}, behind the file's ${bytes.length} bytes`,
          TRUNCATED,
        );
      }
    }
    if (segment.type === PT_LOAD && segment.fileSize > segment.memorySize) {
      return new ImageError(`segment ${i} has ${segment.fileSize} bytes in the file for ${segment.memorySize} in memory`, 'link it anew');
    }
    segments.push(segment);
  }
  return segments;
}

function parseSections(bytes: Uint8Array, view: DataView): Section[] | ImageError {
  const start = readSize(view, 40);
  const entrySize = view.getUint16(58, true);
  const count = view.getUint16(60, true);
  const namesIndex = view.getUint16(62, true);
  if (start === 0 || count === 0) return [];
  if (entrySize < SHDR_SIZE) return new ImageError(`section headers of ${entrySize} bytes`, WRONG_IMAGE);
  if (start + count * entrySize > bytes.length) {
    return new ImageError(
      `truncated: section headers end at ${start + count * entrySize}, behind the file's ${bytes.length} bytes`,
      TRUNCATED,
    );
  }
  const at = (i: number) => start + i * entrySize;
  const namesStart = namesIndex < count ? readSize(view, at(namesIndex) + 24) : bytes.length;
  const sections: Section[] = [];
  for (let i = 0; i < count; i++) {
    const section: Section = {
      name: readString(bytes, namesStart + view.getUint32(at(i), true)),
      type: view.getUint32(at(i) + 4, true),
      offset: readSize(view, at(i) + 24),
      size: readSize(view, at(i) + 32),
    };
    if (section.type !== 0 && section.type !== SHT_NOBITS && section.offset + section.size > bytes.length) {
      return new ImageError(`truncated: section ${section.name || i} ends behind the file's ${bytes.length} bytes`, TRUNCATED);
    }
    sections.push(section);
  }
  return sections;
}

/** The characters up to the first NUL, at most `limit`. */
export function readString(bytes: Uint8Array, offset: number, limit = 256): string {
  let text = '';
  for (let i = offset; i < bytes.length && i < offset + limit && bytes[i] !== 0; i++) text += String.fromCharCode(bytes[i]!);
  return text;
}
