/**
 * `npm run bench [group...] [-- --rounds N] [--json]`: what the engine reaches, a table for each group with median, goal
 * and floor. Without groups all run. `--json` prints the same as one array.
 */
import { parseArgs } from 'node:util';
import { asJson, type Figure, type Group, printTable } from './figure.ts';
import { benchBoot } from './groups/boot.ts';
import { benchCpu } from './groups/cpu.ts';
import { benchHost, DOMAIN_MEMORY_RUN, HOST_RUN, memoryOfDomain, runPlay } from './groups/host.ts';
import { benchHotness } from './groups/hotness.ts';
import { benchHypercall, HYPERCALL_RUN, runCalls } from './groups/hypercall.ts';
import { benchInterpreter } from './groups/interpreter.ts';
import { benchMemory, MEMORY_RUN, memoryAfterLongRun } from './groups/memory.ts';
import { benchScheduler } from './groups/scheduler.ts';
import { benchTranslate, TRANSLATE_RUN, translateInPages } from './groups/translate.ts';
import { describeMachine, stolenShare } from './machine.ts';

const groups: Readonly<Record<string, readonly [title: string, Group]>> = {
  cpu: ['the kernels on the CPU engine', benchCpu],
  boot: ['boot-like code', benchBoot],
  interpreter: ['the interpreter alone', benchInterpreter],
  hypercall: ['hypercalls of a PV64 guest', benchHypercall],
  host: ['a host of several domains', benchHost],
  translate: ['code that turns hot', benchTranslate],
  hotness: ['when code is hot', benchHotness],
  scheduler: ['Credit2 alone', benchScheduler],
  memory: ['memory of the engine', benchMemory],
};

if (process.argv[2] === MEMORY_RUN) {
  process.stdout.write(String(memoryAfterLongRun()));
  process.exit(0);
}
if (process.argv[2] === DOMAIN_MEMORY_RUN) {
  process.stdout.write(String(memoryOfDomain()));
  process.exit(0);
}
if (process.argv[2] === HOST_RUN) {
  process.stdout.write(JSON.stringify(runPlay(process.argv[3]!)));
  process.exit(0);
}
if (process.argv[2] === HYPERCALL_RUN) {
  process.stdout.write(JSON.stringify(runCalls(process.argv[3]!, Number(process.argv[4]))) ?? '');
  process.exit(0);
}
if (process.argv[2] === TRANSLATE_RUN) {
  process.stdout.write(JSON.stringify(translateInPages()));
  process.exit(0);
}

const names = Object.keys(groups);
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { rounds: { type: 'string', default: '3' }, json: { type: 'boolean', default: false } },
});
const rounds = Number(values.rounds);
const unknown = positionals.find((name) => groups[name] === undefined);
if (unknown !== undefined || !Number.isInteger(rounds) || rounds < 1) {
  const what = unknown === undefined ? `--rounds ${values.rounds}: give a whole number` : `there is no group '${unknown}'`;
  process.stderr.write(`bench: ${what}; node dist/bench.mjs [${names.join('|')}]... [--rounds N] [--json]\n`);
  process.exit(1);
}
const stolen = stolenShare();
process.stderr.write(`${describeMachine()}\n`);
if (stolen > 0.05) process.stderr.write(`bench: others have ${(stolen * 100).toFixed(0)} % of this processor; times will be too long\n`);

const all: (Figure & { group: string })[] = [];
for (const name of positionals.length > 0 ? positionals : names) {
  const [title, run] = groups[name]!;
  const figures = await run({ rounds, note: (line) => void process.stderr.write(`${name}: ${line}\n`) });
  if (!values.json) process.stdout.write(`${printTable(title, figures)}\n`);
  all.push(...figures.map((figure) => ({ group: name, ...figure })));
}
if (values.json) process.stdout.write(`${JSON.stringify(all.map(asJson), undefined, 2)}\n`);
