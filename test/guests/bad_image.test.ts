/** A bad kernel, ramdisk or flag is one line and status 1; no file of bytes, however broken, gets the better of ring -1. */
import { chmodSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import t from 'tap';
import { ImageError } from '../../firmware/image_error.ts';
import { beneath, expectMistake } from '../support/command.ts';
import { DEFAULT_VIRT_BASE, type ImageSpec, makeImage, usualNotes } from '../support/elf_image.ts';
import { GRUB, grubIsMissing } from '../support/grub.ts';
import { GuestRun, guestKernel, kinds } from '../support/guest_run.ts';
import { quickOr } from '../support/thorough.ts';

const MIB = 1 << 20;
const HELLO = guestKernel('hello');
const hello = readFileSync(HELLO);
t.setTimeout(240_000);
const folder = mkdtempSync(join(tmpdir(), 'beneath-'));
t.teardown(() => rmSync(folder, { recursive: true }));

function file(name: string, bytes: Uint8Array): string {
  const path = join(folder, name);
  writeFileSync(path, bytes);
  return path;
}

const made = (name: string, spec: ImageSpec): string => file(name, makeImage(spec));
const patched = (at: number, ...bytes: number[]): Uint8Array =>
  Buffer.concat([hello.subarray(0, at), Buffer.from(bytes), hello.subarray(at + bytes.length)]);

const unreadable = file('unreadable.elf', hello);
chmodSync(unreadable, 0);
const huge = file('huge.elf', hello);
truncateSync(huge, 3 * 2 ** 30);
const ramdisk = file('ramdisk', Buffer.alloc(9 * MIB));

const PVH_ONLY = [
  [6, 'test'],
  [18, 0x10_0000n],
] as const;

// biome-ignore format: one command a line
const images: readonly (readonly [claim: string, path: string, message: RegExp, ...flags: string[]])[] = [
  ['empty',              file('empty.elf', Buffer.alloc(0)),                    /not an ELF file; give a 64-bit x86-64 ELF executable built for Xen PV/],
  ['no ELF',             file('script.elf', Buffer.from('#!/bin/sh\necho\n')),  /not an ELF file; give /],
  ['32 bits',            file('elf32.elf', patched(4, 1)),                      /a 32-bit ELF file; give /],
  ['for another CPU',    file('arm.elf', patched(18, 183, 0)),                  /an ELF file for machine 183, not x86-64 \(62\); give /],
  ['header cut off',     file('header.elf', hello.subarray(0, 20)),             /truncated: 20 bytes are no whole ELF header; /],
  ['code cut off',       file('code.elf', hello.subarray(0, 0x1100)),           /truncated: .* ends? at \d+, behind the file's \d+ bytes; copy the file again/],
  ['end cut off',        file('end.elf', hello.subarray(0, -1)),                /truncated: .* ends? at \d+, behind the file's \d+ bytes; copy the file again/],
  ['notes out of range', file('notes.elf', badNotes()),                         /ELF note .* ends outside .*; /],
  ['entry outside',      made('entry.elf', { notes: usualNotes(DEFAULT_VIRT_BASE, 0x1000n) }), /entry 0x1000 lies outside the image .*; /],
  ['too large',          made('large.elf', { memorySize: 200 * MIB }),          /the image \(up to \d+ MiB\) and its tables need more than the 128 MiB of memory; give more with --memory/],
  ['too large at 2^40',  made('vast.elf', { memorySize: 2 ** 40 }),             /(need more than|lie at) .*; /],
  ['PVH only',           made('pvh.elf', { notes: PVH_ONLY }),                  /a PVH image.*; /],
  ['not for Xen',        process.execPath,                                      /; give a kernel built for Xen PV/],
  ['a folder',           folder,                                                /the kernel cannot be read: it is a folder; check the path/],
  ['a device',           '/dev/zero',                                           /the kernel cannot be read: it is a device; check the path/],
  ['beyond what can be', huge,                                                  /the kernel cannot be read: .*2 GiB/],
  ['with a big ramdisk', HELLO,                                                 /the image \(up to 2 MiB\), its ramdisk \(9 MiB\) and its tables need more than the 8 MiB/, '--ramdisk', ramdisk, '--memory', '8M'],
];

/** The first note's name is 4 GiB long. */
function badNotes(): Uint8Array {
  const image = Buffer.from(makeImage());
  const offset = Number(image.readBigUInt64LE(64 + 56 + 8));
  image.writeUInt32LE(0xffff_fff0, offset);
  return image;
}

t.test('a bad image is one line that names the file, the reason and what to do; status 1', async (t) => {
  for (const [claim, path, message, ...flags] of images) {
    const { stderr } = await expectMistake(t, claim, ['run', path, ...flags], message);
    t.ok(stderr.startsWith(`beneath: ${path}: `), `${claim}: names the file`);
    t.match(stderr, /; [^\n]+\n$/, `${claim}: says what to do`);
  }
});

t.test('a file without permission', { skip: process.getuid?.() === 0 ? 'root may read every file' : false }, async (t) => {
  const { status, stderr } = await beneath(['run', unreadable]);
  t.equal(status, 1);
  t.equal(stderr, `beneath: ${unreadable}: the kernel cannot be read: permission is denied; check the path\n`);
});

// biome-ignore format: one command a line
const flags: readonly (readonly [flags: string[], message: RegExp])[] = [
  [['--memory', '-5'],                  /'-5' is invalid\. Write a size such as 128M or 1G/],
  [['--memory', '1T'],                  /'1T' is invalid\. Write a size/],
  [['--memory', 'abc'],                 /'abc' is invalid\. Write a size/],
  [['--memory', ''],                    /'' is invalid\. Write a size/],
  [['--vcpus', '999'],                  /Give from 1 to 128/],
  [['--timeout', 'x'],                  /'x' is invalid\. Give seconds, such as 10 or 0\.5/],
  [['--timeout', 'Infinity'],           /'Infinity' is invalid\. Give seconds/],
  [['--max-instructions', '0'],         /'0' is invalid\. Give a whole number from 1 to /],
  [['--max-instructions', '9'.repeat(20)], /Give a whole number from 1 to /],
  [['--trace', ''],                     /There is no trace ''; choose of hypercalls, traps, exits/],
  [['--trace', 'nonsense'],             /There is no trace 'nonsense'; choose of hypercalls, traps, exits/],
  [['--trace', 'exits:'],               /Name a file behind the colon/],
  [['--cmdline', 'a'.repeat(1024)],     /It has 1024 bytes; give at most 1023/],
  [['--cmdline'],                       /'--cmdline <text>' argument missing/],
  [['--ramdisk', '/dev/zero'],          /\/dev\/zero: the ramdisk cannot be read: it is a device; check the path/],
  [['another.elf'],                     /too many arguments .*Expected 1 argument but got 2/],
];

t.test('an absurd flag is one line; status 1', async (t) => {
  for (const [args, message] of flags) await expectMistake(t, args.join(' '), ['run', HELLO, ...args], message);
});

// biome-ignore format: one guest a line
const deaths: readonly (readonly [name: string, code: number[], status: number, words: RegExp])[] = [
  ['shutdown-0', shutdownCode(0), 0, /^$/],
  ['shutdown-1', shutdownCode(1), 0, /^beneath: shutdown-1 asks for a reboot; start it again\n$/],
  ['shutdown-3', shutdownCode(3), 3, /\nbeneath: shutdown-3 crashed: it asked for it: SCHEDOP_shutdown\(crash\)\n/],
  ['shutdown-4', shutdownCode(4), 3, /\nbeneath: shutdown-4 was shut down \(watchdog\): /],
  ['ud2',        [0x0f, 0x0b],    3, /\nbeneath: ud2 crashed: unhandled #UD at 0xffffffff80100000\b/],
  ['wild jump',  [0x31, 0xc0, 0xff, 0xe0], 3, /\nbeneath: wild jump crashed: unhandled #PF \[0x10\] at 0x0\b/],
];

/** mov edi, 2; lea rsi, [rip + 9]; mov eax, 29; syscall; jmp self; dd reason */
function shutdownCode(reason: number): number[] {
  return [0xbf, 2, 0, 0, 0, 0x48, 0x8d, 0x35, 9, 0, 0, 0, 0xb8, 29, 0, 0, 0, 0x0f, 0x05, 0xeb, 0xfe, reason, 0, 0, 0];
}

t.test('how a guest ends is told, with a report when it crashed', async (t) => {
  for (const [name, code, expected, words] of deaths) {
    const { status, stdout, stderr } = await beneath(['run', made(`${name}.elf`, { code: Buffer.from(code) })]);
    t.equal(status, expected, `${name}: status`);
    t.match(stderr, words, name);
    t.equal(stdout, '', `${name}: nothing on stdout`);
    if (status === 3) {
      for (const part of [/\nrip \w{16} {2}rflags /, /\nr12 /, /\ncr0 .* {2}cr2 .* {2}cr3 .* {2}cr4 /, /\ncode:\n/, /\nlast hypercalls/]) {
        t.match(stderr, part, `${name}: ${part}`);
      }
    }
  }
});

/** Boots and runs a while: a refusal or a life of some length, never an exception. */
function live(image: Uint8Array, as: 'domU' | 'dom0', limit: number): void {
  const run = GuestRun.boot(image, { as, memorySize: 16 * MIB });
  if (run instanceof ImageError) {
    if (/\n/.test(run.message) || run.advice === '') throw new Error(`a bad refusal: ${run.message}`);
    return;
  }
  run.run({ limit });
  if (run.instructions > limit) throw new Error(`${run.instructions} instructions where ${limit} were allowed`);
}

const seed = Number(process.env.FUZZ_SEED ?? 20261122);
const numRuns = Number(process.env.FUZZ_RUNS ?? quickOr(4, 10));
t.comment(`FUZZ_SEED=${seed} FUZZ_RUNS=${numRuns}`);

const kind = fc.constantFrom(...kinds);
const flips = (size: number) =>
  fc.array(fc.record({ at: fc.nat(size - 1), bits: fc.integer({ min: 1, max: 255 }) }), { minLength: 1, maxLength: 24 });

function flipped(image: Uint8Array, changes: readonly { at: number; bits: number }[]): Uint8Array {
  const copy = Uint8Array.from(image);
  for (const { at, bits } of changes) copy[at]! ^= bits;
  return copy;
}

for (const [name, image, missing] of [
  ['hello', hello, false],
  ['GRUB', grubIsMissing ? hello : readFileSync(GRUB), grubIsMissing],
] as const) {
  /** Headers, notes and first code, where most of what a loader reads is. */
  const front = Math.min(image.length, 0x1100);
  t.test(`${name} cut off anywhere is refused, or runs without harm`, { skip: missing }, async () => {
    fc.assert(
      fc.property(fc.nat(image.length), kind, (size, as) => live(image.subarray(0, size), as, 50_000)),
      { seed, numRuns },
    );
  });
  t.test(`${name} with bytes changed in front is refused, or runs without harm`, { skip: missing }, async () => {
    fc.assert(
      fc.property(flips(front), kind, (changes, as) => live(flipped(image, changes), as, 50_000)),
      { seed, numRuns },
    );
  });
  t.test(`${name} with bytes changed anywhere is refused, or runs without harm`, { skip: missing }, async () => {
    fc.assert(
      fc.property(flips(image.length), kind, (changes, as) => live(flipped(image, changes), as, 200_000)),
      { seed, numRuns },
    );
  });
}

t.test('code of random bytes does no harm', async () => {
  const code = fc.uint8Array({ minLength: 16, maxLength: 4096 });
  fc.assert(
    fc.property(code, kind, (bytes, as) => live(makeImage({ code: bytes }), as, 50_000)),
    { seed, numRuns: numRuns * 2 },
  );
});
