/** The command `beneath` as a user meets it: what it prints where, and its exit status. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { beneath, expectMistake, runBeneath } from '../support/command.ts';
import { makeImage } from '../support/elf_image.ts';
import { guestFile, guestKernel } from '../support/guest_run.ts';

const HELLO = 'guests/hello/hello.elf';
const folder = mkdtempSync(join(tmpdir(), 'beneath-'));
t.teardown(() => rmSync(folder, { recursive: true }));

/** A guest of a few bytes of machine code. */
function guest(name: string, ...code: number[]): string {
  const path = join(folder, name);
  writeFileSync(path, makeImage({ code: Buffer.from(code) }));
  return path;
}

const loop = guest('loop.elf', 0xeb, 0xfe); // jmp self
const text = join(folder, 'text.txt');
writeFileSync(text, 'no kernel');
const image = join(folder, 'disk.img');
writeFileSync(image, Buffer.alloc(512));

// biome-ignore format: one command a line
const mistakes: readonly (readonly [claim: string, args: string[], message: RegExp])[] = [
  ['no kernel',                     ['run'],                                       /missing required argument 'kernel'/],
  ['a command that is none',        ['walk'],                                      /unknown command 'walk'/],
  ['a flag that is none',           ['run', HELLO, '--memry', '64M'],              /unknown option '--memry'.*Did you mean --memory/],
  ['a file that is not there',      ['run', 'nowhere.elf'],                        /^beneath: nowhere\.elf: .*there is no such file; check the path/],
  ['a folder',                      ['run', folder],                               /it is a folder/],
  ['a file that is no kernel',      ['run', text],                                 /text\.txt: not an ELF file; give /],
  ['a ramdisk that is not there',   ['run', HELLO, '--ramdisk', 'nowhere'],        /^beneath: nowhere: the ramdisk cannot be read/],
  ['a disk that is not there',      ['run', HELLO, '--disk', 'nowhere'],           /^beneath: nowhere: the disk cannot be read and written: there is no such file; check the path\n/],
  ['a disk that is a folder',       ['run', HELLO, '--disk', `${folder},ro`],      /the disk cannot be read: it is a folder/],
  ['a disk that is a device',       ['run', HELLO, '--disk', '/dev/null'],         /the disk cannot be read and written: it is a device/],
  ['a disk of half a sector',       ['run', HELLO, '--disk', text],                /text\.txt: the disk has 9 bytes, which are no whole sectors of 512/],
  ['a disk without a file',         ['run', HELLO, '--disk', ',ro'],               /Name a file: FILE, FILE,ro or FILE,raw,xvda,rw/],
  ['a disk of another format',      ['run', HELLO, '--disk', `${text},qcow2`],     /'qcow2' is none of ro, rw, raw, or a name such as xvda/],
  ['two disks of one name',         ['run', HELLO, '--disk', 'a,xvdb', '--disk', 'b,xvdb'], /There is a disk xvdb already/],
  ['a disk twice',                  ['run', HELLO, '--disk', image, '--disk', `${join(folder, '.')}/disk.img,ro`], /disk\.img: the disk is mounted read-write in the same domain, and so cannot be mounted now; give each its own copy/],
  ['a disk of the initial domain',  ['run', HELLO, '--as', 'dom0', '--disk', text], /--disk: an initial domain has no virtual disks/],
  ['a network that is none',        ['run', HELLO, '--net', 'tap0'],               /'tap0' is none of mac=00:16:3e:01:02:03, bridge=xenbr0, loop, pcap=FILE/],
  ['a network that xl has',         ['run', HELLO, '--net', 'rate=1Mb/s'],        /'rate' is not supported; there are mac=, bridge=, loop and pcap=/],
  ['a MAC that is none',            ['run', HELLO, '--net', 'mac=00:16:3e'],       /'00:16:3e' is no MAC address such as 00:16:3e:01:02:03/],
  ['a MAC of a group',              ['run', HELLO, '--net', 'mac=01:16:3e:01:02:03'], /is the address of a group; its first byte must be even/],
  ['a bridge that is none',         ['run', HELLO, '--net', 'bridge=a/b'],         /'a\/b' is no name of a bridge/],
  ['a capture without a file',      ['run', HELLO, '--net', 'pcap='],              /Name a file behind pcap=/],
  ['a capture into nowhere',        ['run', HELLO, '--net', `pcap=${folder}/a/b`], /a\/b: the frames cannot be recorded there: there is no such file/],
  ['two captures in one file',      ['run', HELLO, '--net', 'pcap=x', '--net', 'pcap=x'], /Another interface is recorded in x; give each its own file/],
  ['a network of the initial domain', ['run', HELLO, '--as', 'dom0', '--net', 'loop'], /--net: an initial domain has no virtual interfaces/],
  ['memory in no unit',             ['run', HELLO, '--memory', '12X'],             /'--memory <size>' argument '12X' is invalid\. Write a size such as 128M/],
  ['no memory',                     ['run', HELLO, '--memory', '0'],               /argument '0' is invalid\. Give from 4M to 3G/],
  ['too much memory',               ['run', HELLO, '--memory', '1000G'],           /Give from 4M to 3G/],
  ['half a page',                   ['run', HELLO, '--memory', '8193K'],           /whole pages/],
  ['too many vCPUs',                ['run', HELLO, '--vcpus', '129'],              /'129' is invalid\. Give from 1 to 128/],
  ['no vCPU',                       ['run', HELLO, '--vcpus', '0'],                /Give a whole number from 1/],
  ['a negative timeout',            ['run', HELLO, '--timeout', '-1'],             /Give seconds, such as 10 or 0\.5/],
  ['half an instruction',           ['run', HELLO, '--max-instructions', '1.5'],   /Give a whole number/],
  ['a trace that is none',          ['run', HELLO, '--trace', 'hypercalls,tarps'], /There is no trace 'tarps'; choose of hypercalls, traps, exits/],
  ['a trace into nowhere',          ['run', HELLO, '--trace', `traps:${folder}/a/b`], /--trace: .*a\/b cannot be written: there is no such file/],
  ['a domain that is none',         ['run', HELLO, '--as', 'dom1'],                /argument 'dom1' is invalid\. Allowed choices are domU, dom0/],
];

t.test("a user's mistake is one line with the reason, and status 1", async (t) => {
  for (const mistake of mistakes) await expectMistake(t, ...mistake);
});

t.test('--net connects interfaces, and records what passes', async (t) => {
  const [a, b] = ['a.pcap', 'b.pcap'].map((name) => join(folder, name)) as [string, string];
  const run = ['run', guestKernel('network'), '--deterministic'];
  const { status, stdout } = await beneath([
    ...run,
    '--net',
    `mac=00:16:3E:00:00:01,pcap=${a}`,
    '--net',
    `mac=00:16:3e:00:00:02,pcap=${b}`,
  ]);
  t.equal(status, 0);
  t.equal(stdout, readFileSync(guestFile('network', 'expected-network.txt'), 'latin1'));
  const recorded = readFileSync(b);
  const [first] = [readFileSync(a).subarray(24, 24 + 16 + 60), recorded.subarray(24, 24 + 16 + 60)];
  t.same(first, recorded.subarray(24, 24 + 16 + 60), 'a frame passes both at the same time');
  t.equal(first.subarray(8, 16 + 14).toString('hex'), '3c0000003c000000ffffffffffff00163e00000188b5');
  await beneath([...run, '--net', 'mac=00:16:3e:00:00:01', '--net', `mac=00:16:3e:00:00:02,pcap=${b}`]);
  t.same(readFileSync(b), recorded, 'and the next time again');
  t.match((await beneath(run)).stdout, /^This guest needs two interfaces/);
});

t.test('help and version', async (t) => {
  const help = await runBeneath(['--help']);
  t.equal(help.status, 0);
  t.match(help.stdout, /Usage: beneath/);
  const runHelp = await beneath(['run', '--help']);
  t.equal(runHelp.status, 0);
  for (const flag of [
    '--as',
    '--memory',
    '--vcpus',
    '--cmdline',
    '--ramdisk',
    '--disk',
    '--timeout',
    '--max-instructions',
    '--trace',
    '--deterministic',
    '--stats',
    '--check',
    '--verbose-debug',
  ]) {
    t.match(runHelp.stdout, flag);
  }
  t.match(runHelp.stdout, /Exit status: 0 the guest powered off, 1 .*, 3 .*, 4 .*, 5 /);
  const version = await beneath(['--version']);
  t.equal(version.stdout.trim(), (JSON.parse(readFileSync('package.json', 'utf8')) as { version: string }).version);
});

t.test('a guest that powers off: its console on stdout, status 0', async (t) => {
  const domU = await runBeneath(['run', HELLO, '--timeout', '60']);
  t.equal(domU.status, 0);
  t.match(domU.stdout, /domU/);
  const dom0 = await beneath(['run', HELLO, '--as', 'dom0', '--timeout', '60']);
  t.equal(dom0.status, 0);
  t.match(dom0.stdout, /dom0/);
});

t.test('limits end with status 4', async (t) => {
  const instructions = await beneath(['run', loop, '--max-instructions', '123457']);
  t.equal(instructions.status, 4);
  t.match(instructions.stderr, /beneath: loop was stopped: --max-instructions 123457 is reached\n$/);
  const time = await runBeneath(['run', loop, '--timeout', '0.2']);
  t.equal(time.status, 4);
  t.match(time.stderr, /--timeout 0\.2 is over/);
});

t.test('--stats tells what the CPU did, and changes nothing else', async (t) => {
  const { status, stdout, stderr } = await runBeneath(['run', HELLO, '--deterministic', '--engine', 'translate', '--stats']);
  t.equal(status, 0);
  t.equal(stdout, (await beneath(['run', HELLO, '--deterministic'])).stdout);
  for (const line of [
    /\nbeneath: statistics\ninstructions +[\d,]+ +\d+\.\d\d s/,
    /^ {2}interpreted +[\d,]+ +\d+\.\d\d s/m,
    /^ {2}translated +[\d,]+ +\d+\.\d\d s/m,
    /^translations +\d+ +\d+\.\d\d s {2}of [\d,]+ instructions$/m,
    /^TLB misses +[\d,]+$/m,
    /^exits +\d+ +\d+\.\d\d s {2}in ring -1$/m,
    /^ {2}syscall +\d+$/m,
  ])
    t.match(stderr, line);
  const limited = await beneath(['run', loop, '--max-instructions', '1000', '--stats']);
  t.equal(limited.status, 4);
  t.match(limited.stderr, /\ninstructions +1,000 /);
});

t.test('a crash is reported in one piece, status 3', async (t) => {
  // mov eax, 17; syscall; mov [0x1234], al
  const crash = guest('crash.elf', 0xb8, 17, 0, 0, 0, 0x0f, 0x05, 0x88, 0x04, 0x25, 0x34, 0x12, 0x00, 0x00);
  const { status, stderr } = await runBeneath(['run', crash]);
  t.equal(status, 3);
  for (const part of [
    /beneath: crash crashed: unhandled #PF \[0x2\] at 0xffffffff80100007/,
    /vCPU d1v0 in guest kernel mode/,
    /rip ffffffff80100007 {2}rflags/,
    /\nr12 /,
    /cr0 0000000080050033 {2}cr2 0000000000001234/,
    /\ncs {3}e033/,
    /\n {5}ffffffff80100005 {2}0f 05 .* syscall/,
    /\n {2}=> ffffffff80100007 {2}88 04 25 34 12 00 00 .* mov byte ptr \[0x1234\], al/,
    /page walk of 0000000000001234 \(the fault\):\n {2}L4\[0\] at /,
    /last hypercalls, the latest last:\n {2}xen_version/,
  ])
    t.match(stderr, part);
});

t.test('traces go to a file, and a deterministic run repeats to the byte', async (t) => {
  const traces: string[] = [];
  for (const name of ['a', 'b']) {
    const file = join(folder, name);
    const { status } = await beneath(['run', HELLO, '--deterministic', '--trace', `hypercalls,traps,exits:${file}`]);
    t.equal(status, 0);
    traces.push(readFileSync(file, 'utf8'));
  }
  t.match(traces[0], /^d1v0 sched_op\.shutdown\(\{reason=SHUTDOWN_poweroff\}\) = 0$/m);
  t.match(traces[0], /^d1v0 syscall at 0xffffffff/m);
  t.equal(traces[0], traces[1]);
});
