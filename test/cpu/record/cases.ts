/** Makes random encodings of a row with inputs that keep its memory operands inside the window. */
import { RBP, RBX, RCX, RDI, RSI } from '../../../emulator/cpu/interface.ts';
import type { Row } from '../../../emulator/cpu/row.ts';
import { CODE_ADDRESS, makeRandom, STACK_ADDRESS, toHex, WINDOW_ADDRESS, WINDOW_SIZE } from '../../support/vectors.ts';

export interface Case {
  code: number[];
  seed: number;
  overrides: string;
}

/** A number for a row's name that does not change when rows are added. */
function hash(text: string): number {
  let value = 0x811c9dc5;
  for (const char of text) value = Math.imul(value ^ char.charCodeAt(0), 0x01000193);
  return value >>> 0;
}

const MIDDLE = WINDOW_ADDRESS + 64;

/** Immediate bytes of an operand. */
function immediate(operand: string, size: number, random: () => number): number[] {
  const count = { Ib: 1, Ibs: 1, Ib2: 1, Iw: 2, Iv: size, Iz: size === 2 ? 2 : 4 }[operand] ?? 0;
  const bytes = Array.from({ length: count }, () => random() & 0xff);
  if (operand === 'Iw') return [random() & 0x1f, 0]; // ENTER and RET stay inside the window
  if (operand === 'Ib2') return [random() & 3];
  return bytes;
}

/** How many cases a row deserves: more where it stands for many instructions or its immediate for many operations. */
export function caseCount({ mnemonic, operands }: Row, perRow: number): number {
  const isFamily = (mnemonic === 'x87' && operands[0] === 'R') || /^pcmp[ei]str/.test(mnemonic);
  return isFamily ? 6 * perRow : perRow;
}

/** Operands for instructions on which random ones show too little: the first one's bytes, and the second's. */
function vectorOperands(row: Row, random: () => number): { a: Uint8Array; b: Uint8Array } | undefined {
  const pick = <T>(choices: readonly T[]): T => choices[random() % choices.length]!;
  if (/^pcmp[ei]str/.test(row.mnemonic)) {
    const isWord = random() % 2 === 0;
    const alphabet = [0x61, 0x61, 0x62, 0x62, 0x63, 0x7f, 0x80, 0xfe, ...(random() % 2 ? [0] : [])];
    const text = (): Uint8Array =>
      Uint8Array.from({ length: 16 }, (_, i) => (isWord && i % 2 === 1 ? pick([0, 0, 0, 0x80]) : pick(alphabet)));
    const a = text();
    const start = random() % 16;
    return { a, b: random() % 3 === 0 ? a.map((_, i) => a[(i + start) & 15]!) : text() };
  }
  if (row.mnemonic === 'ptest') {
    const a = Uint8Array.from({ length: 16 }, () => random() & pick([0, 0xff]));
    const other = Uint8Array.from({ length: 16 }, () => random() & 0xff);
    return { a, b: pick([other, a.map((byte, i) => byte & other[i]!), a.map((byte, i) => ~byte & other[i]!), new Uint8Array(16)]) };
  }
  if (row.mnemonic === 'pmulhrsw' && row.operands[0] === 'Vdq') {
    const extremes = (): Uint8Array =>
      Uint8Array.from({ length: 16 }, (_, i) => (i % 2 === 0 ? pick([0, 0, 0xff]) : pick([0x80, 0x80, 0x7f, 0x40])));
    return { a: extremes(), b: extremes() };
  }
  return undefined;
}

/** One case, or undefined when the dice made one that cannot be recorded. */
export function makeCase(row: Row, number: number): Case | undefined {
  const seed = (hash(`${row.opcode}|${row.operands}`) + number) >>> 0;
  const random = makeRandom(seed ^ 0x5eed);
  const below = (n: number): number => random() % n;
  const words = row.opcode.split(' ');
  const mandatory = ['NP', '66', 'F2', 'F3'].includes(words[0]!) ? words.shift()! : '';
  const registers = new Map<number, bigint>();
  const others: string[] = [];
  const code: number[] = [];
  const isVariable = row.operands.some((operand) => operand[1] === 'v');
  // Prefixed, a near branch would leave the recorder's memory.
  const isNearBranch = row.operands[0]?.[0] === 'J' || ['jmp', 'call', 'ret'].includes(row.mnemonic);
  const has66 = (mandatory === '' || (mandatory !== '66' && isVariable)) && !row.attributes.has('f64') && !isNearBranch && below(4) === 0;
  if (row.attributes.has('rep') && below(5) < 3) code.push(below(2) ? 0xf2 : 0xf3);
  if (has66) code.push(0x66);
  if (['66', 'F2', 'F3'].includes(mandatory)) code.push(Number.parseInt(mandatory, 16));
  const rex = below(5) < 3 ? 0x40 | below(16) : 0;
  if (rex) code.push(rex);
  const opcode = words.filter((word) => /^[0-9A-F]{2}$/.test(word)).map((word) => Number.parseInt(word, 16));
  if (words.includes('+cc')) opcode[opcode.length - 1]! += below(16);
  if (words.includes('+r')) opcode[opcode.length - 1]! += below(8);
  if (words.includes('!B') && rex & 1) return undefined;
  code.push(...opcode);
  const wide = (rex & 8) !== 0;
  const size = row.attributes.has('f64') ? 8 : row.attributes.has('d64') ? (has66 && !wide ? 2 : 8) : wide ? 8 : has66 ? 2 : 4;
  if (below(3) === 0) registers.set(RCX, BigInt(below(70)));
  if (row.attributes.has('rep')) {
    registers.set(RSI, BigInt(MIDDLE + below(32)));
    registers.set(RDI, BigInt(MIDDLE + 32 + below(32)));
    registers.set(RCX, BigInt(below(4)));
  }
  if (row.mnemonic.startsWith('maskmov')) registers.set(RDI, BigInt(MIDDLE));
  if (row.mnemonic === 'leave' || row.mnemonic === 'enter') registers.set(RBP, BigInt(MIDDLE));
  if (row.mnemonic === 'xlat') {
    registers.set(RBX, BigInt(WINDOW_ADDRESS));
    registers.set(0, BigInt(below(256)));
  }
  const branch = branchTail(row, code, random);
  const slash = words.find((word) => word.startsWith('/'));
  if (slash && !branch) {
    const reg = slash === '/r' ? below(8) : Number(slash[1]);
    const isMemoryOnly = row.operands.some((operand) => operand[0] === 'M');
    const isRegisterOnly = row.operands.some((operand) => 'RUN'.includes(operand[0]!));
    const isRegister = !isMemoryOnly && (isRegisterOnly || below(2) === 0);
    if (isRegister) code.push(0xc0 | (reg << 3) | below(8));
    else {
      const base = [RBX, RSI, RDI][below(3)]!;
      const baseNumber = base | ((rex & 1) << 3);
      registers.set(baseNumber, BigInt(MIDDLE));
      if (below(3) === 0) {
        const index = 5 | ((rex & 2) << 2);
        if (index !== baseNumber) registers.set(index, BigInt(below(8)));
        code.push(0x44 | (reg << 3), (below(3) << 6) | (5 << 3) | base, below(32));
      } else code.push(0x40 | (reg << 3) | base, below(64) & (row.attributes.has('sse') && below(8) ? ~15 : ~0));
      if (/^bt[src]?$/.test(row.mnemonic) && slash === '/r') {
        const regNumber = reg | ((rex & 4) << 1);
        if (registers.has(regNumber)) return undefined;
        registers.set(regNumber, BigInt.asUintN(64, BigInt(below(600) - 200)));
      }
    }
    const vectors = vectorOperands(row, random);
    if (vectors) {
      const second = isRegister
        ? `x${(code.at(-1)! & 7) | ((rex & 1) << 3)}=${toHex(vectors.b)}`
        : `m0=${toHex(vectors.b).repeat(WINDOW_SIZE / 16)}`;
      others.push(`x${reg | ((rex & 4) << 1)}=${toHex(vectors.a)}`, second);
    }
    if (row.mnemonic.startsWith('pcmpestr'))
      for (const register of [0, 2]) registers.set(register, BigInt.asUintN(64, BigInt(below(40) - 20)));
  }
  for (const operand of row.operands) if (operand[0] === 'I') code.push(...immediate(operand, size, random));
  if (branch) code.push(...branch.tail);
  const overrides = [...registers].map(([register, value]) => `r${register}=${value.toString(16)}`);
  overrides.push(...others);
  if (branch) overrides.push(...branch.overrides(code.length));
  return { code, seed, overrides: overrides.join(',') };
}

/** Branches jump over a MOV R15D, so that R15 tells whether they were taken; or land where the code ends. */
function branchTail(
  row: Row,
  code: number[],
  random: () => number,
): { tail: number[]; overrides: (length: number) => string[] } | undefined {
  const marker = [0x41, 0xbf, 1, 2, 3, 4];
  const none = (): string[] => [];
  if (row.operands[0] === 'Jb') {
    code.push(marker.length);
    return { tail: marker, overrides: none };
  }
  if (row.operands[0] === 'Jz') {
    code.push(marker.length, 0, 0, 0);
    return { tail: marker, overrides: none };
  }
  if (row.mnemonic === 'ret') {
    const target = (length: number): string => {
      const bytes = new Uint8Array(new BigUint64Array([BigInt(CODE_ADDRESS + length)]).buffer);
      return [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('');
    };
    return { tail: marker, overrides: (length) => [`m${STACK_ADDRESS - WINDOW_ADDRESS}=${target(length)}`] };
  }
  if ((row.mnemonic === 'jmp' || row.mnemonic === 'call') && row.operands[0] === 'Ev') {
    const rex = code.find((byte) => (byte & 0xf0) === 0x40) ?? 0;
    const register = random() % 4;
    code.push(0xc0 | (row.mnemonic === 'jmp' ? 4 << 3 : 2 << 3) | register);
    return { tail: marker, overrides: (length) => [`r${register | ((rex & 1) << 3)}=${(CODE_ADDRESS + length).toString(16)}`] };
  }
  return undefined;
}
