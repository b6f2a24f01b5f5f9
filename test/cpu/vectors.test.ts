/** Every vector recorded from the real CPU, replayed: same registers, flags (but the undefined ones), memory or exception. */
import { readFileSync } from 'node:fs';
import t from 'tap';
import type { CpuCore } from '../../emulator/cpu/index.ts';
import { rows } from '../../emulator/cpu/rows/index.ts';
import { makeBareCpu } from '../support/bare_cpu.ts';
import { loadState, saveState } from '../support/machine_state.ts';
import { applyOutcome, CODE_ADDRESS, changesBetween, inputState, readVectors, type Vector } from '../support/vectors.ts';

const flagBits: Record<string, number> = { o: 0x800, s: 0x80, z: 0x40, a: 0x10, p: 4, c: 1 };
const undefinedFlags = new Map(
  rows.map((row) => [`${row.opcode}|${row.operands}`, [...row.undefinedFlags].reduce((mask, letter) => mask | flagBits[letter]!, 0)]),
);

/** What went differently from the real CPU, or ''. */
function replay(cpu: CpuCore, vector: Vector): string {
  const before = inputState(vector.seed, vector.overrides);
  cpu.memory.bytes.set(vector.code, CODE_ADDRESS);
  cpu.memory.written(CODE_ADDRESS, vector.code.length);
  loadState(cpu, before);
  const end = BigInt(CODE_ADDRESS + vector.code.length);
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

for (const name of ['integer', 'simd']) {
  t.test(`${name} rows do what the real CPU did`, (t) => {
    const cpu = makeBareCpu();
    const byRow = new Map<string, Vector[]>();
    for (const vector of readVectors(readFileSync(new URL(`../../../test/cpu/vectors/${name}.gz`, import.meta.url)))) {
      byRow.set(vector.row, [...(byRow.get(vector.row) ?? []), vector]);
    }
    for (const [row, vectors] of byRow) {
      const failures = vectors.flatMap((vector) => {
        const difference = replay(cpu, vector);
        return difference === ''
          ? []
          : [`${Buffer.from(vector.code).toString('hex')} seed ${vector.seed.toString(16)} ${vector.overrides}: ${difference}`];
      });
      t.equal(failures.length, 0, `${row}: ${vectors.length} vectors`, { failures: failures.slice(0, 3) });
    }
    t.end();
  });
}
