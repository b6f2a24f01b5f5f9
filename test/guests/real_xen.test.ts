/** Guests side by side with the real Xen, now: the same console, byte for byte. */
import { existsSync, readFileSync } from 'node:fs';
import t from 'tap';
import { GRUB, grubIsMissing, withoutRate } from '../support/grub.ts';
import { GuestRun, guestFile, guestKernel, guestNames, guestVcpus, kinds } from '../support/guest_run.ts';
import { consolesOf, consolesOfDomUs, type RealGuest, realXenIsMissing } from '../support/real_xen.ts';

/** What each guest prints here. */
function consoleHere({ kernel, cmdline = '', typed }: RealGuest, as: 'domU' | 'dom0', vcpus = 1): string {
  const run = GuestRun.bootFile(kernel, { as, cmdline, vcpus });
  if (typed) {
    run.run({ isDone: () => run.console.includes(typed.when), limit: 50_000_000 });
    run.type(typed.keys);
  }
  run.run();
  return run.console;
}

/** How often the real Xen is asked before a difference counts. */
const ATTEMPTS = 3;

const guestOf = (name: string): RealGuest => ({ name, kernel: guestKernel(name) });
const own = guestNames.filter((name) => guestVcpus(name) === 1).map(guestOf);
const withVcpus = guestNames.filter((name) => guestVcpus(name) > 1);

const withKeys: readonly RealGuest[] = guestNames
  .filter((name) => existsSync(guestFile(name, 'input.txt')))
  .map((name) => {
    const keys = readFileSync(guestFile(name, 'input.txt'), 'latin1');
    return { name: `${name}-typed`, kernel: guestKernel(name), cmdline: 'wait', typed: { keys, when: name } };
  });

const commands = [
  'echo hello',
  'ls',
  'foo',
  'ls (proc)/',
  'help echo',
  'xen_ls name',
  'if true; then echo yes; fi',
  'echo a\x7fb\x01\x06\x0bho c',
  'halt',
];
const grub: readonly RealGuest[] = grubIsMissing
  ? []
  : [{ name: 'grub', kernel: GRUB, typed: { keys: commands.map((line) => `${line}\n`).join(''), when: 'grub> ' } }];

/** Without what a serial line and the speed of the machine make of it. */
const comparable = (console: string): string => withoutRate(console).replaceAll('\r\n', '\n');

t.setTimeout(295_000);
t.jobs = 2;

t.test('as domU', { skip: realXenIsMissing }, async (t) => {
  const guests = [...own, ...withKeys, ...grub];
  const there = await consolesOfDomUs(guests);
  for (const guest of guests) t.equal(comparable(consoleHere(guest, 'domU')), comparable(there.get(guest.name)!), guest.name);
});

t.test('as dom0', { skip: realXenIsMissing }, async (t) => {
  const there = await consolesOf('dom0', own);
  for (const guest of own) t.equal(comparable(consoleHere(guest, 'dom0')), comparable(there.get(guest.name)!), guest.name);
});

t.test('with several vCPUs', { skip: realXenIsMissing }, async (t) => {
  for (const name of withVcpus) {
    for (const as of kinds) {
      const guest = guestOf(name);
      const here = comparable(consoleHere(guest, as, guestVcpus(name)));
      const askThere = async () => comparable((await consolesOf(as, [guest], guestVcpus(name))).get(name)!);
      let there = await askThere();
      // The clocks of several vCPUs under an emulator on a busy computer drift apart, and then a timer seems to come early.
      for (let i = 1; i < ATTEMPTS && there !== here; i++) there = await askThere();
      t.equal(here, there, `${name} as ${as}`);
    }
  }
});
