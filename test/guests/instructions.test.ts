/** Random instructions of the guest `instructions`, trap by trap as the real Xen let them end. */
import t from 'tap';
import { agreesForSeeds } from '../support/seeds.ts';

t.test('a seed runs the same instructions, and each ends and leaves what it does on the real Xen', async (t) => {
  agreesForSeeds(t, 'instructions', 2);
});
