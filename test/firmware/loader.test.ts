/** The loader says what is wrong with an image in one line, and reads what is right wherever the image keeps it. */
import { gzipSync } from 'node:zlib';
import t, { type Test } from 'tap';
import { unwrapKernel } from '../../firmware/bzimage.ts';
import { ImageError } from '../../firmware/image_error.ts';
import { type KernelImage, readKernelImage } from '../../firmware/kernel_image.ts';
import { layoutPv } from '../../firmware/pv_layout.ts';
import { DEFAULT_VIRT_BASE, type ImageSpec, makeImage, usualNotes } from '../support/elf_image.ts';

type Change = (file: Buffer) => Buffer;
const byte =
  (at: number, value: number): Change =>
  (file) =>
    Buffer.concat([file.subarray(0, at), Buffer.from([value]), file.subarray(at + 1)]);
const u64 =
  (at: number, value: bigint): Change =>
  (file) => {
    file.writeBigUInt64LE(value, at);
    return file;
  };
const cut =
  (size: number): Change =>
  (file) =>
    file.subarray(0, size);

/** Offsets in the file: ELF header, first program header at 64, second at 120. */
// biome-ignore format: one image a line
const badFiles: [claim: string, change: Change, reason: RegExp][] = [
  ['an empty file',                   () => Buffer.alloc(0),                    /^not an ELF file; give /],
  ['text',                            () => Buffer.from('#!/bin/sh\n'),         /^not an ELF file/],
  ['only the magic',                  cut(4),                                   /^truncated: 4 bytes are no whole ELF header/],
  ['a 32-bit ELF',                    byte(4, 1),                               /^a 32-bit ELF file/],
  ['a big-endian ELF',                byte(5, 2),                               /^a big-endian ELF file/],
  ['an object file',                  byte(16, 1),                              /^an ELF file of type 1, not an executable/],
  ['an ELF for AArch64',              byte(18, 183),                            /^an ELF file for machine 183/],
  ['program headers too small',       byte(54, 8),                              /^program headers of 8 bytes/],
  ['program headers outside',         u64(32, 0x7fff_ffffn),                    /^program headers end at/],
  ['program headers at 2^63',         u64(32, 1n << 63n),                       /^program headers end at/],
  ['section headers outside',         u64(40, 0x7fff_fff0n),                    /^truncated: section headers end at/],
  ['section headers too small',       byte(58, 8),                              /^section headers of 8 bytes/],
  ['a segment cut off',               cut(0x1001),                              /^truncated: segment 0 ends at 4098/],
  ['a segment at 2^60',               u64(64 + 8, 1n << 60n),                   /^truncated: segment 0 ends/],
  ['more in the file than in memory', u64(64 + 40, 1n),                         /^segment 0 has 2 bytes in the file for 1 in memory/],
  ['notes outside the file',          u64(120 + 8, 0xf_0000n),                  /^truncated: segment 1 ends/],
  ['a note longer than its segment',  (file) => u64(0x1002 + 4, 0x6_ffff_ffffn)(file), /^an ELF note of \d+ bytes ends outside/],
  ['memory up to 2^64',               u64(64 + 40, 0xffff_ffff_ffff_ffffn),     /^its segments lie at /],
  ['bad gzip',                        () => Buffer.from([0x1f, 0x8b, 8, 0]),    /^a file compressed with gzip cannot be unpacked: /],
  ['bzip2',                           () => Buffer.from('BZh9'),                /^a file compressed with bzip2: not supported; /],
];

// biome-ignore format: one image a line
const badSpecs: [claim: string, spec: ImageSpec, reason: RegExp][] = [
  ['no notes at all',                { notes: [] },                                                    /^no Xen ELF notes and no __xen_guest section/],
  ['only PHYS32_ENTRY',              { notes: [[6, 'x'], [18, 0x10_0000n]] },                          /^a PVH image/],
  ['another loader',                 { notes: [[8, 'mine'], [5, 'xen-3.0'], [3, 0n]] },                /^its Xen notes name loader "mine"/],
  ['another Xen',                    { notes: [[8, 'generic'], [5, 'xen-2.0'], [3, 0n]] },             /^it is built for Xen version "xen-2.0"/],
  ['an unknown required feature',    { notes: [...usualNotes(), [10, '!teleport|writable_page_tables']] }, /^it requires the unknown feature "teleport"/],
  ['a required HVM feature',         { notes: [...usualNotes(), [10, '!auto_translated_physmap']] },   /^it requires the feature "auto_translated_physmap"/],
  ['PADDR_OFFSET without VIRT_BASE', { notes: [[8, 'generic'], [5, 'xen-3.0'], [4, 0n]] },             /^its Xen notes have PADDR_OFFSET without VIRT_BASE/],
  ['an entry before the image',      { notes: usualNotes(DEFAULT_VIRT_BASE, DEFAULT_VIRT_BASE) },      /^entry 0xffffffff80000000 lies outside the image/],
  ['an entry behind the image',      { notes: usualNotes(DEFAULT_VIRT_BASE, DEFAULT_VIRT_BASE + 0x10_8000n) }, /^entry .* lies outside the image/],
  ['an image at Xen\'s own address', { virtBase: 0xffff_8000_0000_0000n },                             /lies where Xen itself is/],
  ['an image at no address',         { virtBase: 0x8000_0000_0000n },                                  /lies where Xen itself is, or at no canonical address/],
  ['an image off a page',            { paddr: 0x10_0800n },                                            /does not begin on a page/],
  ['INIT_P2M inside the image',      { notes: [...usualNotes(), [15, DEFAULT_VIRT_BASE + 0x10_4000n]] }, /^INIT_P2M .* lies inside the image/],
];

t.test('a bad image is a one-line message with reason and advice', async (t) => {
  const check = (t: Test, claim: string, file: Buffer, reason: RegExp) => {
    const result = readKernelImage(file);
    if (!(result instanceof ImageError)) return t.fail(`${claim}: accepted`);
    t.match(result.message, reason, claim);
    t.notMatch(result.message, /\n/, `${claim}: one line`);
    t.ok(result.advice.length > 0, `${claim}: says what to do`);
  };
  for (const [claim, change, reason] of badFiles) check(t, claim, change(Buffer.from(makeImage())), reason);
  for (const [claim, spec, reason] of badSpecs) check(t, claim, makeImage(spec), reason);
});

t.test('every truncation of an image is refused, none throws', async (t) => {
  const file = makeImage();
  for (let size = 0; size < file.length; size += size < 0x1000 ? 61 : 3) {
    if (!(readKernelImage(file.subarray(0, size)) instanceof ImageError)) t.fail(`${size} of ${file.length} bytes were accepted`);
  }
  t.end();
});

function accept(t: Test, spec: ImageSpec): KernelImage {
  const image = readKernelImage(makeImage(spec));
  if (image instanceof ImageError) {
    t.fail(image.message);
    throw new Error(image.message);
  }
  return image;
}

t.test('Xen notes count wherever they stand', async (t) => {
  const p2m = 0x80_0000_0000n;
  const notes: [number, bigint | string][] = [
    ...usualNotes(),
    [2, DEFAULT_VIRT_BASE + 0x10_1000n],
    [15, p2m],
    [16, 1n],
    [12, 0xffff_8000_0000_0000n],
    [99, 1n],
  ];
  for (const notesIn of ['segment', 'section'] as const) {
    const image = accept(t, { notes, notesIn });
    t.equal(image.virtBase, DEFAULT_VIRT_BASE, `VIRT_BASE from a ${notesIn}`);
    t.equal(image.virtEntry, DEFAULT_VIRT_BASE + 0x10_0000n);
    t.equal(image.notes.hypercallPage, DEFAULT_VIRT_BASE + 0x10_1000n);
    t.equal(image.p2mBase, p2m);
    t.equal(image.notes.hasUnmappedRamdisk, true);
    t.equal(image.notes.guestOs, 'test');
  }
  const old = accept(t, {
    virtBase: 0xc000_0000n,
    paddr: 0xc010_0000n,
    entry: 0xc010_0000n,
    guestString: 'GUEST_OS=linux,XEN_VER=xen-3.0,VIRT_BASE=0xC0000000,HYPERCALL_PAGE=0x104,PAE=no,LOADER=generic',
  });
  t.equal(old.notes.hypercallPage, 0xc010_4000n, '__xen_guest counts HYPERCALL_PAGE in pages from VIRT_BASE');
  t.equal(old.virtStart, 0xc010_0000n, 'and takes a paddr to be a vaddr');
});

/** Calls, so that the x86 filter has something to do; and what xz, lz4 -l and zstd make of them. */
function calls(): Buffer {
  const code = Buffer.alloc(720);
  for (let i = 0; i < 120; i++) {
    code[i * 6] = 0xe8;
    code.writeInt32LE((i % 7) * 64 - (i * 6 + 5), i * 6 + 1);
    code[i * 6 + 5] = 0x90 ^ (i & 3);
  }
  return code;
}

// biome-ignore format: a compression a line
const compressedCalls = {
  xz:   '/Td6WFoAAAFpIt42AgEEACEBFgANhjUf4ALPAD9dAHQAMFH+DhOZI6xQ/it7+gTn+Pz8sr/Anlf4Pn1GK7PqjyZIoojrQPyo5XXvYHyWnznHn6DjzjCcyxQdpILE8gAAx3xH1QABV9AFAAAA+WP1bD4wDYsCAAAAAAFZWg==',
  lz4:  'AiFMGAECAADwEuj7////kOg1AAAAkehvAAAAkuipAAAAk+jjAAAAkOgdARgAIFcBGABx0f///5PoCxgAEUUwABF/MAARuTAAEfMYABEtMABxp////5Lo4TAAERsYABFVMAARjzAAEckwACADARgAcX3///+R6LcwABHxMAARKzAAEWUwABGfMAAR2TAAEVOoABGNMAARxzAAEQEYABE7MAARdTAAEa8wABEpSAARYzAAEZ0wABHXMAARETAAEUswABGFMAAg//4YABE5MAARczAAEa0wABHnMAARITAAEVswACDV/hgAEQ8YABFJMAARgzAAEb0wABH3GAARMTAAIKv+GAAR5TAAER8YABFZMAARkzAAEc0wABEHqAAggf4YABG7MAAR9TAAES8wABFpMAARozAAEd0wABFXqAARkTAAEcswABEFGAARPzAAEXkwABGzMAARLUgAEWcwABGhMAAR2zAAERUwABFPMAARiTAAEQMYABE9MAARdzAAEbEwABHrGAARJTAAEV8wACDZ/RgAERMYABFNMAARhzAAEcEwABH7GAARNTAAIK/9GAAR6TAAESMYABFdMAARlzAAEdEwABELqAAghf0YABG/MAAR+TAAETMwABFtMAARpzAAEeEwACBb/RgAEZUwABHPMAARCRgAEUMwABF9MACwt/7//5LoMf3//5M=',
  zstd: 'KLUv/QRoXQcAJAvo+////5DoNQAAAJHobwAAAJLoqQAAAJPo4wAAAJDoHQFXAdH///+T6AtFAH8AufMtp////5Lo4RtVj8kDAX3///+R6LfxK2Wf2VONxwE7da8pY53XEUuF//45c63nIVvV/g9Jg733Mav+5R9Zk80Hgf679S9po91XkcsFP3mzLWeh2xVPiQM9d7HrJV/Z/RNNh8H7Na/96SNdl9ELhf2/+TNtp+Fb/ZXPCUN9tzH9//+Tb6gRcHOz/htwuTQGECgfCK47QQi/OAEgnAQVCGoJTiBK/mw5UQoRiVihBXK7N73o0prws2BXAfv8O6c=',
} as const;

/** A bzImage with this payload. */
function bzImage(payload: Buffer): Buffer {
  const header = Buffer.alloc(1024);
  header[0x1f1] = 1;
  header.write('HdrS', 0x202);
  header.writeUInt16LE(0x20f, 0x206);
  header.writeUInt32LE(0, 0x248);
  header.writeUInt32LE(payload.length, 0x24c);
  return Buffer.concat([header, payload]);
}

t.test('a bzImage is opened, and its payload unpacked', async (t) => {
  t.notOk(readKernelImage(bzImage(makeImage())) instanceof ImageError, 'a plain payload');
  t.notOk(readKernelImage(bzImage(gzipSync(makeImage()))) instanceof ImageError, 'one in gzip');
  t.notOk(readKernelImage(gzipSync(makeImage())) instanceof ImageError, 'a file in gzip');
  for (const [name, base64] of Object.entries(compressedCalls)) {
    const file = Buffer.from(base64, 'base64');
    const payload = Buffer.concat([file, Buffer.from([0xd0, 2, 0, 0])]);
    const isWhole = (unpacked: Uint8Array | ImageError): boolean => !(unpacked instanceof ImageError) && calls().equals(unpacked);
    t.ok(isWhole(unwrapKernel(file)), `a file in ${name}`);
    t.ok(isWhole(unwrapKernel(bzImage(payload))), `a payload in ${name}, its size behind it`);
  }
  t.match(unwrapKernel(bzImage(Buffer.from('BZh91AY&SY'))), { reason: 'a bzImage payload compressed with bzip2: not supported' });
  t.match(readKernelImage(bzImage(makeImage()).subarray(0, 2000)), { reason: /^truncated: the bzImage payload ends/ });
});

t.test('compressed data that is damaged is refused or unpacks to something, and breaks nothing', async (t) => {
  for (const [name, base64] of Object.entries(compressedCalls)) {
    const file = Buffer.from(base64, 'base64');
    for (let at = 6; at < file.length; at += 5) {
      const damaged = Buffer.from(file);
      damaged[at]! ^= 0x55;
      unwrapKernel(damaged);
      unwrapKernel(file.subarray(0, at));
    }
    t.pass(name);
  }
  const xz = Buffer.from(compressedCalls.xz, 'base64');
  xz[60]! ^= 1;
  t.match(unwrapKernel(xz), { reason: /^a file compressed with xz cannot be unpacked: / });
});

t.test('a domU is laid out as libxenguest does it', async (t) => {
  const layout = (spec: ImageSpec, memoryPages: number, ramdiskSize: number, isInitial = false) => {
    const result = layoutPv(accept(t, spec), { memoryPages, ramdiskSize, isInitial });
    if (result instanceof ImageError) throw new Error(result.message);
    return result;
  };
  // Debian's cloud kernel in 256 MiB with a 1.9 MB ramdisk, as traced on the real Xen.
  const cloud: ImageSpec = {
    paddr: 0x100_0000n,
    memorySize: 0x2e0_0000,
    notes: [...usualNotes(DEFAULT_VIRT_BASE, DEFAULT_VIRT_BASE + 0x100_0000n), [15, 0x80_0000_0000n], [16, 1n]],
  };
  t.match(
    layout(cloud, 0x10000, 0x1e5 * 4096),
    {
      startInfoPfn: 0x3e00,
      xenstorePfn: 0x3e01,
      consolePfn: 0x3e02,
      pageTablePfn: 0x3e03,
      pageTableFrames: 0x23,
      stackPfn: 0x3e26,
      ramdiskPfn: 0x4000,
      isRamdiskMapped: false,
      firstP2mPfn: 0x41e5,
      p2mPfn: 0x41e5,
      p2mFrames: 0x83,
      p2mVaddr: 0x80_0000_0000n,
    },
    'page numbers as in the real start_info',
  );
  t.match(
    layout({}, 2048, 0x2800),
    {
      ramdiskPfn: 0x108,
      isRamdiskMapped: true,
      p2mPfn: 0x10b,
      startInfoPfn: 0x10f,
      xenstorePfn: 0x110,
      consolePfn: 0x111,
      pageTablePfn: 0x112,
      pageTableFrames: 5,
      stackPfn: 0x117,
      firstP2mPfn: 0,
      p2mFrames: 0,
    },
    'ramdisk and p2m list lie in the first mapping when nothing else is said',
  );
  t.match(
    layout({}, 2048, 0, true),
    {
      p2mPfn: 0x108,
      startInfoPfn: 0x10c,
      xenstorePfn: -1,
      consolePfn: -1,
      pageTablePfn: 0x10d,
      pageTableFrames: 5,
      stackPfn: 0x112,
    },
    'the initial domain has no rings',
  );
});

t.test('both layouts are as the real Xen showed them', async (t) => {
  const image = accept(t, { memorySize: 0x1_1000 });
  t.match(
    layoutPv(image, { memoryPages: 0x8000, ramdiskSize: 3, isInitial: false }),
    {
      ramdiskPfn: 0x111,
      p2mPfn: 0x112,
      startInfoPfn: 0x152,
      pageTablePfn: 0x155,
      pageTableFrames: 5,
      firstP2mPfn: 0,
      p2mFrames: 0,
    },
    'domU',
  );
  t.match(
    layoutPv(image, { memoryPages: 0x8000, ramdiskSize: 0, isInitial: true }),
    {
      p2mPfn: 0x111,
      startInfoPfn: 0x151,
      pageTablePfn: 0x152,
      pageTableFrames: 5,
      firstP2mPfn: 0x400,
      p2mFrames: 0,
    },
    'dom0',
  );
});

t.test('an image that does not fit into the memory is refused', async (t) => {
  const image = accept(t, { memorySize: 64 << 20 });
  for (const memoryPages of [1, 256, 0x4000]) {
    const result = layoutPv(image, { memoryPages, ramdiskSize: 0, isInitial: false });
    t.match(result, { reason: /need more than the .* MiB of memory/, advice: 'give more with --memory' });
  }
  const withRamdisk = layoutPv(accept(t, {}), { memoryPages: 2048, ramdiskSize: 9 << 20, isInitial: false });
  t.ok(withRamdisk instanceof ImageError, 'a ramdisk counts too');
});
