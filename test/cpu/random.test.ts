/**
 * Random programs run alike in both engines: registers, flags, memory, exits and instruction counts. The seeds are the same
 * each time, as many as the time allows (thorough.ts); FUZZ_SEED=n begins with another one, FUZZ_SECONDS=n goes on for as long.
 */
import t from 'tap';
import { fuzz } from '../support/random/fuzz.ts';
import { quickOr } from '../support/thorough.ts';

t.setTimeout(0);
const seed = Number(process.env.FUZZ_SEED ?? 1);
const seconds = Number(process.env.FUZZ_SECONDS ?? 50);
const most = process.env.FUZZ_SECONDS ? Number.MAX_SAFE_INTEGER : quickOr(120, 3000);

t.test('translated programs run as interpreted ones, cut anywhere', async (t) => {
  const result = await fuzz({ seed, milliseconds: seconds * 1000, most, engine: 'translate' });
  t.strictSame(result.failures, [], `${result.programs} programs from seed ${seed} on`);
  const share = result.translatedInstructions / result.instructions;
  t.ok(
    share > 0.25,
    `${Math.round(100 * share)} % of ${result.instructions} instructions were translated code, in ${result.translations} regions`,
  );
});

t.test('interpreted programs run the same an instruction at a time', async (t) => {
  const result = await fuzz({ seed, milliseconds: seconds * 150, most: most / 8, engine: 'interpret', cuts: () => 1 });
  t.strictSame(result.failures, [], `${result.programs} programs from seed ${seed} on`);
});
