/** Random instructions of the guest `instructions`, trap by trap as the real Xen let them end (guests/instructions/record.sh). */
import { readdirSync, readFileSync } from 'node:fs';
import t from 'tap';
import { bootGuest, guestFile, type Kind } from '../support/guest_run.ts';
import { quickOr } from '../support/thorough.ts';

/** `domU-31.txt` begins with "seed 31, 300 steps". */
const recorded = readdirSync(guestFile('instructions', 'seeds')).map((file) => {
  const text = readFileSync(guestFile('instructions', `seeds/${file}`), 'latin1');
  const [, seed, steps] = /^seed (\d+), (\d+) steps\n/.exec(text) ?? [];
  return { as: file.split('-')[0] as Kind, seed, steps, lines: text.split('\n') };
});

t.test('a seed runs the same instructions, and each ends and leaves what it does on the real Xen', async (t) => {
  for (const { as, seed, steps, lines } of quickOr(
    recorded.filter((_, i) => i % 2 === 0),
    recorded,
  )) {
    const run = bootGuest('instructions', { as, cmdline: `${seed} ${steps}`, isTraced: false });
    run.run();
    const here = run.console.split('\n');
    const first = lines.findIndex((line, i) => line !== here[i]);
    t.equal(first < 0 ? undefined : here[first], first < 0 ? undefined : lines[first], `seed ${seed} as ${as}`);
    t.equal(here.length, lines.length, `seed ${seed} as ${as}: as many lines`);
  }
});
