/** Instructions as bytes: any row of the CPU's tables with random operands. Addresses that only the layout knows are fixes. */
import type { Row } from '../../../emulator/cpu/row.ts';
import { makeRandom } from '../vectors.ts';

/** An address: a number, or that of a piece or block, by its label, plus an offset. */
export type Target = number | { readonly label: number; readonly add: number };

/** Where an address goes into a piece: relative to its offset `from`, or absolute. */
export interface Fix {
  readonly at: number;
  readonly size: 4 | 8;
  readonly from?: number;
  to: Target;
}

export interface Code {
  readonly bytes: number[];
  readonly fixes: Fix[];
}

export class Random {
  readonly #next: () => number;
  constructor(seed: number) {
    this.#next = makeRandom(seed);
    for (let i = 0; i < 8; i++) this.#next();
  }
  word(): number {
    return this.#next();
  }
  below(n: number): number {
    return this.#next() % n;
  }
  chance(percent: number): boolean {
    return this.#next() % 100 < percent;
  }
  pick<T>(list: readonly T[]): T {
    return list[this.#next() % list.length]!;
  }
}

export interface Address {
  base?: number;
  index?: number;
  scale?: number;
  disp?: number;
  /** RIP-relative; neither base nor index then. */
  rip?: Target;
  /** A prefix byte. */
  segment?: number;
  is32?: boolean;
}

export const le = (value: number | bigint, size: number): number[] =>
  Array.from({ length: size }, (_, i) => Number((BigInt.asUintN(64, BigInt(value)) >> BigInt(8 * i)) & 0xffn));

interface Encoding {
  prefixes?: number[];
  opcode: readonly number[];
  reg?: number;
  rm?: number | Address;
  /** REX.W. */
  wide?: boolean;
  /** REX even when it would be empty. */
  rex?: boolean;
  /** REX.B for a register in the opcode. */
  opcodeRegister?: number;
  immediate?: readonly number[];
}

export function encode(encoding: Encoding): Code {
  const { prefixes = [], opcode, reg = 0, rm, wide, rex, opcodeRegister = 0, immediate = [] } = encoding;
  const address = typeof rm === 'object' ? rm : undefined;
  const base = typeof rm === 'object' ? (rm.base ?? 0) : (rm ?? opcodeRegister);
  const rexByte = 0x40 | (wide ? 8 : 0) | (reg & 8 ? 4 : 0) | ((address?.index ?? 0) & 8 ? 2 : 0) | (base & 8 ? 1 : 0);
  const bytes = [
    ...(address?.segment ? [address.segment] : []),
    ...(address?.is32 ? [0x67] : []),
    ...prefixes,
    ...(rex || rexByte !== 0x40 ? [rexByte] : []),
    ...opcode,
  ];
  const fixes: Fix[] = [];
  const field = (reg & 7) << 3;
  if (typeof rm === 'number') bytes.push(0xc0 | field | (rm & 7));
  else if (address?.rip !== undefined) {
    bytes.push(field | 5);
    fixes.push({ at: bytes.length, size: 4, from: bytes.length + 4 + immediate.length, to: address.rip });
    bytes.push(0, 0, 0, 0);
  } else if (address) {
    const { base: baseRegister, index, scale = 0, disp = 0 } = address;
    const size = baseRegister === undefined ? 4 : disp === 0 && (baseRegister & 7) !== 5 ? 0 : disp === (disp << 24) >> 24 ? 1 : 4;
    const mod = baseRegister === undefined || size === 0 ? 0 : size === 1 ? 0x40 : 0x80;
    if (baseRegister === undefined || index !== undefined || (baseRegister & 7) === 4)
      bytes.push(mod | field | 4, (scale << 6) | (((index ?? 4) & 7) << 3) | ((baseRegister ?? 5) & 7));
    else bytes.push(mod | field | (baseRegister & 7));
    bytes.push(...le(disp, size));
  }
  return { bytes: [...bytes, ...immediate], fixes };
}

/** Random numbers that instructions like to trip over. */
export function interestingNumber(random: Random, size: number): bigint {
  const bits = BigInt(8 * size);
  const top = 1n << (bits - 1n);
  const value = random.pick([
    () => 0n,
    () => BigInt(random.below(4)),
    () => -1n,
    () => top,
    () => top - 1n,
    () => BigInt(random.below(256)) - 128n,
    () => (BigInt(random.word()) << 32n) | BigInt(random.word()),
  ])();
  return BigInt.asUintN(8 * size, value);
}

/** What the generator gives to encode a row with. */
export interface Operands {
  random: Random;
  register(): number;
  address(): Address;
  /** The address of an operand that has no ModRM. */
  absolute(): number;
  condition?: number;
}

/** The row with random operands; undefined for a form that has none here (far pointers). */
export function encodeRow(row: Row, { random, register, address, absolute, condition = random.below(16) }: Operands): Code | undefined {
  const words = row.opcode.split(' ');
  const mandatory = ['NP', '66', 'F2', 'F3'].includes(words[0]!) ? words.shift()! : '';
  const { operands, attributes } = row;
  if (operands.some((operand) => operand === 'Ap')) return undefined;
  const letters = operands.map((operand) => operand[0]!);
  const opcode = words.filter((word) => /^[0-9A-F]{2}$/.test(word)).map((word) => Number.parseInt(word, 16));
  if (words.includes('+cc')) opcode[opcode.length - 1]! += condition;
  const whole = words.find((word) => word.startsWith('='));
  if (whole) return encode({ opcode: [...opcode, Number.parseInt(whole.slice(1), 16)] });

  const slash = words.find((word) => word.startsWith('/'));
  const registerOf = (letter: string): number =>
    letter === 'V' || letter === 'W' || letter === 'U' ? random.below(16) : 'PQN'.includes(letter) ? random.below(8) : register();
  const isMemory = slash !== undefined && !letters.some((l) => 'RUN'.includes(l)) && (letters.includes('M') || random.chance(50));
  const wide = random.chance(40) && !words.includes('!B');
  const hasWord = mandatory === '' && !wide && random.chance(18);
  const size = attributes.has('d64') ? (hasWord ? 2 : 8) : wide ? 8 : hasWord ? 2 : 4;
  const immediate = operands.flatMap((operand): number[] => {
    const bytes = ({ Ib: 1, Ib2: 1, Ibs: 1, Iw: 2, Iv: size, Iz: size === 2 ? 2 : 4 } as Record<string, number>)[operand] ?? 0;
    return operand[0] === 'O' ? le(absolute(), 8) : le(interestingNumber(random, bytes || 1), bytes);
  });
  const prefixes = [
    ...(isMemory && attributes.has('lock') && random.chance(20) ? [0xf0] : []),
    ...(attributes.has('rep') && random.chance(70) ? [random.pick([0xf2, 0xf3])] : []),
    ...(hasWord ? [0x66] : []),
    ...(['66', 'F2', 'F3'].includes(mandatory) ? [Number.parseInt(mandatory, 16)] : []),
  ];
  const regLetter = letters.find((l) => 'GVPSCD'.includes(l)) ?? '';
  const reg = slash === '/r' ? registerOf(regLetter) : Number(slash?.[1] ?? 0);
  const rm = slash === undefined ? undefined : isMemory ? address() : registerOf(letters.find((l) => 'ERWUQNM'.includes(l)) ?? '');
  const opcodeRegister = words.includes('+r') ? register() : 0;
  if (words.includes('+r')) opcode[opcode.length - 1]! += opcodeRegister & 7;
  return encode({
    prefixes,
    opcode,
    reg: regLetter === 'S' ? random.pick([0, 3, 4]) : reg,
    ...(rm === undefined ? {} : { rm }),
    wide,
    rex: random.chance(12),
    opcodeRegister,
    immediate,
  });
}
