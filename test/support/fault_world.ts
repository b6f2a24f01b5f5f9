/** A CPU with two pages to access, for claims about faults: vector, error code, CR2 and RIP exact, and nothing changed. */
import t, { type Test } from 'tap';
import type { Exit } from '../../emulator/cpu/exit.ts';
import type { CpuCore } from '../../emulator/cpu/index.ts';
import { RSP } from '../../emulator/cpu/interface.ts';
import { freshBareCpu } from './bare_cpu.ts';
import { EAGER_BLOCKS, loadTranslated, ranTranslated } from './hot_code.ts';
import { PageTables } from './tables.ts';

export const CODE = 0x10010;
/** Two neighbouring pages and what backs them. */
export const PAGE = 0x7123_4567_8000n,
  NEXT = PAGE + 4096n;
export const FRAME = 0x20_0000,
  NEXT_FRAME = 0x20_1000;
export const GP = 13,
  SS = 12,
  PF = 14,
  AC = 17,
  UD = 6,
  NP = 11;

export interface World {
  cpu: CpuCore;
  tables: PageTables;
}

/** Bits of a page fault's error code. */
export const ePresent = 1,
  eWrite = 2,
  eUser = 4,
  eReserved = 8,
  eFetch = 16;

/** The engine of the worlds that are made. */
let engine: Parameters<typeof freshBareCpu>[1] = {};
/** Runs of code by `execute`, and those of them that ran translated code. */
export const executed = { runs: 0, translated: 0 };

/** The claim for the interpreter, and for code that has been translated before it runs. */
export function testBoth(name: string, body: (t: Test) => void): void {
  t.test(name, body);
  t.test(`${name}, translated`, (t) => {
    engine = EAGER_BLOCKS;
    try {
      body(t);
    } finally {
      engine = {};
    }
  });
}

/** Loads code and runs it for so many instructions. */
export function execute(cpu: CpuCore, code: readonly number[], budget: number): Exit {
  const before = loadTranslated(cpu, code, CODE);
  let exit: Exit | undefined;
  if (cpu.engine === 'translate') executed.runs++;
  const wasTranslated = ranTranslated(cpu, () => {
    exit = cpu.run(before + budget);
  });
  if (wasTranslated) executed.translated++;
  return exit!;
}

export function makeWorld(cpl: 0 | 3): World {
  const cpu = freshBareCpu(cpl, engine);
  const tables = new PageTables(cpu);
  tables.map(PAGE, FRAME);
  tables.map(NEXT, NEXT_FRAME);
  for (let i = 0; i < 8192; i++) cpu.memory.bytes[FRAME + i] = (i * 7) & 0xff;
  for (let i = 0; i < 16; i++) cpu.gpr[i] = i === RSP ? cpu.gpr[RSP]! : 0x0101_0101_0101_0100n + BigInt(i);
  return { cpu, tables };
}

export const show = (exit: Exit): object =>
  exit.kind === 'exception' ? { vector: exit.vector, code: exit.errorCode, cr2: exit.cr2?.toString(16) } : exit;

/** Runs `code`, whose last instruction faults at `rip`; nothing else may have changed. */
export function expectFault(
  t: Test,
  name: string,
  { cpu }: World,
  code: number[],
  expected: { vector: number; code?: number | undefined; cr2?: bigint; rip?: bigint },
): void {
  const registers = [...cpu.gpr];
  const { rflags, cr2 } = cpu;
  const memory = cpu.memory.bytes.slice(FRAME, FRAME + 8192);
  const exit = execute(cpu, code, 10);
  t.same(show(exit), { vector: expected.vector, code: expected.code, cr2: expected.cr2?.toString(16) }, name);
  const changed = [...cpu.gpr].findIndex((value, i) => value !== registers[i]);
  const isUntouched =
    changed < 0 && cpu.rflags === rflags && cpu.cr2 === cr2 && Buffer.compare(memory, cpu.memory.bytes.subarray(FRAME, FRAME + 8192)) === 0;
  if (!isUntouched) t.fail(`${name}: changed ${changed < 0 ? 'flags, CR2 or memory' : `register ${changed}`}`);
  t.equal(cpu.rip, expected.rip ?? BigInt(CODE), `${name}: RIP`);
}
