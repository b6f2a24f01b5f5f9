/** Debian's GRUB for Xen PV, which nobody here wrote: its prompt, and two commands. Needs the package grub-xen-host. */
import { existsSync } from 'node:fs';
import t from 'tap';
import { SHUTDOWN_poweroff } from '../../hypercalls/abi/sched.ts';
import { GuestRun } from '../support/guest_run.ts';

const GRUB = '/usr/lib/grub-xen/grub-x86_64-xen.bin';
const skip = existsSync(GRUB) ? false : `${GRUB} is not there: install the Debian package grub-xen-host`;

t.test("Debian's GRUB reaches its prompt, echoes and halts", { skip }, async (t) => {
  const run = GuestRun.bootFile(GRUB);
  const waitFor = (words: string): boolean => {
    const from = run.console.length;
    run.run({ limit: 1_000_000_000, isDone: () => run.console.includes(words, from) });
    return run.console.includes(words, from);
  };
  t.ok(waitFor('grub> '), 'the prompt');
  t.match(run.console, /GNU GRUB {2}version 2\./);
  run.type('echo hello\r');
  t.ok(waitFor('hello'), 'the answer: between the letters as they are typed the cursor moves');
  run.type('halt\r');
  run.run({ limit: 1_000_000_000 });
  t.equal(run.shutdownReason, SHUTDOWN_poweroff);
});
