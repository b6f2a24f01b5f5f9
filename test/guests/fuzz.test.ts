/** Random hypercalls of the guest `fuzz`, answer by answer as the real Xen gave them (guests/fuzz/record.sh). */
import { readdirSync, readFileSync } from 'node:fs';
import t from 'tap';
import { bootGuest, guestFile, type Kind } from '../support/guest_run.ts';
import { quickOr } from '../support/thorough.ts';

t.setTimeout(240_000);

/** `domU-17.txt` begins with "seed 17, 250 steps". */
const recorded = readdirSync(guestFile('fuzz', 'seeds')).map((file) => {
  const text = readFileSync(guestFile('fuzz', `seeds/${file}`), 'latin1');
  const [, seed, steps] = /^seed (\d+), (\d+) steps\n/.exec(text) ?? [];
  return { as: file.split('-')[0] as Kind, seed, steps, lines: text.split('\n') };
});

t.test('a seed makes the same calls, and each has the answer and the effects that it has on the real Xen', async (t) => {
  for (const { as, seed, steps, lines } of quickOr(
    recorded.filter((_, i) => i % 4 === 0),
    recorded,
  )) {
    const run = bootGuest('fuzz', { as, cmdline: `${seed} ${steps}`, isTraced: false });
    run.run();
    const here = run.console.split('\n');
    const first = lines.findIndex((line, i) => line !== here[i]);
    t.equal(first < 0 ? undefined : here[first], first < 0 ? undefined : lines[first], `seed ${seed} as ${as}`);
    t.equal(here.length, lines.length, `seed ${seed} as ${as}: as many lines`);
  }
});
