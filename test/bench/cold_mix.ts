/**
 * Cold mixes: programs of some thousand distinct instructions, in the proportions of compiled code, whose branches go
 * either way by pseudo-random data. They show what an interpreter costs where nothing can be predicted: neither the
 * guest's branches nor which handler comes next. A program is made from a seed and runs round and round.
 */
import type { CpuCore, EngineKind } from '../../emulator/cpu/index.ts';
import { makeBareCpu } from '../support/bare_cpu.ts';
import { makeRandom } from '../support/vectors.ts';

const CODE = 0x10000;
const DATA = 0x200000;
const RSP = 4,
  RBP = 5,
  /** The generator of pseudo-random numbers: state, factor, summand. */
  STATE = 12,
  FACTOR = 13,
  SUMMAND = 14,
  ROUNDS = 15;
const scratch = [0, 1, 2, 3, 6, 7, 8, 9, 10, 11];

const word = (value: number): number[] => [value & 0xff, (value >> 8) & 0xff, (value >> 16) & 0xff, value >> 24];

/** Code that grows by instructions of a mix. */
interface MixWriter {
  readonly code: number[];
  /** Instructions so far. */
  readonly made: number;
  below(n: number): number;
  put(...bytes: number[]): void;
  /** One instruction, or a few that belong together. */
  plain(): void;
  /** A comparison and a branch over some. */
  branch(): void;
  /** CALL to an offset in the code. */
  call(target: number): void;
  /** The conditional branch `0F condition` to an offset in the code. */
  jumpIf(condition: number, target: number): void;
}

function mixWriter(seed: number): MixWriter {
  const random = makeRandom(seed);
  const below = (n: number): number => random() % n;
  const any = (): number => scratch[below(scratch.length)]!;
  const code: number[] = [];
  let made = 0;
  const put = (...bytes: number[]): void => {
    code.push(...bytes);
    made++;
  };
  const rex = (w: number, reg: number, rm: number): number => 0x40 | (w << 3) | ((reg >> 3) << 2) | (rm >> 3);
  const modrm = (mod: number, reg: number, rm: number): number => (mod << 6) | ((reg & 7) << 3) | (rm & 7);
  /** op r, r with a 1- or 2-byte opcode. */
  const two = (w: number, opcode: number[], reg: number, rm: number): void => put(rex(w, reg, rm), ...opcode, modrm(3, reg, rm));
  /** op r, [RBP + displacement], 4 KiB of data within reach. */
  const memory = (w: number, opcode: number[], reg: number, tail: number[] = []): void => {
    if (below(3) > 0) put(rex(w, reg, RBP), ...opcode, modrm(1, reg, RBP), below(16) * 8, ...tail);
    else put(rex(w, reg, RBP), ...opcode, modrm(2, reg, RBP), ...word(below(512) * 8), ...tail);
  };
  const wide = (): number => below(2);
  /** Jcc rel8 over what `skipped` makes. */
  const skip = (condition: number, skipped: () => void): void => {
    put(0x70 | condition, 0);
    const from = code.length;
    skipped();
    const distance = code.length - from;
    if (distance > 127) throw new RangeError('bug: a branch of a cold mix is too long');
    code[from - 1] = distance;
  };

  const arithmetic = [0x01, 0x29, 0x31, 0x21, 0x09];
  function plain(): void {
    const kind = below(100);
    if (kind < 14) two(wide(), [0x89], any(), any());
    else if (kind < 34) memory(wide(), [0x8b], any());
    else if (kind < 44) memory(wide(), [0x89], any());
    else if (kind < 58) two(wide(), [arithmetic[below(5)]!], any(), any());
    else if (kind < 68) put(rex(wide(), 0, 0), 0x83, modrm(3, [0, 0, 5][below(3)]!, [0, 1, 2, 3, 6, 7][below(6)]!), below(128));
    else if (kind < 74) memory(1, [0x8d], any());
    else if (kind < 79) put(rex(wide(), 0, 0), 0xc1, modrm(3, [4, 5, 7][below(3)]!, [0, 1, 2, 3, 6, 7][below(6)]!), 1 + below(20));
    else if (kind < 83) memory(0, [0x0f, 0xb6], any());
    else if (kind < 87) memory(wide(), [[0x03, 0x03, 0x2b][below(3)]!], any());
    else if (kind < 89) memory(wide(), [0x01], any());
    else if (kind < 91) two(1, [0x0f, 0xaf], any(), any());
    else if (kind < 94) {
      const index = any();
      two(0, [0x0f, 0xb6], index, [0, 1, 2, 3][below(4)]!);
      const to = any();
      put(0x48 | ((to >> 3) << 2) | ((index >> 3) << 1), 0x8b, modrm(1, to, 4), 0xc0 | ((index & 7) << 3) | RBP, below(16) * 8);
    } else if (kind < 96) {
      put(0x50 | [0, 1, 2, 3, 6, 7][below(6)]!);
      two(wide(), [0x89], any(), any());
      put(0x58 | [0, 1, 2, 3, 6, 7][below(6)]!);
    } else {
      // What the branches live on: the next pseudo-random number, mixed into a register.
      two(1, [0x0f, 0xaf], STATE, FACTOR);
      two(1, [0x01], SUMMAND, STATE);
      const to = any();
      two(1, [0x89], STATE, to);
      put(rex(1, 0, to), 0xc1, modrm(3, 5, to), 20 + below(20));
    }
  }

  /** CMP or TEST and a branch over some instructions. */
  function branch(): void {
    const kind = below(8);
    let condition = [2, 3, 6, 7, 12, 13, 14, 15, 8, 9][below(10)]!;
    if (kind < 4) two(wide(), [0x39], any(), any());
    else if (kind < 5) memory(wide(), [0x3b], any());
    else if (kind < 6) two(wide(), [0x85], any(), any());
    else {
      condition = 4 + below(2);
      if (kind < 7) put(0xf6, modrm(3, 0, below(4)), 1 << below(8));
      else memory(0, [0xf6], 0, [1 << below(8)]);
    }
    const skipped = 1 + below(6);
    skip(condition, () => {
      for (let i = 0; i < skipped; i++) plain();
    });
  }

  const to = (target: number, opcode: number[]): void => put(...opcode, ...word(target - (code.length + opcode.length + 4)));
  return {
    code,
    get made() {
      return made;
    },
    below,
    put,
    plain,
    branch,
    call: (target) => to(target, [0xe8]),
    jumpIf: (condition, target) => to(target, [0x0f, condition]),
  };
}

/** The code of a program of about `count` instructions, which ends with HLT after R15 rounds. */
function makeMix(count: number, seed: number): Uint8Array {
  const mix = mixWriter(seed);
  const { code } = mix;
  const functions: number[] = [];
  // Functions first, behind a jump to the main part.
  mix.put(0xe9, 0, 0, 0, 0);
  while (mix.made < count / 4) {
    functions.push(code.length);
    for (let i = 0; i < 3; i++) {
      mix.plain();
      mix.branch();
    }
    mix.put(0xc3);
  }
  const main = code.length;
  code.splice(1, 4, ...word(main - 5));
  while (mix.made < count) {
    mix.plain();
    mix.plain();
    mix.branch();
    if (mix.below(6) === 0) mix.call(functions[mix.below(functions.length)]!);
  }
  mix.put(0x49, 0xff, 0xcf); // dec r15
  mix.jumpIf(0x85, main);
  mix.put(0xf4);
  return Uint8Array.from(code);
}

/** Functions of a page each, and what calls them. */
export interface FunctionPages {
  readonly cpu: CpuCore;
  /** By page, where to start: calls each of its functions, round and round. */
  readonly starts: readonly bigint[];
}

const CALLERS = 0x400000,
  FUNCTIONS = 0x500000,
  PAGE_SIZE = 4096;

/** Pages full of functions of some 30 to 150 instructions, most of them with a loop that runs a few times. */
export function makeFunctionPages(pages: number, engine: EngineKind, seed = 1): FunctionPages {
  const cpu = makeCpu(seed, engine);
  const starts = Array.from({ length: pages }, (_, page): bigint => {
    const functions: number[] = [];
    const mix = mixWriter(seed * pages + page);
    const { code, below } = mix;
    for (let from = 0; from < PAGE_SIZE; from = code.length) {
      const plain = (count: number): void => {
        for (let i = 0; i < count; i++) mix.plain();
      };
      mix.put(0x53); // push rbx
      plain(2 + below(6));
      mix.branch();
      const loops = below(3);
      for (let loop = 0; loop < loops; loop++) {
        mix.put(0x41, 0xbf, 2 + below(4), 0, 0, 0); // mov r15d, count
        const head = code.length;
        for (let i = below(4); i >= 0; i--) {
          plain(1 + below(4));
          mix.branch();
        }
        mix.put(0x49, 0xff, 0xcf); // dec r15
        mix.jumpIf(0x85, head);
      }
      plain(2 + below(6));
      mix.put(0x5b); // pop rbx
      mix.put(0xc3);
      if (code.length > PAGE_SIZE) code.length = from;
      else functions.push(from);
      if (code.length === from) break;
    }
    const place = FUNCTIONS + page * PAGE_SIZE;
    cpu.memory.bytes.set(code, place);
    const start = CALLERS + page * 256;
    const caller = functions.flatMap((offset, i) => [0xe8, ...word(place + offset - (start + 5 * (i + 1)))]);
    cpu.memory.bytes.set([...caller, 0xe9, ...word(-caller.length - 5)], start);
    return BigInt(start);
  });
  return { cpu, starts };
}

/** Registers and data as mixes want them. */
function makeCpu(seed: number, engine: EngineKind): CpuCore {
  const cpu = makeBareCpu({ cpl: 0, engine });
  const random = makeRandom(seed);
  for (let i = 0; i < 0x2000; i += 4) cpu.memory.view.setUint32(DATA + i, random(), true);
  for (const register of scratch) cpu.gpr[register] = BigInt(random()) * 0x1_0000_0001n;
  cpu.gpr[RSP] = BigInt(DATA - 0x1000);
  cpu.gpr[RBP] = BigInt(DATA);
  cpu.gpr[STATE] = BigInt(seed);
  cpu.gpr[FACTOR] = 6364136223846793005n;
  cpu.gpr[SUMMAND] = 1442695040888963407n;
  return cpu;
}

/** A CPU at the start of a mix. */
export function makeColdMix(count: number, seed = 1): CpuCore {
  const cpu = makeCpu(seed, 'interpret');
  cpu.memory.bytes.set(makeMix(count, seed), CODE);
  cpu.rip = BigInt(CODE);
  cpu.gpr[ROUNDS] = 1n << 40n;
  return cpu;
}

/** Runs a mix for that many instructions in the interpreter and gives its MIPS; a tenth more at the start is not counted. */
export function runColdMix(count: number, instructions = 30e6): number {
  const cpu = makeColdMix(count);
  cpu.run(instructions / 10);
  const start = performance.now();
  const exit = cpu.run(instructions);
  if (exit.kind !== 'budget') throw new Error(`the cold mix ended with ${JSON.stringify(exit)} at ${cpu.rip.toString(16)}`);
  return instructions / (performance.now() - start) / 1e3;
}
