/** `beneath run` on a terminal: raw keys to the guest, Ctrl-] leaves, and the terminal is as before however it ends. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { BENEATH, runCommand } from '../support/command.ts';
import { makeImage } from '../support/elf_image.ts';
import { GRUB, grubIsMissing, readable } from '../support/grub.ts';
import { guestKernel } from '../support/guest_run.ts';

const KEYS = guestKernel('keys');
const ready = 'ends\r\n';
const CTRL_C = '\x03';
const CTRL_BRACKET = '\x1d';

interface Session {
  readonly status: number;
  readonly output: string;
  readonly isRaw: boolean;
  readonly isRestored: boolean;
  readonly stepsLeft: number;
}

async function session(args: readonly string[], ...steps: readonly (readonly [waitFor: string, type: string])[]): Promise<Session> {
  const { stdout, stderr } = await runCommand('python3', [
    'test/support/terminal.py',
    JSON.stringify(steps),
    process.execPath,
    BENEATH,
    'run',
    ...args,
  ]);
  if (stderr !== '') throw new Error(stderr);
  return JSON.parse(stdout) as Session;
}

const python = await runCommand('python3', ['-c', 'import pty']).catch(() => undefined);
const skip = python?.status === 0 ? false : 'needs python3, which makes the terminal';
const folder = mkdtempSync(join(tmpdir(), 'beneath-'));
t.teardown(() => rmSync(folder, { recursive: true }));
t.setTimeout(200_000);
t.jobs = 3;

t.test('keys reach the guest as they are typed, and it ends by itself', { skip }, async (t) => {
  const { status, output, isRaw, isRestored } = await session(
    [KEYS, '--cmdline', 'wait'],
    [ready, 'ab'],
    ['ab', '\x7f\r'],
    ['line of 1: a', 'quit\r'],
  );
  t.equal(status, 0);
  t.match(output, /\r\nab[\b] [\b]\r\nline of 1: a\r\nquit\r\nline of 4: quit\r\nkeys: 9 keys, done\r\n$/);
  t.ok(isRaw, 'while it runs');
  t.ok(isRestored, 'afterwards');
});

t.test("Ctrl-C and its likes are the guest's, Ctrl-] leaves", { skip }, async (t) => {
  const { status, output, isRestored, stepsLeft } = await session(
    [KEYS, '--cmdline', 'wait'],
    [ready, CTRL_C],
    ['^C', '\x1a\x1c\x13\x11x'],
    ['^Z^\\^S^Qx', CTRL_BRACKET],
  );
  t.equal(stepsLeft, 0, output);
  t.equal(status, 0);
  t.match(output, /beneath: left keys/);
  t.ok(isRestored);
});

t.test('a wall clock: the guest waits as long as it says', { skip }, async (t) => {
  const began = performance.now();
  const { status, output } = await session([KEYS]);
  t.equal(status, 0);
  t.match(output, /no key for 50 polls: the end/);
  t.ok(performance.now() - began > 5000, '50 polls of 100 ms');
});

t.test('however it ends, the terminal is as before', { skip }, async (t) => {
  const crash = join(folder, 'crash.elf');
  writeFileSync(crash, makeImage({ code: Buffer.from([0x0f, 0x0b]) }));
  for (const [claim, args, steps, expected] of [
    ['a crash', [crash], [], 3],
    ['a limit', [KEYS, '--cmdline', 'wait', '--timeout', '0.5'], [], 4],
    ['SIGTERM', [KEYS, '--cmdline', 'wait'], [[ready, 'signal SIGTERM']], -15],
    ['SIGHUP', [KEYS, '--cmdline', 'wait'], [[ready, 'signal SIGHUP']], -1],
  ] as const) {
    const { status, isRestored } = await session(args, ...steps);
    t.equal(status, expected, `${claim}: status`);
    t.ok(isRestored, claim);
  }
});

t.test('GRUB at a terminal', { skip: skip || grubIsMissing }, async (t) => {
  const { status, output } = await session([GRUB], ['grub> ', 'echo hello\r'], ['\rhello', ''], ['grub> ', 'halt\r']);
  t.equal(status, 0);
  t.match(readable(output), /\ngrub> echo hello\nhello\ngrub> halt\n/);
});
