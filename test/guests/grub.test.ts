/** Debian's unmodified GRUB boots, takes commands and ends, as a domU; as dom0 it crashes where it does on the real Xen. */
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { SHUTDOWN_crash, SHUTDOWN_poweroff, SHUTDOWN_reboot } from '../../hypercalls/abi/sched.ts';
import { MemoryDisk } from '../support/block_front.ts';
import { beneath, runBeneath } from '../support/command.ts';
import { makeFatImage } from '../support/fat_image.ts';
import { environmentBlock, GRUB, grubIsMissing, readable } from '../support/grub.ts';
import { type GuestOptions, GuestRun } from '../support/guest_run.ts';

const PROMPT = 'grub> ';

/** Someone at GRUB's prompt. */
class Session {
  readonly run: GuestRun;

  constructor(options?: GuestOptions) {
    this.run = GuestRun.bootFile(GRUB, options);
  }

  /** What it shows up to its next prompt, or until it ends. */
  next(): string {
    const { run } = this;
    const from = run.console.length;
    run.run({ limit: 150_000_000, isDone: () => readable(run.console.slice(from)).endsWith(PROMPT) });
    return readable(run.console.slice(from));
  }

  type(line: string): string {
    this.run.type(`${line}\n`);
    return this.next();
  }
}

t.test('GRUB as a domU', { skip: grubIsMissing }, async (t) => {
  const session = new Session();
  const banner = session.next();
  t.match(banner, /^Welcome to GRUB!\n/);
  t.match(banner, /\nGNU GRUB {2}version 2\.06/);
  t.match(banner, / Minimal BASH-like line editing is supported\. /);
  t.match(banner, /\ngrub> $/);

  // biome-ignore format: one line typed a line
  const answers: readonly (readonly [typed: string, answer: string])[] = [
    ['echo hello',                'hello\n'],
    ['ls',                        '(memdisk) (proc) \n'],
    ['foo',                       "error: can't find command `foo'.\n"],
    ['ls (hd9)/',                 'error: no server is specified.\n'],
    ['set x=7; echo a$x',         'a7\n'],
    ['if test 2 -lt 10; then echo yes; else echo no; fi', 'yes\n'],
    ['cat (memdisk)/nothing',     "error: file `/nothing' not found.\n"],
    ['sleep 0',                   ''],
    ['xen_ls name',               ''],
    ['',                          ''],
  ];
  for (const [typed, answer] of answers) t.equal(session.type(typed), `${typed}\n${answer}${PROMPT}`, typed);
  t.match(session.type('help'), /\nhalt .*\n(.*\n)*.*reboot /, 'help lists the commands');
  t.match(session.type('help echo'), /\nUsage: echo \[-e\|-n\] STRING\nDisplay a line of text\.\n/);

  t.match(session.type('echo helxx\x7f\x7flo'), /\nhello\ngrub> $/, 'backspace');
  t.match(session.type('wrong\x01\x0becho right'), /\nright\ngrub> $/, 'Ctrl-A, Ctrl-K');
  t.match(session.type('\x1b[A'), /\nright\ngrub> $/, 'arrow up');
  t.match(session.type('ech\tcompleted'), /\ncompleted\ngrub> $/, 'TAB');

  session.type('halt');
  t.equal(session.run.shutdownReason, SHUTDOWN_poweroff, 'halt');
});

const STORY = `${'a line of the story\n'.repeat(50)}the end\n`;
const makeImage = (): Uint8Array =>
  makeFatImage([
    { name: 'STORY   TXT', contents: STORY },
    { name: 'GRUBENV    ', contents: environmentBlock() },
  ]);

t.test('disks', { skip: grubIsMissing }, async (t) => {
  const first = new MemoryDisk(makeImage());
  const second = new MemoryDisk(makeImage(), true);
  const disks = [first, second].map((disk, i) => ({ name: `xvd${'ab'[i]}`, path: '/disk.img', disk }));
  const session = new Session({ disks });
  session.next();
  const type = (line: string): string => session.type(line).slice(line.length + 1, -PROMPT.length);
  t.equal(type('ls'), '(memdisk) (proc) (xen/xvda) (xen/xvda,msdos1) (xen/xvdb) (xen/xvdb,msdos1) \n');
  t.equal(type('ls (hd0,msdos1)/'), 'story.txt grubenv \n');
  t.match(type('ls (hd1)'), /^Device hd1: .* Sector size 512B - Total size 36KiB\n$/);
  t.equal(type('hexdump -n 16 (hd0)0+1').split(' ')[0], '00000000');
  t.match(type('cat (hd1,msdos1)/story.txt'), /^a line of the story\n(.*\n)*the end\n/, 'a file of three clusters');
  t.equal(type('xen_ls device/vbd'), '51712\n51728\n');

  const before = first.bytes.slice();
  t.equal(type('set colour=blue'), '');
  t.equal(type('save_env -f (hd0,msdos1)/grubenv colour'), '');
  t.match(Buffer.from(first.bytes).toString('latin1'), /# GRUB Environment Block\ncolour=blue\n#/, 'GRUB writes to its disk');
  const at = Buffer.from(before).indexOf('# GRUB');
  first.bytes.set(before.subarray(at, at + 1024), at);
  t.same(first.bytes, before, 'and nowhere else');
  t.match(type('save_env -f (hd1,msdos1)/grubenv colour'), /^error: /, 'but not to one that is read only');
  session.type('reboot');
  t.equal(session.run.shutdownReason, SHUTDOWN_reboot);
  for (const number of [51712, 51728]) t.equal(session.run.machine.xenstore.read(`/local/domain/0/backend/vbd/1/${number}/state`), '6');
});

t.test('--disk is the file itself', { skip: grubIsMissing }, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'beneath-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const [a, b] = ['a.img', 'b.img'].map((name) => join(folder, name)) as [string, string];
  for (const file of [a, b]) writeFileSync(file, makeImage());
  chmodSync(b, 0o444);
  const typed = ['ls', 'set colour=blue', ...[0, 1].map((i) => `save_env -f (hd${i},msdos1)/grubenv colour`), 'reboot'];
  const { status, stdout, stderr } = await beneath(['run', GRUB, '--disk', a, '--disk', `${b},raw,xvdc,ro`], `${typed.join('\n')}\n`);
  t.equal(status, 0);
  t.match(stderr, /asks for a reboot/);
  t.match(readable(stdout), /\(xen\/xvda,msdos1\) \(xen\/xvdc\) \(xen\/xvdc,msdos1\) \n/);
  t.match(readFileSync(a, 'latin1'), /\ncolour=blue\n#/);
  t.same(readFileSync(b), Buffer.from(makeImage()));
});

t.test('GRUB as dom0 crashes where it crashes on the real Xen', { skip: grubIsMissing }, async (t) => {
  const run = GuestRun.bootFile(GRUB, { as: 'dom0' });
  run.run();
  t.equal(run.shutdownReason, SHUTDOWN_crash);
  t.equal(run.console, '');
  const crash = run.machine.crashes.get(run.domain);
  t.match(crash?.why, 'unhandled #PF [0x2] at 0x90fe');
  t.equal(crash?.vaddr, 0x7fb_bfffn);
});

t.test('the command runs it on piped input, and --deterministic repeats to the byte', { skip: grubIsMissing }, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'beneath-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const typed = 'echo hello\nhalt\n';
  const plain = await runBeneath(['run', GRUB], typed);
  t.equal(plain.status, 0);
  t.match(readable(plain.stdout), /\ngrub> echo hello\nhello\ngrub> halt\n$/);

  const [first, second] = await Promise.all(
    [runBeneath, beneath].map(async (run) => {
      const file = join(folder, run.name);
      const outcome = await run(['run', GRUB, '--deterministic', '--trace', `hypercalls,traps,exits:${file}`], typed);
      t.equal(outcome.status, 0, outcome.stderr);
      return { ...outcome, trace: readFileSync(file, 'utf8') };
    }),
  );
  t.match(readable(first!.stdout), /\nhello\n/);
  t.match(first!.trace, /^d1v0 mmuext_op\(\[\{cmd=MMUEXT_PIN_L4_TABLE /m);
  t.match(first!.trace, /^d1v0 sched_op\.shutdown\(\{reason=SHUTDOWN_poweroff\}\) = 0$/m);
  t.same(second, first);

  const dom0 = await beneath(['run', GRUB, '--as', 'dom0']);
  t.equal(dom0.status, 3);
  t.match(dom0.stderr, /crashed: unhandled #PF \[0x2\] at 0x90fe\b/);
  t.match(dom0.stderr, /\nlast hypercalls, the latest last:\n( {2}\w+\(.*\) = .*\n){16}$/);
  t.match(dom0.stderr, /\npage walk of 0000000007fbbfff \(the fault\):\n {2}L4\[0\] .*\n {2}L3\[0\] .*\n {2}L2\[63\] .* not present\n/);
});
