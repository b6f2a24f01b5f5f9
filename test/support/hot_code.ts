/** Pieces of code of which each is a block of one translated region: for what single instructions do in the second tier. */
import type { CpuCore } from '../../emulator/cpu/index.ts';
import { CODE_ADDRESS } from './vectors.ts';

const SLOT = 40;
/** Pieces that fit the page of CODE_ADDRESS. */
const MAX_PIECES = 100;
const HOTNESS = 120;
/** `JMP [TARGET]`, on a page of its own. */
const JUMP = CODE_ADDRESS + 0x4000;
const TARGET = JUMP + 0x800;
/** SYSCALL: only the interpreter runs it, so that a block ends before it. */
const END = [0x0f, 0x05];

/**
 * Puts each piece at an address of its own with SYSCALL behind, and runs all of them until they are translated; returns the
 * addresses. `prepare(i)` loads the registers and memory for piece i.
 */
function makeHot(cpu: CpuCore, pieces: readonly Uint8Array[], prepare: (i: number) => void): number[] {
  const { memory } = cpu;
  cpu.engine = 'interpret';
  cpu.engine = 'translate';
  memory.bytes.fill(0xcc, CODE_ADDRESS, CODE_ADDRESS + 4096);
  const at = pieces.map((_, i) => CODE_ADDRESS + i * SLOT);
  pieces.forEach((piece, i) => {
    memory.bytes.set([...piece, ...END], at[i]!);
  });
  memory.bytes.set([0xff, 0x24, 0x25, ...new Uint8Array(Uint32Array.of(TARGET).buffer)], JUMP);
  memory.written(CODE_ADDRESS, 4096);
  memory.written(JUMP, 7);
  // A page is translated at its second sample: what branches have reached until then.
  for (let pass = 0; 2 * pass * pieces.length < 3 * HOTNESS + 2 * MAX_PIECES; pass++) {
    at.forEach((address, i) => {
      prepare(i);
      memory.view.setBigUint64(TARGET, BigInt(address), true);
      cpu.rip = BigInt(JUMP);
      cpu.run(2);
    });
  }
  return at;
}

/** For CPUs that replayHot uses: the second sample comes in the second pass over a full page. */
export const HOT_OPTIONS = { engine: 'translate', hotness: HOTNESS } as const;

/** Whether `work` ran translated code. */
function ranTranslated(cpu: CpuCore, work: () => void): boolean {
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
  for (let first = 0; first < vectors.length; first += MAX_PIECES) {
    const batch = vectors.slice(first, first + MAX_PIECES);
    const codes = batch.map(({ code }) => code);
    const at = makeHot(cpu, codes, (i) => load(batch[i]!));
    batch.forEach((vector, i) => {
      const wasTranslated = ranTranslated(cpu, () => differences.push(run(vector, at[i]!)));
      if (wasTranslated) translated++;
    });
    batch.forEach((vector, i) => {
      if (differences[first + i] === '') return;
      makeHot(cpu, [vector.code], () => load(vector));
      const wasTranslated = ranTranslated(cpu, () => {
        differences[first + i] = run(vector, CODE_ADDRESS);
      });
      if (!wasTranslated) differences[first + i] ||= 'only interpreted';
    });
  }
  return { differences, translated };
}
