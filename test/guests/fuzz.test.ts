/** Random hypercalls of the guest `fuzz`, answer by answer as the real Xen gave them. */
import t from 'tap';
import { agreesForSeeds } from '../support/seeds.ts';

t.test('a seed makes the same calls, and each has the answer and the effects that it has on the real Xen', async (t) => {
  agreesForSeeds(t, 'fuzz', 4);
});
