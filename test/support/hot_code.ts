/** Code that is translated before the run that matters: for what single instructions do in the second tier. */
import type { CpuCore } from '../../emulator/cpu/index.ts';
import { loadCode } from './bare_cpu.ts';
import { CODE_ADDRESS } from './vectors.ts';

/** For CPUs of `replayHot`: every instruction is a sample of what is hot, and runs alone. */
export const EAGER = { engine: 'translate', hotness: 1 } as const;
/** For CPUs of `loadTranslated`: so many instructions run at once, as blocks need. */
export const EAGER_BLOCKS = { engine: 'translate', hotness: 16 } as const;

/** `JMP [TARGET]`, on a page of its own. */
const JUMP = CODE_ADDRESS + 0x4000;
const TARGET = JUMP + 0x800;
/** More samples than a page of short blocks needs. */
const VISITS = 40;
const NOP = 0x90;
/** CLAC: only the interpreter runs it, so that a block ends before it. */
const END = [0x0f, 0x01, 0xca];

function writeJump({ memory }: CpuCore): void {
  memory.bytes.set([0xff, 0x24, 0x25, ...new Uint8Array(Uint32Array.of(TARGET).buffer)], JUMP);
  memory.written(JUMP, 7);
}

/** Jumps there and runs one instruction. */
function visit(cpu: CpuCore, at: number): void {
  cpu.memory.view.setBigUint64(TARGET, BigInt(at), true);
  cpu.rip = BigInt(JUMP);
  cpu.run(2);
}

/** Has the code at these addresses, one page of it, run often enough to be translated. */
function heat(cpu: CpuCore, at: readonly number[], visits: number, prepare: (i: number) => void): void {
  // As interpreted code all of it is met before any is hot.
  cpu.engine = 'interpret';
  at.forEach((address, i) => {
    prepare(i);
    visit(cpu, address);
  });
  cpu.engine = 'translate';
  for (let i = 0; i < visits; i++) {
    prepare(i % at.length);
    cpu.rip = BigInt(at[i % at.length]!);
    cpu.run(1);
  }
}

/**
 * As loadCode, but a CPU made with EAGER_BLOCKS is at a NOP before the code, and both are translated; returns how many
 * instructions come before the code, 1 or 0. Two bytes behind the code change, too.
 */
export function loadTranslated(cpu: CpuCore, code: Uint8Array | readonly number[], at = CODE_ADDRESS): 0 | 1 {
  if (cpu.engine === 'interpret') {
    loadCode(cpu, code, at);
    return 0;
  }
  writeJump(cpu);
  loadCode(cpu, [NOP, ...code, ...END], at - 1);
  heat(cpu, [at - 1], 4 * EAGER_BLOCKS.hotness, () => {});
  cpu.rip = BigInt(at - 1);
  return 1;
}

/** Whether `work` ran translated code. */
export function ranTranslated(cpu: CpuCore, work: () => void): boolean {
  const before = cpu.statistics().translatedInstructions;
  work();
  return cpu.statistics().translatedInstructions > before;
}

/** How a test runs one of its vectors at an address. */
interface Replay<V> {
  /** The state before it. */
  load(vector: V): void;
  /** Loads and runs it; what is wrong, or ''. */
  run(vector: V, at: number): string;
}

const SLOT = 40;
/** Vectors that fit the page of CODE_ADDRESS. */
const MAX_VECTORS = 100;

/** Puts each vector's code at an address of its own, a block each, and has them translated; returns the addresses. */
function placeHot<V extends { code: Uint8Array }>(cpu: CpuCore, vectors: readonly V[], load: (vector: V) => void): number[] {
  const { memory } = cpu;
  const at = vectors.map((_, i) => CODE_ADDRESS + i * SLOT);
  memory.bytes.fill(0xcc, CODE_ADDRESS, CODE_ADDRESS + 4096);
  vectors.forEach(({ code }, i) => {
    memory.bytes.set([...code, ...END], at[i]!);
  });
  memory.written(CODE_ADDRESS, 4096);
  writeJump(cpu);
  heat(cpu, at, VISITS, (i) => load(vectors[i]!));
  return at;
}

/**
 * Runs vectors as translated code, many in a region. What pushes or reads its own address goes wrong there and is run again
 * alone where it was recorded, translated too. `translated` counts those that ended as translated code in the first try.
 */
export function replayHot<V extends { code: Uint8Array }>(
  cpu: CpuCore,
  vectors: readonly V[],
  { load, run }: Replay<V>,
): { differences: string[]; translated: number } {
  const differences: string[] = [];
  let translated = 0;
  for (let first = 0; first < vectors.length; first += MAX_VECTORS) {
    const batch = vectors.slice(first, first + MAX_VECTORS);
    const at = placeHot(cpu, batch, load);
    batch.forEach((vector, i) => {
      const wasTranslated = ranTranslated(cpu, () => differences.push(run(vector, at[i]!)));
      if (wasTranslated) translated++;
    });
    batch.forEach((vector, i) => {
      if (differences[first + i] === '') return;
      placeHot(cpu, [vector], load);
      const wasTranslated = ranTranslated(cpu, () => {
        differences[first + i] = run(vector, CODE_ADDRESS);
      });
      if (!wasTranslated) differences[first + i] ||= 'only interpreted';
    });
  }
  return { differences, translated };
}
