/** `npm run soak [minutes] [-- --seed N]`: the soak (soak.ts) for so long; fails on a difference or on memory that grows. */
import { parseArgs } from 'node:util';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { soak } from './soak.ts';

const MINUTES = 10;
/** More than the first third of the run ever used, by a quarter and some that come and go. */
const SLACK = 32 * 1024 * 1024;

const { values, positionals } = parseArgs({ allowPositionals: true, options: { seed: { type: 'string' } } });
const minutes = Number(positionals[0] ?? MINUTES);
const seed = values.seed === undefined ? Date.now() % 0x7fff_ffff : Number(values.seed);
if (!(minutes > 0) || !Number.isInteger(seed) || positionals.length > 1) {
  process.stderr.write('soak: give minutes, such as 10 or 0.5, and --seed a whole number\n');
  process.exit(1);
}
setFlagsFromString('--expose-gc');
const gc = runInNewContext('gc') as () => void;
const collect = (): number => {
  gc();
  const { heapUsed, external, arrayBuffers } = process.memoryUsage();
  return heapUsed + Math.max(external, arrayBuffers);
};
process.stdout.write(`soak: ${minutes} minutes, seed ${seed}\n`);
const { rounds, difference, growth } = soak(
  { seed, seconds: minutes * 60, say: (line) => void process.stdout.write(`soak: ${line}\n`) },
  collect,
);
const grows = growth !== undefined && growth.late > growth.early * 1.25 + SLACK;
if (difference !== undefined) process.stdout.write(`soak: ${difference}\n`);
if (growth !== undefined) process.stdout.write(`soak: ${growth.early >> 20} MiB in use early, ${growth.late >> 20} MiB late\n`);
process.stdout.write(`soak: ${rounds} rounds, ${difference !== undefined ? 'a difference' : grows ? 'memory grows' : 'no difference'}\n`);
process.exitCode = difference !== undefined || grows ? 1 : 0;
