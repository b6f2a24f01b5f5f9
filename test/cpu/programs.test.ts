/** Whole programs: random ones that the real CPU has run, in one go and cut anywhere, interpreted and translated. */
import { readFileSync } from 'node:fs';
import { inspect, isDeepStrictEqual } from 'node:util';
import t from 'tap';
import type { CpuCore } from '../../emulator/cpu/index.ts';
import { HANDLER_ENTER, R_HANDLER, RECORD_SIZE, RECORDS } from '../../emulator/cpu/layout.ts';
import { loadCode, makeBareCpu } from '../support/bare_cpu.ts';
import { loadState, saveState } from '../support/machine_state.ts';
import { hashesOf, type Program, programInput, readPrograms } from '../support/programs.ts';
import { le } from '../support/random/encode.ts';
import { ENOUGH, HALT } from '../support/short_code.ts';
import { CODE_ADDRESS, type MachineState, makeRandom } from '../support/vectors.ts';

/** Enough for the second tier to have found and translated a loop. */
const WARM_UP = 40_000;

/** What differs from the real CPU, or ''. `budgets`: what each `run` may take. */
function replay(cpu: CpuCore, program: Program, budgets: () => number): string {
  loadState(cpu, programInput(program.seed));
  loadCode(cpu, [...program.code, ...HALT], CODE_ADDRESS);
  const before = cpu.instructions;
  let exit: ReturnType<CpuCore['run']>;
  do {
    const start = cpu.instructions;
    const budget = budgets();
    exit = cpu.run(budget);
    if (exit.kind === 'budget' && cpu.instructions - start !== BigInt(budget))
      return `${cpu.instructions - start} of ${budget} instructions`;
  } while (exit.kind === 'budget' && cpu.instructions - before < ENOUGH);
  const state = saveState(cpu);
  const end = BigInt(CODE_ADDRESS + program.code.length);
  if (exit.kind !== 'exception' || exit.vector !== 6 || cpu.rip !== end) return `${JSON.stringify(exit)} at ${cpu.rip.toString(16)}`;
  const count = Number(cpu.instructions - before);
  return count === program.count ? differences(state, program) : `${count} instructions instead of ${program.count}`;
}

function differences(state: MachineState, program: Program): string {
  if (state.flags !== program.flags) return `flags ${state.flags.toString(16)} instead of ${program.flags.toString(16)}`;
  return hashesOf(state)
    .flatMap((hash, i) => (hash === program.hashes[i] ? [] : [['general registers', 'vector registers', 'memory'][i]]))
    .join(', ');
}

t.test('random programs end as on the real CPU', (t) => {
  const programs = readPrograms(readFileSync(new URL('../../../test/cpu/vectors/programs.gz', import.meta.url)));
  const cpu = makeBareCpu();
  const random = makeRandom(99);
  const ways: [string, number, () => number][] = [
    ['in one run', 2, () => ENOUGH],
    ['an instruction at a time', 9, () => 1],
    ['cut at random', 7, () => 1 + (random() % 9)],
  ];
  for (const [name, step, budgets] of ways) {
    const chosen = programs.filter((_, i) => i % step === 0);
    const failures = chosen.flatMap((program) => {
      const difference = replay(cpu, program, budgets);
      return difference === '' ? [] : [`seed ${program.seed}: ${difference} ${Buffer.from(program.code).toString('hex')}`];
    });
    t.equal(failures.length, 0, `${chosen.length} programs ${name}`, { failures: failures.slice(0, 4) });
  }
  t.end();
});

/** Whether a record among the first enters a region. */
function isTranslated({ state: { view } }: CpuCore): boolean {
  for (let record = RECORDS; record < RECORDS + 1000 * RECORD_SIZE; record += RECORD_SIZE) {
    if (view.getUint16(record + R_HANDLER, true) === HANDLER_ENTER) return true;
  }
  return false;
}

/** The program again and again from where it ended, until it is translated; then once from its input. */
function replayHot(translating: CpuCore, interpreting: CpuCore, program: Program, budgets: () => number): string {
  const again = [0xe9, ...le(-program.code.length - 5, 4)];
  const warm = [translating, interpreting].map((cpu) => {
    loadState(cpu, programInput(program.seed));
    loadCode(cpu, [...program.code, ...again], CODE_ADDRESS);
    const before = cpu.instructions;
    const exit = cpu.run(WARM_UP);
    return { exit, count: cpu.instructions - before, rip: cpu.rip, state: saveState(cpu) };
  });
  const [ours, theirs] = warm.map(({ exit, count, rip, state }) => ({ ...exit, count, rip, flags: state.flags, hashes: hashesOf(state) }));
  if (!isDeepStrictEqual(ours, theirs)) return `after ${theirs!.count} instructions: ${inspect(ours)} instead of ${inspect(theirs)}`;
  loadState(translating, programInput(program.seed));
  for (let left = program.count; left > 0; ) {
    const budget = Math.min(left, budgets());
    translating.run(budget);
    left -= budget;
  }
  if (translating.rip !== BigInt(CODE_ADDRESS + program.code.length)) return `ends at ${translating.rip.toString(16)}`;
  return differences(saveState(translating), program);
}

t.test('hot programs end as on the real CPU, and go on as interpreted ones', (t) => {
  const programs = readPrograms(readFileSync(new URL('../../../test/cpu/vectors/programs.gz', import.meta.url)));
  const translating = makeBareCpu({ engine: 'translate' });
  const interpreting = makeBareCpu();
  const fresh = translating.saveContext();
  const random = makeRandom(98);
  let translated = 0;
  for (const [name, first, budgets] of [
    ['in one run', 0, () => ENOUGH],
    ['cut at random', 4, () => 1 + (random() % 9)],
  ] as const) {
    const chosen = programs.filter((_, i) => i % 32 === first);
    const failures = chosen.flatMap((program) => {
      translating.reset();
      translating.loadContext(fresh);
      const difference = replayHot(translating, interpreting, program, budgets);
      if (isTranslated(translating)) translated++;
      return difference === '' ? [] : [`seed ${program.seed}: ${difference} ${Buffer.from(program.code).toString('hex')}`];
    });
    t.equal(failures.length, 0, `${chosen.length} programs ${name}`, { failures: failures.slice(0, 4) });
  }
  t.ok(translated > 25, `${translated} of them were translated`);
  t.end();
});
