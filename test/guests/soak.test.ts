/** Some seconds of the soak; `npm run soak` has more. */
import t from 'tap';
import { soak } from '../support/soak.ts';
import { quickOr } from '../support/thorough.ts';

const SECONDS = quickOr(3, 20);
const seed = Number(process.env.SOAK_SEED ?? Date.now() % 0x7fff_ffff);

t.setTimeout(300_000);

t.test(`guests run alike under random budgets and engines, seed ${seed}`, async (t) => {
  const { rounds, difference } = soak({ seed, seconds: SECONDS });
  t.equal(difference, undefined, `no difference in ${rounds} rounds; SOAK_SEED=${seed} repeats them`);
});
