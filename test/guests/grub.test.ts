/** Debian's GRUB for Xen PV, which nobody here wrote: its prompt, and two commands. Needs the package grub-xen-host. */
import { existsSync, readFileSync } from 'node:fs';
import t from 'tap';
import { Machine } from '../../emulator/machine.ts';
import { runSlice } from '../../emulator/run.ts';
import { ImageError } from '../../firmware/image_error.ts';

const GRUB = '/usr/lib/grub-xen/grub-x86_64-xen.bin';
const MEMORY = 128 * 1024 * 1024;
/** Its menu comes after some 40 million instructions; this is when something is wrong. */
const PATIENCE = 1_000_000_000n;

t.test(
  "Debian's GRUB",
  { skip: existsSync(GRUB) ? false : `skipped: ${GRUB} is not there; install the Debian package grub-xen-host` },
  async (t) => {
    let screen = '';
    const machine = new Machine({
      memorySize: MEMORY,
      output: (_domain, bytes) => {
        screen += Buffer.from(bytes).toString('latin1');
      },
    });
    const domain = machine.createPvDomain(readFileSync(GRUB), { name: 'grub', isInitial: false, memorySize: MEMORY });
    if (domain instanceof ImageError) throw new Error(domain.message);
    const runUntil = (words: string): boolean => {
      const from = screen.length;
      const end = machine.cpu.instructions + PATIENCE;
      while (!screen.includes(words, from) && machine.cpu.instructions < end && runSlice(machine, 1_000_000).kind === 'running');
      return screen.includes(words, from);
    };
    const type = (text: string) => machine.consoles.get(domain.id)!.input(Buffer.from(text));

    t.ok(runUntil('grub> '), 'shows its prompt');
    t.match(screen, /GNU GRUB {2}version 2\./);
    type('echo hello\r');
    t.ok(runUntil('hello'), 'answers echo; the typed word has cursor movements between its letters');
    type('halt\r');
    runUntil('never');
    t.equal(domain.shutdownReason, 0, 'powers off by halt');
  },
);
