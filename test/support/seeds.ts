/** Guests whose command line is a seed and a number of steps: they print here what the real Xen had them print (guests/record-seeds.sh). */
import { readdirSync, readFileSync } from 'node:fs';
import type { Test } from 'tap';
import { bootGuest, guestFile, type Kind } from './guest_run.ts';
import { quickOr } from './thorough.ts';

interface Recorded {
  readonly as: Kind;
  readonly seed: string;
  readonly steps: string;
  readonly lines: readonly string[];
}

/** `domU-17.txt` begins with "seed 17, 250 steps". */
const recorded = (guest: string): Recorded[] =>
  readdirSync(guestFile(guest, 'seeds')).map((file) => {
    const text = readFileSync(guestFile(guest, `seeds/${file}`), 'latin1');
    const [, seed = '', steps = ''] = /^seed (\d+), (\d+) steps\n/.exec(text) ?? [];
    return { as: file.split('-')[0] as Kind, seed, steps, lines: text.split('\n') };
  });

/** Every seed of a guest's, or one of so many where time is short. */
export function agreesForSeeds(t: Test, guest: string, oneOf: number): void {
  const all = recorded(guest);
  const some = all.filter((_, i) => i % oneOf === 0);
  for (const { as, seed, steps, lines } of quickOr(some, all)) {
    const run = bootGuest(guest, { as, cmdline: `${seed} ${steps}`, isTraced: false });
    run.run();
    const here = run.console.split('\n');
    const first = lines.findIndex((line, i) => line !== here[i]);
    t.equal(first < 0 ? undefined : here[first], first < 0 ? undefined : lines[first], `seed ${seed} as ${as}`);
    t.equal(here.length, lines.length, `seed ${seed} as ${as}: as many lines`);
  }
}
