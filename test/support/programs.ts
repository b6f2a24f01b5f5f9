/**
 * Random user-mode programs that cannot fault or run wild: straight lines, forward branches, calls and small loops over
 * every row that record.ts can record. RSP, RBP (into the window) and R15 (loop count) are reserved; before anything reads
 * flags that the manual leaves undefined, a CMP defines them. A recorded program is its code, the seed of its input, and
 * what the real CPU ended with: instructions, flags, and hashes of the rest.
 */
import { gunzipSync } from 'node:zlib';
import { R14, RAX, RBP, RBX, RCX, RDI, RSI } from '../../emulator/cpu/interface.ts';
import type { Row } from '../../emulator/cpu/row.ts';
import { CODE_ADDRESS, inputState, type MachineState, makeRandom, WINDOW_ADDRESS } from './vectors.ts';

export const MAX_PROGRAM = 250;
/** Memory operands lie around RBP, the stack below them. */
const BASE = WINDOW_ADDRESS + 192;
const WRITABLE = [0, 1, 2, 3, 6, 7, 8, 9, 10, 11, 12, 13, 14];
const MAX_DEPTH = 40;

export interface Program {
  code: Uint8Array;
  seed: number;
  /** Instructions, an iteration of a repeated one counting as one. */
  count: number;
  flags: number;
  /** Of general registers, vector registers with MXCSR, and memory. */
  hashes: readonly number[];
}

export function programInput(seed: number): MachineState {
  return inputState(seed, `r${RBP}=${BASE.toString(16)}`);
}

function hashOf(bytes: Iterable<number>): number {
  let value = 0x811c9dc5;
  for (const byte of bytes) value = Math.imul(value ^ byte, 0x01000193);
  return value >>> 0;
}

export function hashesOf(state: MachineState): number[] {
  const gpr = new Uint8Array(BigUint64Array.from(state.gpr).buffer);
  return [hashOf(gpr), hashOf([...state.xmm, ...state.mmx, state.mxcsr & 0xff, state.mxcsr >> 8]), hashOf(state.window)];
}

export const formatProgram = ({ code, seed, count, flags, hashes }: Program): string =>
  [Buffer.from(code).toString('base64'), ...[seed, count, flags, ...hashes].map((n) => n.toString(36))].join(' ');

export function readPrograms(gzipped: Uint8Array): Program[] {
  return gunzipSync(gzipped)
    .toString('latin1')
    .split('\n')
    .filter(Boolean)
    .map((line) => {
      const [code, ...numbers] = line.split(' ');
      const [seed, count, flags, ...hashes] = numbers.map((n) => Number.parseInt(n, 36)) as [number, number, number, ...number[]];
      return { code: Uint8Array.from(Buffer.from(code!, 'base64')), seed, count, flags, hashes };
    });
}

const ALL_FLAGS = 'oszapc';
const writesAll = new Set('add sub cmp neg xadd cmpxchg'.split(' '));
const writesLogic = new Set('and or xor test'.split(' '));
/** Flags that each condition pair reads. */
const CONDITION_FLAGS = ['o', 'c', 'z', 'cz', 's', 'p', 'so', 'zso'];

function flagsRead(row: Row, condition: number): string {
  const { mnemonic } = row;
  if (row.opcode.includes('+cc')) return CONDITION_FLAGS[condition >> 1]!;
  if (/^(adc|sbb|rcl|rcr|cmc)$/.test(mnemonic)) return 'c';
  return mnemonic === 'lahf' ? ALL_FLAGS : '';
}

/** Makes one program from rows that are fit for it. */
export function makeProgram(rows: readonly Row[], seed: number): Uint8Array {
  const random = makeRandom(seed ^ 0x9106ea);
  const below = (n: number): number => random() % n;
  const pick = <T>(list: readonly T[]): T => list[below(list.length)]!;
  const code: number[] = [];
  /** Bytes on the stack, and how many of them a POP must leave. */
  let depth = 0;
  let floor = 0;
  let undefinedFlags = '';

  const define = (): void => {
    if (undefinedFlags !== '') code.push(0x39, 0xc0 | (pick([0, 1, 2, 3, 6, 7]) << 3) | pick([0, 1, 2, 3, 6, 7]));
    undefinedFlags = '';
  };
  /** LEA register, [RBP + disp8]. */
  const point = (register: number, disp: number): void => void code.push(0x48, 0x8d, 0x45 | (register << 3), disp & 0xff);
  /** AND r32, imm8. */
  const bound = (register: number, mask: number): void => {
    if (register >= 8) code.push(0x41);
    code.push(0x83, 0xe0 | (register & 7), mask);
    undefinedFlags = 'a';
  };
  const loadImmediate = (register: number, value: number): void => {
    if (register >= 8) code.push(0x41);
    code.push(0xb8 | (register & 7), value, 0, 0, 0);
  };

  function prepare(row: Row): void {
    const { mnemonic } = row;
    if (row.attributes.has('rep')) {
      point(RSI, below(32) - 16);
      point(RDI, below(32) - 16);
      loadImmediate(RCX, below(5));
    } else if (mnemonic.startsWith('maskmov')) point(RDI, below(32) - 16);
    else if (mnemonic === 'xlat') {
      point(RBX, -32);
      bound(RAX, 31);
    } else if (mnemonic === 'idiv') code.push(0x48, 0x99);
    else if (mnemonic === 'div') {
      code.push(0x31, 0xd2); // XOR EDX, EDX
      if (row.operands[0] === 'Eb') code.push(0x0f, 0xb6, 0xc0); // MOVZX EAX, AL
      undefinedFlags = 'a';
    }
  }

  /** Appends an encoding of the row; what stands before it is already there. */
  function instruction(row: Row): void {
    const words = row.opcode.split(' ');
    const mandatory = ['NP', '66', 'F2', 'F3'].includes(words[0]!) ? words.shift()! : '';
    const { mnemonic, operands, attributes } = row;
    const condition = below(16);
    if ([...flagsRead(row, condition)].some((flag) => undefinedFlags.includes(flag))) define();
    const opcode = words.filter((word) => /^[0-9A-F]{2}$/.test(word)).map((word) => Number.parseInt(word, 16));
    if (words.includes('+cc')) opcode[opcode.length - 1]! += condition;

    const slash = words.find((word) => word.startsWith('/'));
    const hasWord = mandatory === '' && mnemonic !== 'bswap' && below(5) === 0;
    const letters = operands.map((operand) => operand[0]!);
    const isVector = attributes.has('sse') || attributes.has('mmx');
    const isMemory =
      slash !== undefined &&
      !letters.some((l) => 'RUN'.includes(l)) &&
      (letters.includes('M') || (mnemonic !== 'div' && mnemonic !== 'idiv' && below(2) === 0));
    const isBitString = /^bt/.test(mnemonic) && slash === '/r' && isMemory;
    let rex = below(3) === 0 ? 0x48 : below(4) === 0 ? 0x40 : 0;
    const register = (letter: string): number =>
      letter === 'V' || letter === 'W' || letter === 'U' ? below(16) : 'PQN'.includes(letter) ? below(8) : pick(WRITABLE);
    const regLetter = letters.find((l) => 'GVP'.includes(l)) ?? '';
    const reg = slash === '/r' ? register(regLetter) : Number(slash?.[1] ?? 0);
    const rm = register(letters.find((l) => 'ERWUQNZ'.includes(l)) ?? '');
    const useIndex = isMemory && !isVector && !isBitString && mnemonic !== 'cmpxchg8b' && below(4) === 0;
    if (slash === '/r' && reg >= 8) rex |= 0x44;
    if ((slash && !isMemory && rm >= 8) || (words.includes('+r') && rm >= 8)) rex |= 0x41;
    if (useIndex) rex |= 0x42;
    if (words.includes('!B')) rex &= ~1;
    const wide = (rex & 8) !== 0;

    if (isBitString) bound(reg, 0x7f);
    if (useIndex) bound(R14, 3);
    if (mnemonic === 'div' || mnemonic === 'idiv') {
      // OR r8, 1: no division by zero. Without REX the byte registers 4-7 are AH to BH.
      if (rex || rm >= 8 || operands[0] === 'Ev') code.push(0x40 | (rm >> 3));
      code.push(0x80, 0xc8 | (rm & 7), 1);
      undefinedFlags = 'a';
    }
    const size = attributes.has('d64') ? (hasWord && !wide ? 2 : 8) : wide ? 8 : hasWord ? 2 : 4;
    if (mnemonic === 'push') depth += size;
    if (mnemonic === 'pop') depth -= size;

    if (isMemory && attributes.has('lock') && below(4) === 0) code.push(0xf0);
    if (isMemory && below(10) === 0) code.push(pick([0x2e, 0x3e, 0x26, 0x65]));
    if (attributes.has('rep') && below(3)) code.push(pick([0xf2, 0xf3]));
    const hasAddress = (isMemory || attributes.has('rep')) && below(8) === 0;
    if (hasAddress) code.push(0x67);
    if (hasWord) code.push(0x66);
    if (['66', 'F2', 'F3'].includes(mandatory)) code.push(Number.parseInt(mandatory, 16));
    if (rex) code.push(rex);
    if (words.includes('+r')) opcode[opcode.length - 1]! += rm & 7;
    code.push(...opcode);

    const immediateSize = (operand: string): number => ({ Ib: 1, Ibs: 1, Iw: 2, Iv: size, Iz: size === 2 ? 2 : 4 })[operand] ?? 0;
    const immediates = operands.reduce((sum, operand) => sum + immediateSize(operand), 0);
    if (slash) {
      const field = (reg & 7) << 3;
      const disp = (below(6) - 3) * 16;
      if (!isMemory) code.push(0xc0 | field | (rm & 7));
      else if (useIndex) code.push(0x44 | field, (below(4) << 6) | ((R14 & 7) << 3) | RBP, below(16) & 0xff);
      else if (below(4) === 0) {
        // RIP-relative, or absolute by SIB.
        const isAbsolute = below(2) === 0;
        code.push(field | (isAbsolute ? 4 : 5), ...(isAbsolute ? [0x25] : []));
        const target = BASE + disp - (isAbsolute ? 0 : CODE_ADDRESS + code.length + 4 + immediates);
        code.push(target & 0xff, (target >> 8) & 0xff, (target >> 16) & 0xff, (target >> 24) & 0xff);
      } else code.push(0x45 | field, disp & 0xff);
      // REX.B with [RBP + disp8] would be R13.
      if (isMemory && rex & 1) throw new Error('bug: REX.B on a memory operand');
    }
    for (const operand of operands)
      for (let i = immediateSize(operand); i > 0; i--) code.push(below(4) ? below(256) : pick([0, 0xff, 1, 0x80]));

    if (writesAll.has(mnemonic)) undefinedFlags = '';
    else if (writesLogic.has(mnemonic)) undefinedFlags = 'a';
    else undefinedFlags = [...new Set(undefinedFlags + row.undefinedFlags)].join('');
  }

  function simple(): void {
    for (;;) {
      const row = pick(rows);
      if (row.mnemonic === 'push' && depth > MAX_DEPTH - 8) continue;
      if (row.mnemonic === 'pop' && depth < floor + 8) continue;
      prepare(row);
      instruction(row);
      return;
    }
  }

  const straight = (count: number): void => {
    for (let i = 0; i < count && code.length < MAX_PROGRAM - 60; i++) simple();
  };
  /** Runs `body` and puts the number of its bytes into the byte before it. */
  const skipped = (body: () => void): void => {
    const at = code.length;
    body();
    define();
    if (code.length - at > 127) throw new Error('bug: the branch is too long');
    code[at - 1] = code.length - at;
  };
  const balanced = (body: () => void): void => {
    const before = depth;
    body();
    while (depth > before) {
      code.push(0x48, 0x8d, 0x64, 0x24, depth - before); // LEA RSP, [RSP + n]
      depth = before;
    }
    if (depth < before) {
      code.push(0x48, 0x8d, 0x64, 0x24, (depth - before) & 0xff);
      depth = before;
    }
  };

  while (code.length < MAX_PROGRAM - 130 && below(8) !== 0) {
    const kind = below(8);
    if (kind < 3) straight(1 + below(6));
    else if (kind < 5) {
      define();
      code.push(pick([0x70 | below(16), 0x70 | below(16), 0xe3, 0xe0 + below(3)]), 0);
      skipped(() => balanced(() => straight(1 + below(3))));
    } else if (kind < 7) {
      define();
      code.push(0x41, 0xbf, 1 + below(4), 0, 0, 0); // MOV R15D
      const head = code.length;
      balanced(() => straight(1 + below(4)));
      define();
      code.push(0x41, 0xff, 0xcf, 0x75, (head - code.length - 5) & 0xff); // DEC R15D; JNZ
    } else {
      define();
      code.push(0xe8, 2, 0, 0, 0, 0xeb, 0); // CALL over the JMP that returns skip to
      skipped(() => {
        depth += 8;
        floor = depth;
        balanced(() => straight(1 + below(3)));
        define();
        depth -= 8;
        floor = 0;
        code.push(0xc3);
      });
    }
  }
  straight(3);
  define();
  code.push(0xfc); // CLD
  return Uint8Array.from(code);
}
