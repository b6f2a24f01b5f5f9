/** What a PVH guest hears, held against what the real Xen 4.17 told the same program (guests/conformance/pvh). */
import { readFileSync } from 'node:fs';
import t from 'tap';
import { parseChecks } from '../../emulator/cli/conform_compare.ts';
import { checkInvariants } from '../../emulator/memory/invariants.ts';
import { PvhGuest } from '../support/pvh_guest.ts';

const FOLDER = 'guests/conformance/pvh';

t.test('each answer is that of the real Xen', async (t) => {
  const guest = new PvhGuest(readFileSync(`${FOLDER}/pvh.elf`), Number(readFileSync(`${FOLDER}/pvh.vcpus`, 'latin1')));
  guest.run();
  const real = parseChecks(readFileSync(`${FOLDER}/pvh.domU.tap`, 'latin1'));
  const here = parseChecks(guest.console);
  t.equal(here.length, real.length, 'as many');
  t.same(here, real);
  t.equal(checkInvariants(guest.memory), undefined, 'no reference is lost');
});
