/**
 * Machine code to instructions: prefixes, opcode maps, ModRM, SIB, displacement, immediate (SDM 2A 2.1-2.3), and the one
 * row that matches. The opcode maps are built from the rows' patterns. What no row matches is invalid (#UD).
 */
import { fixedOperandSize, type Row } from './row.ts';
import { type EaKind, packShape, type Shape, type Size, shapeFromBits } from './shape.ts';

/** What decoding depends on beside the bytes. */
export interface DecodeMode {
  readonly code: 64 | 32 | 16;
  readonly stackSize: 2 | 4 | 8;
  readonly alignCheck: boolean;
}

/** Reads as the constant zero in the register file. */
const ZERO_OFFSET = 128;

/** A decoded instruction as decoding fills it in. 64-bit values are halves: bigints are made of them when somebody asks. */
class InsnParts {
  readonly row: Row;
  readonly shape: Shape;
  readonly ripLow: number;
  readonly ripHigh: number;
  length = 0;
  /** The immediate as its pattern extends it, or the target of a direct branch. */
  immLow = 0;
  immHigh = 0;
  /** Segment of the memory operand, es cs ss ds fs gs = 0..5. */
  segment = 3;
  scale = 0;
  disp = 0;
  modrm = -1;
  /** Register file offsets from GPR (bytes), or register number times 16 for vectors, as the operand's letter says. */
  reg = ZERO_OFFSET;
  rm = ZERO_OFFSET;
  base = ZERO_OFFSET;
  index = ZERO_OFFSET;
  /** Numbers with REX applied, -1 for none. */
  regNumber = -1;
  rmNumber = -1;
  baseNumber = -1;
  indexNumber = -1;
  hasLock = false;

  constructor(row: Row, shape: Shape, ripLow: number, ripHigh: number) {
    this.row = row;
    this.shape = shape;
    this.ripLow = ripLow;
    this.ripHigh = ripHigh;
  }

  get rip(): bigint {
    return fromHalves(this.ripLow, this.ripHigh);
  }
  get imm(): bigint {
    return fromHalves(this.immLow, this.immHigh);
  }
}

export type Insn = Readonly<InsnParts>;

function fromHalves(low: number, high: number): bigint {
  return (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0);
}

type DecodeResult = Insn | 'invalid' | 'tooLong' | 'needsMore';

interface Pattern {
  readonly row: Row;
  readonly prefix: 'any' | 'NP' | '66' | 'F2' | 'F3';
  /** Required ModRM.reg, or -1. */
  readonly modrmReg: number;
  /** Required ModRM byte, or -1. */
  readonly modrmByte: number;
  readonly mod: 'any' | 'memory' | 'register';
  readonly hasModrm: boolean;
  /** `!B`: not with REX.B (NOP, which is XCHG R8 then). */
  readonly refusesRexB: boolean;
  readonly hasOpcodeRegister: boolean;
  readonly hasCondition: boolean;
  /** MOV to and from control and debug registers ignores ModRM.mod (SDM 2B MOV). */
  readonly isAlwaysRegister: boolean;
  readonly isRelative: boolean;
  readonly immediates: readonly string[];
  readonly regScale: number;
  readonly rmScale: number;
  readonly isRegByte: boolean;
  readonly isRmByte: boolean;
  readonly in64: boolean;
  readonly outside64: boolean;
  readonly allowsLock: boolean;
  readonly repeats: boolean;
  /** Operand sizes by the bits code size, prefix, REX.W, 0 while not computed. */
  readonly sizes: (Size | 0)[];
  /** The shapes that occurred, by their bits. */
  readonly shapes: Map<number, Shape>;
}

export class Decoder {
  /** Index: map * 256 + opcode; maps: 0 one-byte, 1 0F, 2 0F 38, 3 0F 3A. */
  readonly #patterns: Pattern[][] = Array.from({ length: 1024 }, () => []);
  /** Those that have occurred, by their ids. */
  readonly shapes: (Shape | undefined)[] = [undefined];

  constructor(rows: readonly Row[]) {
    for (const row of rows) if (row.opcode !== '') this.#add(row);
    for (const list of this.#patterns) list.sort((a, b) => rank(b) - rank(a));
  }

  /** Makes the one object for a shape. */
  #addShape({ row, shapes }: Pattern, bits: number): Shape {
    const shape = shapeFromBits(row, bits, this.shapes.length);
    shapes.set(bits, shape);
    this.shapes.push(shape);
    return shape;
  }

  #add(row: Row): void {
    const words: string[] = row.opcode.split(' ');
    let prefix: Pattern['prefix'] = 'any';
    if (['NP', '66', 'F2', 'F3'].includes(words[0]!)) prefix = words.shift() as Pattern['prefix'];
    let map = 0;
    const [first, second] = words;
    if (first === '0F') {
      map = second === '38' ? 2 : second === '3A' ? 3 : 1;
      words.splice(0, map === 1 ? 1 : 2);
    }
    const opcode = Number.parseInt(words.shift()!, 16);
    const rest = words.join(' ');
    const letters = row.operands.map((operand) => operand[0]!);
    const scaleOf = (letters16: string, lettersMmx: string): number =>
      letters.some((l) => letters16.includes(l)) ? 16 : letters.some((l) => lettersMmx.includes(l)) ? -16 : 8;
    const isByte = (which: string): boolean => row.operands.findLast((operand) => which.includes(operand[0]!))?.[1] === 'b';
    const pattern: Pattern = {
      row,
      prefix,
      modrmReg: /\/[0-7]/.test(rest) ? Number(rest[rest.indexOf('/') + 1]) : -1,
      modrmByte: rest.includes('=') ? Number.parseInt(rest.slice(rest.indexOf('=') + 1), 16) : -1,
      mod: letters.includes('M') ? 'memory' : letters.some((l) => 'RUN'.includes(l)) ? 'register' : 'any',
      hasModrm: /\/|=/.test(rest),
      refusesRexB: rest.includes('!B'),
      hasOpcodeRegister: rest.includes('+r'),
      hasCondition: rest.includes('+cc'),
      isAlwaysRegister: row.operands.some((operand) => operand === 'Cq' || operand === 'Dq'),
      isRelative: letters[0] === 'J',
      immediates: row.operands.filter((operand) => 'IJO'.includes(operand[0]!) || operand === 'Ap'),
      regScale: scaleOf('V', 'P'),
      rmScale: scaleOf('WU', 'QN'),
      isRegByte: isByte('G'),
      isRmByte: isByte('ERZ'),
      in64: !row.attributes.has('i64'),
      outside64: !row.attributes.has('o64'),
      allowsLock: row.attributes.has('lock'),
      repeats: row.attributes.has('rep'),
      sizes: Array.from({ length: 12 }, () => 0 as const),
      shapes: new Map(),
    };
    const count = rest.includes('+cc') ? 16 : rest.includes('+r') ? 8 : 1;
    for (let i = 0; i < count; i++) this.#patterns[map * 256 + opcode + i]!.push(pattern);
  }

  /** Decodes at `bytes[start]`; at most `bytes.length - start` bytes are there. */
  decode(bytes: Uint8Array, start: number, rip: bigint, mode: DecodeMode): DecodeResult {
    return this.decodeAt(bytes, start, Number(BigInt.asIntN(32, rip)), Number(BigInt.asIntN(32, rip >> 32n)), mode);
  }

  /** The same for a RIP in halves. */
  decodeAt(bytes: Uint8Array, start: number, ripLow: number, ripHigh: number, mode: DecodeMode): DecodeResult {
    const end = Math.min(bytes.length, start + 15);
    const short = end - start < 15 ? 'needsMore' : 'tooLong';
    let at = start;
    let has66 = false,
      has67 = false,
      lock = false,
      repPrefix = 0,
      segmentOverride = -1,
      rex = 0;
    let byte: number;
    for (;;) {
      if (at >= end) return short;
      byte = bytes[at++]!;
      if (byte === 0x66) has66 = true;
      else if (byte === 0x67) has67 = true;
      else if (byte === 0xf0) lock = true;
      else if (byte === 0xf2 || byte === 0xf3) repPrefix = byte;
      else if (byte === 0x64 || byte === 0x65) segmentOverride = byte - 0x60;
      else if (byte === 0x26 || byte === 0x2e || byte === 0x36 || byte === 0x3e) {
        if (mode.code !== 64) segmentOverride = (byte >> 3) & 3;
      } else if (mode.code === 64 && (byte & 0xf0) === 0x40) {
        rex = byte;
        continue;
      } else break;
      rex = 0;
    }
    let map = 0;
    if (byte === 0x0f) {
      if (at >= end) return short;
      byte = bytes[at++]!;
      map = 1;
      if (byte === 0x38 || byte === 0x3a) {
        map = byte === 0x38 ? 2 : 3;
        if (at >= end) return short;
        byte = bytes[at++]!;
      }
    }
    const opcode = byte;
    const candidates = this.#patterns[map * 256 + opcode]!;
    if (candidates.length === 0) return 'invalid';
    let modrm = -1;
    if (candidates[0]!.hasModrm) {
      if (at >= end) return short;
      modrm = bytes[at]!;
    }
    const pattern = choose(candidates, modrm, has66, repPrefix, (rex & 1) !== 0, mode.code === 64);
    if (!pattern) return 'invalid';
    const row = pattern.row;
    const rexW = (rex & 8) !== 0,
      rexR = (rex & 4) << 1,
      rexX = (rex & 2) << 2,
      rexB = (rex & 1) << 3;
    const size = sizeOf(pattern, mode.code, has66 && pattern.prefix !== '66', rexW);
    const addressSize = mode.code === 64 ? (has67 ? 4 : 8) : (mode.code === 32) !== has67 ? 4 : 2;

    let ea: EaKind = 'reg';
    let regNumber = -1,
      rmNumber = -1,
      base = ZERO_OFFSET,
      index = ZERO_OFFSET,
      scale = 0,
      disp = 0,
      segment = 3;
    let baseNumber = -1,
      indexNumber = -1;
    if (pattern.hasModrm) {
      at++;
      regNumber = ((modrm >> 3) & 7) | rexR;
      rmNumber = (modrm & 7) | rexB;
      const mod = modrm >> 6;
      if (mod !== 3 && pattern.modrmByte < 0 && !pattern.isAlwaysRegister) {
        if (addressSize === 2) {
          baseNumber = [3, 3, 5, 5, 6, 7, 5, 3][modrm & 7]!;
          indexNumber = [6, 7, 6, 7, -1, -1, -1, -1][modrm & 7]!;
          let dispSize = mod;
          if (mod === 0 && (modrm & 7) === 6) {
            baseNumber = -1;
            dispSize = 2;
          }
          if (at + dispSize > end) return short;
          disp = dispSize === 1 ? (bytes[at]! << 24) >> 24 : dispSize === 2 ? ((bytes[at]! | (bytes[at + 1]! << 8)) << 16) >> 16 : 0;
          at += dispSize;
        } else {
          let dispSize = mod === 1 ? 1 : mod === 2 ? 4 : 0;
          if ((modrm & 7) === 4) {
            if (at >= end) return short;
            const sib = bytes[at++]!;
            scale = sib >> 6;
            indexNumber = ((sib >> 3) & 7) | rexX;
            if (indexNumber === 4) indexNumber = -1;
            baseNumber = (sib & 7) | rexB;
            if ((sib & 7) === 5 && mod === 0) {
              baseNumber = -1;
              dispSize = 4;
            }
          } else if ((modrm & 7) === 5 && mod === 0) {
            dispSize = 4;
            if (mode.code === 64) ea = 'rip';
          } else baseNumber = rmNumber;
          if (at + dispSize > end) return short;
          if (dispSize === 1) disp = (bytes[at]! << 24) >> 24;
          else if (dispSize === 4) disp = bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);
          at += dispSize;
        }
        if (ea !== 'rip') ea = indexNumber >= 0 ? 'index' : baseNumber >= 0 ? 'base' : 'abs';
        if (baseNumber >= 0) base = baseNumber * 8;
        if (indexNumber >= 0) index = indexNumber * 8;
        segment = baseNumber === 4 || baseNumber === 5 ? 2 : 3;
        rmNumber = -1;
      }
    } else if (pattern.hasOpcodeRegister) rmNumber = (opcode & 7) | rexB;
    if (segmentOverride >= 0) segment = segmentOverride;

    let immLow = 0,
      immHigh = 0;
    for (const operand of pattern.immediates) {
      const immSize = immediateSize(operand, size, addressSize);
      if (at + immSize > end) return short;
      if (operand === 'Ib2') immLow |= bytes[at]! << 16;
      else {
        immLow = readLittleEndian(bytes, at, Math.min(immSize, 4));
        immHigh = immSize > 4 ? readLittleEndian(bytes, at + 4, immSize - 4) : 0;
        if (immSize <= 4 && (pattern.isRelative || operand === 'Ibs' || operand === 'Iz')) {
          const unused = 32 - immSize * 8;
          immLow = (immLow << unused) >> unused;
          immHigh = immLow >> 31;
        }
      }
      at += immSize;
    }
    const length = at - start;
    if (pattern.isRelative) {
      const low = (ripLow >>> 0) + length + immLow;
      immHigh = size === 8 ? (ripHigh + Math.floor(low / 2 ** 32)) | 0 : 0;
      immLow = size === 2 ? low & 0xffff : low | 0;
    }
    if (lock && (!pattern.allowsLock || ea === 'reg')) return 'invalid';

    const bits = packShape(
      size,
      ea,
      mode.code === 64 && segment < 4 ? -1 : segment,
      addressSize,
      mode.code,
      mode.stackSize,
      mode.alignCheck,
      pattern.hasCondition ? opcode & 15 : 0,
      !pattern.repeats || repPrefix === 0 ? 'none' : repPrefix === 0xf3 ? 'rep' : 'repne',
    );
    const insn = new InsnParts(row, pattern.shapes.get(bits) ?? this.#addShape(pattern, bits), ripLow, ripHigh);
    insn.length = length;
    insn.immLow = immLow;
    insn.immHigh = immHigh;
    insn.segment = segment;
    insn.base = base;
    insn.index = index;
    insn.scale = scale;
    insn.disp = disp;
    insn.modrm = modrm;
    insn.reg = registerOffset(regNumber, pattern.regScale, pattern.isRegByte, rex !== 0);
    insn.rm = registerOffset(rmNumber, pattern.rmScale, pattern.isRmByte, rex !== 0);
    insn.regNumber = regNumber;
    insn.rmNumber = rmNumber;
    insn.baseNumber = baseNumber;
    insn.indexNumber = indexNumber;
    insn.hasLock = lock;
    return insn;
  }
}

/** More specific patterns first. */
function rank(p: Pattern): number {
  return (
    (p.modrmByte >= 0 ? 8 : 0) +
    (p.modrmReg >= 0 ? 4 : 0) +
    (p.mod !== 'any' ? 2 : 0) +
    (p.refusesRexB ? 1 : 0) +
    (p.prefix !== 'any' ? 1 : 0)
  );
}

function choose(
  candidates: readonly Pattern[],
  modrm: number,
  has66: boolean,
  repPrefix: number,
  rexB: boolean,
  is64: boolean,
): Pattern | undefined {
  for (const p of candidates) {
    if (is64 ? !p.in64 : !p.outside64) continue;
    if (p.refusesRexB && rexB) continue;
    if (p.modrmByte >= 0 && p.modrmByte !== modrm) continue;
    if (p.modrmReg >= 0 && p.modrmReg !== ((modrm >> 3) & 7)) continue;
    if (p.mod === 'memory' && modrm >= 0xc0) continue;
    if (p.mod === 'register' && modrm < 0xc0 && !p.isAlwaysRegister) continue;
    const matches =
      p.prefix === 'any'
        ? true
        : p.prefix === 'NP'
          ? !has66 && repPrefix === 0
          : p.prefix === '66'
            ? has66 && repPrefix === 0
            : p.prefix === 'F2'
              ? repPrefix === 0xf2
              : repPrefix === 0xf3;
    if (matches) return p;
  }
  return undefined;
}

function sizeOf(pattern: Pattern, code: 64 | 32 | 16, hasOperandPrefix: boolean, rexW: boolean): Size {
  const key = (code >> 5) * 4 + (hasOperandPrefix ? 2 : 0) + (rexW ? 1 : 0);
  let size = pattern.sizes[key]!;
  if (size === 0) pattern.sizes[key] = size = operandSize(pattern.row, code, hasOperandPrefix, rexW);
  return size;
}

function operandSize(row: Row, code: 64 | 32 | 16, hasOperandPrefix: boolean, rexW: boolean): Size {
  if (code === 64) {
    if (row.attributes.has('f64')) return 8;
    if (row.attributes.has('d64')) return hasOperandPrefix && !rexW ? 2 : 8;
  }
  const variable: Size = rexW ? 8 : (code === 16) !== hasOperandPrefix ? 2 : 4;
  let fixed: Size | undefined;
  for (const operand of row.operands) {
    if (operand === 'rAX') return variable;
    if (operand === 'eAX') return variable === 8 ? 4 : variable;
    const letter = operand[0]!;
    const size = operand.slice(1);
    if ('EGMRIJOZXY'.includes(letter)) {
      if (size === 'v') return variable;
      if (size === 'y') return rexW ? 8 : 4;
    }
    if (operand === 'AL') fixed ??= 1;
    else if ('EGMROZXY'.includes(letter)) fixed ??= fixedOperandSize(operand);
  }
  return fixed ?? variable;
}

function immediateSize(operand: string, size: Size, addressSize: number): number {
  switch (operand) {
    case 'Ib':
    case 'Ibs':
    case 'Ib2':
    case 'Jb':
      return 1;
    case 'Iw':
      return 2;
    case 'Iv':
      return size;
    case 'Iz':
    case 'Jz':
      return size === 2 ? 2 : 4;
    case 'Ap':
      return size + 2;
    default:
      return addressSize; // Ob, Ov
  }
}

/** At most 4 bytes. */
function readLittleEndian(bytes: Uint8Array, at: number, size: number): number {
  let value = 0;
  for (let i = size - 1; i >= 0; i--) value = (value << 8) | bytes[at + i]!;
  return value;
}

function registerOffset(number: number, scale: number, isByte: boolean, hasRex: boolean): number {
  if (number < 0) return ZERO_OFFSET;
  if (scale === 16) return number * 16;
  if (scale === -16) return (number & 7) * 16;
  return isByte && !hasRex && number >= 4 && number < 8 ? (number - 4) * 8 + 1 : number * 8;
}
