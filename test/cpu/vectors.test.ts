/** Every vector recorded from the real CPU, replayed: same registers, flags (but the undefined ones), memory or exception. */
import { readFileSync } from 'node:fs';
import t from 'tap';
import { ARITHMETIC } from '../../emulator/cpu/flags.ts';
import type { CpuCore } from '../../emulator/cpu/index.ts';
import { FTW, MXCSR, ST, XMM } from '../../emulator/cpu/layout.ts';
import { rows } from '../../emulator/cpu/rows/index.ts';
import { makeBareCpu } from '../support/bare_cpu.ts';
import {
  applyOutcome,
  CODE_ADDRESS,
  changesBetween,
  inputState,
  type MachineState,
  readVectors,
  type Vector,
  WINDOW_ADDRESS,
  WINDOW_SIZE,
} from '../support/vectors.ts';

const flagBits: Record<string, number> = { o: 0x800, s: 0x80, z: 0x40, a: 0x10, p: 4, c: 1 };
const undefinedFlags = new Map(
  rows.map((row) => [`${row.opcode}|${row.operands}`, [...row.undefinedFlags].reduce((mask, letter) => mask | flagBits[letter]!, 0)]),
);

function load(cpu: CpuCore, state: MachineState, code: Uint8Array): void {
  const { view } = cpu.state;
  cpu.gpr.set(state.gpr);
  cpu.rflags = BigInt(state.flags);
  cpu.rip = BigInt(CODE_ADDRESS);
  view.setUint32(MXCSR, state.mxcsr, true);
  view.setUint16(FTW, 0, true);
  const registers = new Uint8Array(view.buffer);
  registers.set(state.xmm, XMM);
  for (let i = 0; i < 8; i++) registers.set(state.mmx.subarray(i * 8, i * 8 + 8), ST + i * 16);
  cpu.memory.bytes.set(code, CODE_ADDRESS);
  cpu.memory.bytes.set(state.window, WINDOW_ADDRESS);
  cpu.memory.written(CODE_ADDRESS, code.length);
}

function save(cpu: CpuCore): MachineState {
  const { view } = cpu.state;
  const registers = new Uint8Array(view.buffer);
  return {
    gpr: [...cpu.gpr],
    flags: (Number(cpu.rflags) & (ARITHMETIC | 0x400)) | 0x202,
    xmm: registers.slice(XMM, XMM + 256),
    mmx: Uint8Array.from({ length: 64 }, (_, i) => registers[ST + (i >> 3) * 16 + (i & 7)]!),
    mxcsr: view.getUint32(MXCSR, true),
    window: cpu.memory.bytes.slice(WINDOW_ADDRESS, WINDOW_ADDRESS + WINDOW_SIZE),
  };
}

/** What went differently from the real CPU, or ''. */
function replay(cpu: CpuCore, vector: Vector): string {
  const before = inputState(vector.seed, vector.overrides);
  load(cpu, before, vector.code);
  const end = BigInt(CODE_ADDRESS + vector.code.length);
  let exit = cpu.run(1);
  for (let steps = 0; exit.kind === 'budget' && cpu.rip !== end && steps < 16; steps++) exit = cpu.run(1);
  const ours = exit.kind === 'exception' ? `#${exit.vector}` : exit.kind;
  if (vector.outcome.startsWith('#')) return ours === vector.outcome ? '' : `${ours} instead of ${vector.outcome}`;
  if (ours !== 'budget') return `${ours} instead of ${vector.outcome}`;
  if (cpu.rip !== end) return `RIP ${cpu.rip.toString(16)} instead of ${end.toString(16)}`;
  const wanted = applyOutcome(before, vector.outcome);
  const got = save(cpu);
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
