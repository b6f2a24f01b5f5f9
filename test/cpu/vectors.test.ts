/** Every vector recorded from the real CPU, replayed in both engines: same registers, flags (but the undefined ones), memory or exception. */
import { readFileSync } from 'node:fs';
import t from 'tap';
import type { CpuCore } from '../../emulator/cpu/index.ts';
import { rows } from '../../emulator/cpu/rows/index.ts';
import { makeBareCpu } from '../support/bare_cpu.ts';
import { EAGER, replayHot } from '../support/hot_code.ts';
import { loadState, saveState } from '../support/machine_state.ts';
import { applyOutcome, CODE_ADDRESS, changesBetween, inputState, readVectors, type Vector } from '../support/vectors.ts';

const flagBits: Record<string, number> = { o: 0x800, s: 0x80, z: 0x40, a: 0x10, p: 4, c: 1 };
const undefinedFlags = new Map(
  rows.map((row) => [`${row.opcode}|${row.operands}`, [...row.undefinedFlags].reduce((mask, letter) => mask | flagBits[letter]!, 0)]),
);

/** Runs a vector's code at an address; what went differently from the real CPU, or ''. */
function replay(cpu: CpuCore, vector: Vector, at: number): string {
  const before = inputState(vector.seed, vector.overrides);
  loadState(cpu, before);
  cpu.rip = BigInt(at);
  const end = BigInt(at + vector.code.length);
  let exit = cpu.run(1);
  for (let steps = 0; exit.kind === 'budget' && cpu.rip !== end && steps < 16; steps++) exit = cpu.run(1);
  const ours = exit.kind === 'exception' ? `#${exit.vector}` : exit.kind;
  if (vector.outcome.startsWith('#')) return ours === vector.outcome ? '' : `${ours} instead of ${vector.outcome}`;
  if (ours !== 'budget') return `${ours} instead of ${vector.outcome}`;
  if (cpu.rip !== end) return `RIP ${cpu.rip.toString(16)} instead of ${end.toString(16)}`;
  const wanted = applyOutcome(before, vector.outcome);
  const got = saveState(cpu);
  const mask = undefinedFlags.get(vector.row) ?? 0;
  wanted.flags |= mask;
  got.flags |= mask;
  return changesBetween(wanted, got);
}

function replayInterpreted(cpu: CpuCore, vector: Vector): string {
  cpu.memory.bytes.set(vector.code, CODE_ADDRESS);
  cpu.memory.written(CODE_ADDRESS, vector.code.length);
  return replay(cpu, vector, CODE_ADDRESS);
}

const describe = (vector: Vector, difference: string): string =>
  `${Buffer.from(vector.code).toString('hex')} seed ${vector.seed.toString(16)} ${vector.overrides}: ${difference}`;

/** Rows that only the interpreter runs. */
const isInterpreted = new Map(rows.map((row) => [`${row.opcode}|${row.operands}`, row.attributes.has('system')]));

for (const name of ['integer', 'simd']) {
  const all = readVectors(readFileSync(new URL(`../../../test/cpu/vectors/${name}.gz`, import.meta.url)));
  const byRow = new Map<string, Vector[]>();
  for (const vector of all) byRow.set(vector.row, [...(byRow.get(vector.row) ?? []), vector]);

  t.test(`${name} rows do what the real CPU did`, (t) => {
    const cpu = makeBareCpu();
    for (const [row, vectors] of byRow) {
      const failures = vectors.flatMap((vector) => {
        const difference = replayInterpreted(cpu, vector);
        return difference === '' ? [] : [describe(vector, difference)];
      });
      t.equal(failures.length, 0, `${row}: ${vectors.length} vectors`, { failures: failures.slice(0, 3) });
    }
    t.end();
  });

  t.test(`${name} rows do so as translated code`, (t) => {
    const cpu = makeBareCpu(EAGER);
    const { differences, translated } = replayHot(cpu, all, {
      load: ({ seed, overrides }) => loadState(cpu, inputState(seed, overrides)),
      run: (vector, at) => replay(cpu, vector, at),
    });
    const failures = all.flatMap((vector, i) => (differences[i] === '' ? [] : [`${vector.row}: ${describe(vector, differences[i]!)}`]));
    t.equal(failures.length, 0, `${all.length} vectors`, { failures: failures.slice(0, 10) });
    const able = all.filter(({ row, outcome }) => !outcome.startsWith('#') && !isInterpreted.get(row)).length;
    t.ok(translated > 0.95 * able, `${translated} of ${able} ran as translated code`);
    t.end();
  });
}
