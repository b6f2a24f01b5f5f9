/** A guest that shares its core sees it: the wall clock goes on, its own counter does not (guests/patience). */
import { readFileSync } from 'node:fs';
import t from 'tap';
import { Domain } from '../../emulator/domain.ts';
import { Machine } from '../../emulator/machine.ts';
import { runSlice } from '../../emulator/run.ts';

const MEMORY = 4 << 20;
const SECOND = 1e9;

t.setTimeout(240_000);

/** What patience prints of its first second, beside so many domains that spin: milliseconds passed, running, stolen; its count. */
function watch(spinning: number, { weight = 256, cap = 0 } = {}): number[] {
  let text = '';
  const machine = new Machine({
    memorySize: MEMORY * (spinning + 2),
    engine: 'translate',
    output: (domain, bytes) => {
      if (domain.name === 'patience') text += String.fromCharCode(...bytes);
    },
  });
  const create = (name: string, kernel: string, cmdline: string, weight: number): Domain => {
    const domain = machine.createPvDomain(readFileSync(kernel), { name, isInitial: false, memorySize: MEMORY, cmdline, weight });
    if (!(domain instanceof Domain)) throw new Error(domain.message);
    return domain;
  };
  const patience = create('patience', 'guests/patience/patience.elf', 'watch', weight);
  machine.cores.scheduler.adjust(patience.credit!, { cap });
  for (let i = 0; i < spinning; i++) create(`spin${i}`, 'guests/spin/spin.elf', '', 256);
  while (machine.clock.ns < 1.1 * SECOND && runSlice(machine, 100_000).kind === 'running');
  const line = text.split('\n').filter((line) => /^[\s\d]+$/.test(line.trimEnd()))[0] ?? '';
  return line.trim().split(/\s+/).map(Number);
}

t.test('patience', (t) => {
  const [passed, running, stolen, alone] = watch(0) as [number, number, number, number];
  t.ok(
    passed >= 1000 && passed <= 1010 && running >= passed - 1 && stolen <= 1,
    `alone: ${running} ms of ${passed} ms, ${stolen} ms stolen`,
  );
  const rows: readonly [what: string, spinning: number, options: { weight?: number; cap?: number }, share: number][] = [
    ['beside one that spins', 1, {}, 1 / 2],
    ['beside three', 3, {}, 1 / 4],
    ['beside one, with twice its weight', 1, { weight: 512 }, 2 / 3],
    ['alone, with a cap of 30 %', 0, { cap: 30 }, 0.3],
  ];
  for (const [what, spinning, options, share] of rows) {
    const [passed, running, stolen, count] = watch(spinning, options) as [number, number, number, number];
    t.ok(passed >= 1000 && passed < 1020, `${what}: its clock goes on, ${passed} ms`);
    t.ok(Math.abs(running / passed - share) < 0.02, `  it ran for ${running} ms`);
    t.ok(Math.abs(running + stolen - passed) <= 2, `  the rest was stolen: ${stolen} ms`);
    t.ok(Math.abs(count / alone - share) < 0.02, `  and its counter came ${((100 * count) / alone).toFixed(1)} % as far as alone`);
  }
  t.end();
});
