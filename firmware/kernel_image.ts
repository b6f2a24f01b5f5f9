/** A PV64 kernel image, read and found sane: where it wants to lie and how it starts (xen:common/libelf/libelf-dominfo.c). */
import { unwrapKernel } from './bzimage.ts';
import { type Elf, PT_LOAD, parseElf, type Segment } from './elf.ts';
import { ImageError } from './image_error.ts';
import { readXenNotes, type XenNotes } from './xen_notes.ts';

export interface KernelImage {
  readonly elf: Elf;
  readonly notes: XenNotes;
  /** The PT_LOAD segments that are loaded. */
  readonly segments: readonly Segment[];
  /** Where pfn 0 is mapped. */
  readonly virtBase: bigint;
  readonly virtEntry: bigint;
  /** The kernel's own range, [start, end). */
  readonly virtStart: bigint;
  readonly virtEnd: bigint;
  /** What turns a paddr of the file into a vaddr. */
  readonly virtOffset: bigint;
  /** Where the p2m list is wanted, outside the kernel's mapping; undefined: inside. */
  readonly p2mBase: bigint | undefined;
}

const HYPERVISOR_VIRT_START = 0xffff_8000_0000_0000n;
const FEATURES = new Set([
  'writable_page_tables',
  'writable_descriptor_tables',
  'auto_translated_physmap',
  'supervisor_mode_kernel',
  'pae_pgdir_above_4gb',
  'hvm_callback_vector',
  'dom0',
]);
const FOR_PV = 'give a kernel built for Xen PV';
const RELINK = 'link it anew';

export function readKernelImage(file: Uint8Array): KernelImage | ImageError {
  const bytes = unwrapKernel(file);
  if (bytes instanceof ImageError) return bytes;
  const elf = parseElf(bytes);
  if (elf instanceof ImageError) return elf;
  const notes = readXenNotes(elf);
  if (notes instanceof ImageError) return notes;
  return checkNotes(notes) ?? locate(elf, notes);
}

function checkNotes(notes: XenNotes): ImageError | undefined {
  if (notes.phys32Entry !== undefined && notes.entry === undefined && notes.virtBase === undefined) {
    return new ImageError('a PVH image (its Xen notes have only PHYS32_ENTRY)', 'give a kernel with PV notes: ENTRY, VIRT_BASE');
  }
  if (!notes.loader?.startsWith('generic') && !notes.guestOs?.startsWith('linux')) {
    return new ImageError(
      `its Xen notes name loader "${notes.loader ?? ''}" and OS "${notes.guestOs ?? ''}"`,
      'note LOADER must be "generic"',
    );
  }
  if (!notes.xenVersion?.startsWith('xen-3.0')) {
    return new ImageError(`it is built for Xen version "${notes.xenVersion ?? ''}"`, 'note XEN_VERSION must be "xen-3.0"');
  }
  for (const feature of notes.features?.split('|') ?? []) {
    const name = feature.slice(1);
    if (!feature.startsWith('!')) continue;
    if (!FEATURES.has(name)) return new ImageError(`it requires the unknown feature "${name}"`, FOR_PV);
    if (name !== 'pae_pgdir_above_4gb' && name !== 'writable_page_tables' && name !== 'writable_descriptor_tables' && name !== 'dom0') {
      return new ImageError(`it requires the feature "${name}", which a PV64 guest does not have`, FOR_PV);
    }
  }
  if (notes.paddrOffset !== undefined && notes.virtBase === undefined) {
    return new ImageError('its Xen notes have PADDR_OFFSET without VIRT_BASE', 'add the note VIRT_BASE');
  }
  return undefined;
}

function locate(elf: Elf, notes: XenNotes): KernelImage | ImageError {
  const segments = elf.segments.filter((segment) => segment.type === PT_LOAD && (segment.flags & 7) !== 0 && segment.memorySize > 0);
  if (segments.length === 0) return new ImageError('no segment to load', RELINK);
  const virtBase = notes.virtBase ?? 0n;
  const virtOffset = virtBase - (notes.paddrOffset ?? (notes.isLegacy ? virtBase : 0n));
  let start = 1n << 64n;
  let end = 0n;
  for (const { paddr, memorySize } of segments) {
    const segmentEnd = paddr + (Number.isFinite(memorySize) ? BigInt(memorySize) : 1n << 64n);
    if (paddr < start) start = paddr;
    if (segmentEnd > end) end = segmentEnd;
  }
  const virtStart = start + virtOffset;
  const virtEnd = end + virtOffset;
  const virtEntry = notes.entry ?? elf.entry;
  const range = `${hex(virtStart)}-${hex(virtEnd)}`;
  if (virtStart < 0n || virtStart >= virtEnd || virtEnd > 1n << 64n) {
    return new ImageError(`its segments lie at ${range}, which is no range of addresses`, RELINK);
  }
  if (virtEntry < virtStart || virtEntry >= virtEnd) {
    return new ImageError(`entry ${hex(virtEntry)} lies outside the image at ${range}`, RELINK);
  }
  if (virtBase > virtStart) return new ImageError(`VIRT_BASE ${hex(virtBase)} lies above the image at ${range}`, RELINK);
  if (virtBase & 0xfffn || virtStart & 0xfffn) {
    return new ImageError(`the image at ${range} with VIRT_BASE ${hex(virtBase)} does not begin on a page`, RELINK);
  }
  if (!isGuestRange(virtBase, virtEnd)) {
    return new ImageError(`the image at ${range} lies where Xen itself is, or at no canonical address`, RELINK);
  }
  if (notes.initP2m !== undefined && notes.initP2m >= virtStart && notes.initP2m < virtEnd) {
    return new ImageError(`INIT_P2M ${hex(notes.initP2m)} lies inside the image at ${range}`, RELINK);
  }
  return { elf, notes, segments, virtBase, virtEntry, virtStart, virtEnd, virtOffset, p2mBase: notes.initP2m };
}

/** All of [start, end) is for guests: the lower half, or above ring -1's slots. */
export function isGuestRange(start: bigint, end: bigint): boolean {
  return end <= 1n << 47n || (start >= HYPERVISOR_VIRT_START + (16n << 39n) && end <= 1n << 64n);
}

export function hex(value: bigint): string {
  return `0x${value.toString(16)}`;
}
