/** Makes ELF64 kernels for tests of the loader: sane by default, with any single thing wrong. */
export interface ImageSpec {
  virtBase?: bigint;
  /** Physical address of the one loaded segment, its content and its size in memory. */
  paddr?: bigint;
  code?: Uint8Array;
  memorySize?: number;
  entry?: bigint;
  /** Notes of owner "Xen" by type, in the order of the file. */
  notes?: readonly (readonly [type: number, value: bigint | string])[];
  notesIn?: 'segment' | 'section';
  /** Content of a section `__xen_guest`. */
  guestString?: string;
}

export const DEFAULT_VIRT_BASE = 0xffff_ffff_8000_0000n;

/** ENTRY, VIRT_BASE, XEN_VERSION, GUEST_OS, LOADER. */
export function usualNotes(virtBase = DEFAULT_VIRT_BASE, entry = virtBase + 0x10_0000n): [number, bigint | string][] {
  return [
    [6, 'test'],
    [5, 'xen-3.0'],
    [8, 'generic'],
    [3, virtBase],
    [1, entry],
  ];
}

function encodeNotes(notes: readonly (readonly [number, bigint | string])[]): Buffer {
  return Buffer.concat(
    notes.map(([type, value]) => {
      const content = Buffer.alloc(8);
      if (typeof value === 'bigint') content.writeBigUInt64LE(BigInt.asUintN(64, value));
      const desc = typeof value === 'string' ? Buffer.from(`${value}\0`) : content;
      const header = Buffer.alloc(16);
      header.writeUInt32LE(4, 0);
      header.writeUInt32LE(desc.length, 4);
      header.writeUInt32LE(type, 8);
      header.write('Xen\0', 12);
      return Buffer.concat([header, desc, Buffer.alloc((4 - (desc.length % 4)) % 4)]);
    }),
  );
}

export function makeImage(spec: ImageSpec = {}): Buffer {
  const virtBase = spec.virtBase ?? DEFAULT_VIRT_BASE;
  const paddr = spec.paddr ?? 0x10_0000n;
  const code = spec.code ?? Buffer.from([0xeb, 0xfe]);
  const notes = encodeNotes(spec.notes ?? (spec.guestString === undefined ? usualNotes(virtBase, virtBase + paddr) : []));
  const names = Buffer.from('\0.note\0__xen_guest\0.shstrtab\0');
  const guestString = Buffer.from(`${spec.guestString ?? ''}\0`);
  const notesIn = spec.notesIn ?? 'segment';
  const codeAt = 0x1000;
  const notesAt = codeAt + code.length;
  const guestAt = notesAt + notes.length;
  const namesAt = guestAt + guestString.length;
  const sectionsAt = Math.ceil((namesAt + names.length) / 8) * 8;
  const sections: [name: number, type: number, offset: number, size: number][] = [[0, 0, 0, 0]];
  if (notesIn === 'section' && notes.length > 0) sections.push([1, 7, notesAt, notes.length]);
  if (spec.guestString !== undefined) sections.push([7, 1, guestAt, guestString.length]);
  sections.push([19, 3, namesAt, names.length]);

  const file = Buffer.alloc(sectionsAt + sections.length * 64);
  file.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  file.writeUInt16LE(2, 16);
  file.writeUInt16LE(62, 18);
  file.writeUInt32LE(1, 20);
  file.writeBigUInt64LE(spec.entry ?? virtBase + paddr, 24);
  file.writeBigUInt64LE(64n, 32);
  file.writeBigUInt64LE(BigInt(sectionsAt), 40);
  file.writeUInt16LE(64, 52);
  file.writeUInt16LE(56, 54);
  file.writeUInt16LE(2, 56);
  file.writeUInt16LE(64, 58);
  file.writeUInt16LE(sections.length, 60);
  file.writeUInt16LE(sections.length - 1, 62);
  const segment = (i: number, type: number, offset: number, address: bigint, size: number, memorySize: number) => {
    const at = 64 + i * 56;
    file.writeUInt32LE(type, at);
    file.writeUInt32LE(7, at + 4);
    file.writeBigUInt64LE(BigInt(offset), at + 8);
    file.writeBigUInt64LE(BigInt.asUintN(64, virtBase + address), at + 16);
    file.writeBigUInt64LE(address, at + 24);
    file.writeBigUInt64LE(BigInt(size), at + 32);
    file.writeBigUInt64LE(BigInt(memorySize), at + 40);
  };
  segment(0, 1, codeAt, paddr, code.length, spec.memorySize ?? Math.max(code.length, 0x8000));
  if (notesIn === 'segment' && notes.length > 0) segment(1, 4, notesAt, 0n, notes.length, notes.length);
  file.set(code, codeAt);
  file.set(notes, notesAt);
  file.set(guestString, guestAt);
  file.set(names, namesAt);
  for (const [i, [name, type, offset, size]] of sections.entries()) {
    const at = sectionsAt + i * 64;
    file.writeUInt32LE(name, at);
    file.writeUInt32LE(type, at + 4);
    file.writeBigUInt64LE(BigInt(offset), at + 24);
    file.writeBigUInt64LE(BigInt(size), at + 32);
  }
  return file;
}
