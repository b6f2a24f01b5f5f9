/**
 * What an image tells Xen about itself: ELF notes of owner "Xen" in PT_NOTE segments or SHT_NOTE sections
 * (xen:public/elfnote.h), or in images older than those the string in section `__xen_guest`.
 */
import { type Elf, PT_NOTE, readString, SHT_NOTE } from './elf.ts';
import { ImageError } from './image_error.ts';

export interface XenNotes {
  virtBase?: bigint;
  entry?: bigint;
  hypercallPage?: bigint;
  paddrOffset?: bigint;
  initP2m?: bigint;
  hvStartLow?: bigint;
  phys32Entry?: bigint;
  supportedFeatures?: bigint;
  /** MOD_START_PFN: the ramdisk needs no mapping, start_info names its pfn. */
  hasUnmappedRamdisk?: boolean;
  suspendCancel?: bigint;
  guestOs?: string;
  guestVersion?: string;
  xenVersion?: string;
  loader?: string;
  paeMode?: string;
  features?: string;
  bsdSymtab?: string;
  l1MfnValid?: readonly bigint[];
  /** From `__xen_guest`, where other defaults hold. */
  isLegacy: boolean;
}

/* biome-ignore format: one note a line */
const XEN_ELFNOTES: Readonly<Record<number, (notes: XenNotes, note: NoteContent) => void>> = {
  1:  (notes, note) => { notes.entry = note.number; },                            // ENTRY
  2:  (notes, note) => { notes.hypercallPage = note.number; },                    // HYPERCALL_PAGE
  3:  (notes, note) => { notes.virtBase = note.number; },                         // VIRT_BASE
  4:  (notes, note) => { notes.paddrOffset = note.number; },                      // PADDR_OFFSET
  5:  (notes, note) => { notes.xenVersion = note.text; },                         // XEN_VERSION
  6:  (notes, note) => { notes.guestOs = note.text; },                            // GUEST_OS
  7:  (notes, note) => { notes.guestVersion = note.text; },                       // GUEST_VERSION
  8:  (notes, note) => { notes.loader = note.text; },                             // LOADER
  9:  (notes, note) => { notes.paeMode = note.text; },                            // PAE_MODE
  10: (notes, note) => { notes.features = note.text; },                           // FEATURES
  11: (notes, note) => { notes.bsdSymtab = note.text; },                          // BSD_SYMTAB
  12: (notes, note) => { notes.hvStartLow = note.number; },                       // HV_START_LOW
  13: (notes, note) => { notes.l1MfnValid = note.numbers; },                      // L1_MFN_VALID
  14: (notes, note) => { notes.suspendCancel = note.number; },                    // SUSPEND_CANCEL
  15: (notes, note) => { notes.initP2m = note.number; },                          // INIT_P2M
  16: (notes, note) => { notes.hasUnmappedRamdisk = note.number !== 0n; },        // MOD_START_PFN
  17: (notes, note) => { notes.supportedFeatures = note.number; },                // SUPPORTED_FEATURES
  18: (notes, note) => { notes.phys32Entry = note.number; },                      // PHYS32_ENTRY
};

interface NoteContent {
  /** The value as a number of its own size; 0 when it has no such size. */
  readonly number: bigint;
  readonly numbers: readonly bigint[];
  readonly text: string;
}

/** The notes, or why there are none to boot by. */
export function readXenNotes(elf: Elf): XenNotes | ImageError {
  const segments = elf.segments.filter((segment) => segment.type === PT_NOTE && segment.offset > 0);
  const sections = elf.sections.filter((section) => section.type === SHT_NOTE);
  for (const places of [segments.map(({ offset, fileSize }) => ({ offset, size: fileSize })), sections]) {
    const notes: XenNotes = { isLegacy: false };
    let count = 0;
    for (const { offset, size } of places) {
      const found = readNotes(elf.bytes.subarray(offset, offset + size), notes);
      if (found instanceof ImageError) return found;
      count += found;
    }
    if (count > 0) return notes;
  }
  const legacy = elf.sections.find((section) => section.name === '__xen_guest');
  if (legacy !== undefined) return readGuestString(readString(elf.bytes, legacy.offset, legacy.size));
  return new ImageError('no Xen ELF notes and no __xen_guest section', 'give a kernel built for Xen PV');
}

function readNotes(bytes: Uint8Array, notes: XenNotes): number | ImageError {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let count = 0;
  for (let at = 0; at + 12 <= bytes.length; ) {
    const nameSize = view.getUint32(at, true);
    const size = view.getUint32(at + 4, true);
    const type = view.getUint32(at + 8, true);
    const start = at + 12 + align4(nameSize);
    if (start + size > bytes.length) return new ImageError(`an ELF note of ${size} bytes ends outside its segment`, 'link the image anew');
    if (nameSize === 4 && readString(bytes, at + 12, 4) === 'Xen') {
      count++;
      XEN_ELFNOTES[type]?.(notes, contentOf(bytes, view, start, size));
    }
    at = start + align4(size);
  }
  return count;
}

function align4(size: number): number {
  return Math.ceil(size / 4) * 4;
}

function contentOf(bytes: Uint8Array, view: DataView, start: number, size: number): NoteContent {
  const numbers: bigint[] = [];
  for (let at = start; at + 8 <= start + size; at += 8) numbers.push(view.getBigUint64(at, true));
  const number = size === 8 ? numbers[0]! : size === 4 ? BigInt(view.getUint32(start, true)) : 0n;
  return { number, numbers, text: readString(bytes, start, size) };
}

/** `NAME=value,NAME=value`; HYPERCALL_PAGE is a page number relative to VIRT_BASE there. */
function readGuestString(text: string): XenNotes {
  const notes: XenNotes = { isLegacy: true };
  for (const field of text.split(',')) {
    const [name, ...rest] = field.split('=');
    const value = rest.join('=');
    switch (name) {
      case 'LOADER':
        notes.loader = value;
        break;
      case 'GUEST_OS':
        notes.guestOs = value;
        break;
      case 'GUEST_VER':
        notes.guestVersion = value;
        break;
      case 'XEN_VER':
        notes.xenVersion = value;
        break;
      case 'PAE':
        notes.paeMode = value;
        break;
      case 'BSD_SYMTAB':
        notes.bsdSymtab = value;
        break;
      case 'FEATURES':
        notes.features = value;
        break;
      case 'VIRT_BASE':
        notes.virtBase = parseNumber(value);
        break;
      case 'VIRT_ENTRY':
        notes.entry = parseNumber(value);
        break;
      case 'ELF_PADDR_OFFSET':
        notes.paddrOffset = parseNumber(value);
        break;
      case 'HYPERCALL_PAGE':
        notes.hypercallPage = parseNumber(value) << 12n;
        break;
    }
  }
  if (notes.virtBase !== undefined && notes.hypercallPage !== undefined) notes.hypercallPage += notes.virtBase;
  return notes;
}

function parseNumber(text: string): bigint {
  const match = /^(0x[0-9a-f]+|\d+)/i.exec(text.trim());
  return match === null ? 0n : BigInt.asUintN(64, BigInt(match[1]!));
}
