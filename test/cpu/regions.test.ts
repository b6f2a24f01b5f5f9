/** The second tier's life: what is translated, when it arrives, how it goes, and what it may take. */
import t from 'tap';
import type { CpuCore } from '../../emulator/cpu/index.ts';
import { type BareOptions, loadCode, makeBareCpu } from '../support/bare_cpu.ts';

/** A loop of `count` rounds that sums up RCX in RAX, then HLT. */
const sumLoop = (count: number): number[] => [
  ...[0xb9, ...new Uint8Array(Uint32Array.of(count).buffer)], // mov ecx, count
  ...[0x31, 0xc0], // xor eax, eax
  ...[0x01, 0xc8], // add eax, ecx
  ...[0x83, 0xe9, 0x01], // sub ecx, 1
  ...[0x75, 0xf9], // jnz back to add
  0xf4,
];
const ROUNDS = 50_000;
const SUM = BigInt((ROUNDS * (ROUNDS + 1)) / 2) & 0xffff_ffffn;

function runSum(options: BareOptions, prepare: (cpu: CpuCore) => void = () => {}): CpuCore {
  const cpu = makeBareCpu({ cpl: 0, ...options });
  prepare(cpu);
  loadCode(cpu, sumLoop(ROUNDS));
  return cpu;
}

const aMoment = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 10));

t.test('flat 32-bit code is translated', (t) => {
  const cpu = runSum({ engine: 'translate' }, (cpu) => {
    cpu.cr0 = 0x33n;
    cpu.efer = 0n;
    cpu.setSegment('cs', { selector: 8, base: 0n, limit: 0xffff_ffff, attributes: 0xc09b });
  });
  t.equal(cpu.run(1e6).kind, 'halt');
  t.equal(cpu.gpr[0], SUM);
  t.ok(cpu.statistics().translatedInstructions > 100_000n, `${cpu.statistics().translatedInstructions} instructions`);
  t.end();
});

t.test('compiled in the background, it comes between two runs', async (t) => {
  const cpu = runSum({ engine: 'translate', asyncCompilation: true });
  t.equal(cpu.run(100_000).kind, 'budget');
  t.equal(cpu.statistics().translatedInstructions, 0n, 'interpreted until then');
  while (cpu.statistics().translations === 0) await aMoment();
  t.equal(cpu.run(1e6).kind, 'halt');
  t.equal(cpu.gpr[0], SUM);
  t.ok(cpu.statistics().translatedInstructions > 0n, 'translated then');
});

t.test('code that changed while it was compiled stays away', async (t) => {
  const cpu = runSum({ engine: 'translate', asyncCompilation: true });
  cpu.run(100_000);
  loadCode(cpu, sumLoop(ROUNDS).with(11, 2)); // sub ecx, 2 by the time that the old loop is ready
  for (let i = 0; i < 10; i++) await aMoment();
  t.equal(cpu.run(1e6).kind, 'halt');
  t.equal(cpu.gpr[0], BigInt((ROUNDS / 2) * (ROUNDS / 2 + 1)) & 0xffff_ffffn);
});

t.test('more hot code than may live at once: the oldest goes, all of it runs', (t) => {
  const PAGES = 900;
  const cpu = makeBareCpu({ cpl: 0, engine: 'translate', hotness: 100 });
  const loop = sumLoop(400);
  const wrong: number[] = [];
  for (let page = 0; page < PAGES; page++) {
    loadCode(cpu, loop, 0x100000 + page * 4096);
    if (cpu.run(1e6).kind !== 'halt' || cpu.gpr[0] !== 80_200n) wrong.push(page);
  }
  t.same(wrong, []);
  const { translations, liveRegions } = cpu.statistics();
  t.equal(translations, PAGES);
  t.ok(liveRegions <= 512, `${liveRegions} regions`);
  t.end();
});
