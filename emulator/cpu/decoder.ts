/**
 * Machine code to instructions: prefixes, opcode maps, ModRM, SIB, displacement, immediate (SDM 2A 2.1-2.3), and the one
 * row that matches. The opcode maps are built from the rows' patterns. What no row matches is invalid (#UD).
 */
import { type Attribute, fixedOperandSize, type Row } from './row.ts';
import type { EaKind, Shape, Size } from './shape.ts';

/** What decoding depends on beside the bytes. */
export interface DecodeMode {
  readonly code: 64 | 32 | 16;
  readonly stackSize: 2 | 4 | 8;
  readonly alignCheck: boolean;
}

export interface Insn {
  readonly row: Row;
  readonly shape: Shape;
  readonly length: number;
  readonly rip: bigint;
  /** Register file offsets from GPR (bytes), or register number times 16 for vectors, as the operand's letter says. */
  readonly reg: number;
  readonly rm: number;
  readonly base: number;
  readonly index: number;
  readonly scale: number;
  readonly disp: number;
  readonly imm: bigint;
  /** Segment of the memory operand, es cs ss ds fs gs = 0..5. */
  readonly segment: number;
  readonly modrm: number;
  /** Numbers with REX applied. */
  readonly regNumber: number;
  readonly rmNumber: number;
  readonly baseNumber: number;
  readonly indexNumber: number;
  readonly hasLock: boolean;
}

export type DecodeResult = Insn | 'invalid' | 'tooLong' | 'needsMore';

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
}

/** Reads as the constant zero in the register file. */
const ZERO_OFFSET = 128;

export class Decoder {
  /** Index: map * 256 + opcode; maps: 0 one-byte, 1 0F, 2 0F 38, 3 0F 3A. */
  readonly #patterns: Pattern[][] = Array.from({ length: 1024 }, () => []);

  constructor(rows: readonly Row[]) {
    for (const row of rows) if (row.opcode !== '') this.#add(row);
    for (const list of this.#patterns) list.sort((a, b) => rank(b) - rank(a));
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
    const pattern: Pattern = {
      row,
      prefix,
      modrmReg: /\/[0-7]/.test(rest) ? Number(rest[rest.indexOf('/') + 1]) : -1,
      modrmByte: rest.includes('=') ? Number.parseInt(rest.slice(rest.indexOf('=') + 1), 16) : -1,
      mod: letters.includes('M') ? 'memory' : letters.some((l) => 'RUN'.includes(l)) ? 'register' : 'any',
      hasModrm: /\/|=/.test(rest),
      refusesRexB: rest.includes('!B'),
      hasOpcodeRegister: rest.includes('+r'),
    };
    const count = rest.includes('+cc') ? 16 : rest.includes('+r') ? 8 : 1;
    for (let i = 0; i < count; i++) this.#patterns[map * 256 + opcode + i]!.push(pattern);
  }

  /** Decodes at `bytes[start]`; at most `bytes.length - start` bytes are there. */
  decode(bytes: Uint8Array, start: number, rip: bigint, mode: DecodeMode): DecodeResult {
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
    const pattern = choose(candidates, modrm, has66, repPrefix, (rex & 1) !== 0, mode.code === 64 ? 'i64' : 'o64');
    if (!pattern) return 'invalid';
    const row = pattern.row;
    const attributes = row.attributes;

    const rexW = (rex & 8) !== 0,
      rexR = (rex & 4) << 1,
      rexX = (rex & 2) << 2,
      rexB = (rex & 1) << 3;
    const size = operandSize(row, mode.code, has66 && pattern.prefix !== '66', rexW);
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
      if (mod !== 3 || row.operands.some(isModrmAlwaysRegister) || pattern.modrmByte >= 0) {
        if (mod !== 3 && pattern.modrmByte < 0 && !row.operands.some(isModrmAlwaysRegister)) {
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
      }
    } else if (pattern.hasOpcodeRegister) rmNumber = (opcode & 7) | rexB;
    if (segmentOverride >= 0) segment = segmentOverride;

    let imm = 0n;
    for (const operand of row.operands) {
      const kind = operand[0];
      if (kind !== 'I' && kind !== 'J' && kind !== 'O' && operand !== 'Ap') continue;
      const immSize = immediateSize(operand, size, addressSize);
      if (at + immSize > end) return short;
      const raw = readLittleEndian(bytes, at, immSize);
      at += immSize;
      if (kind === 'J') imm = BigInt.asIntN(immSize * 8, raw);
      else if (operand === 'Ibs' || operand === 'Iz') imm = BigInt.asUintN(64, BigInt.asIntN(immSize * 8, raw));
      else if (operand === 'Ib2') imm |= raw << 16n;
      else imm = raw;
    }
    const length = at - start;
    if (row.operands[0]?.[0] === 'J') {
      const target = rip + BigInt(length) + imm;
      imm = BigInt.asUintN(size * 8, target);
    }
    if (lock && (!attributes.has('lock') || ea === 'reg')) return 'invalid';

    const isByte = { reg: false, rm: false };
    let regScale = 8,
      rmScale = 8;
    for (const operand of row.operands) {
      const letter = operand[0]!;
      if (letter === 'G') isByte.reg = operand[1] === 'b';
      else if (letter === 'E' || letter === 'R' || letter === 'Z') isByte.rm = operand[1] === 'b';
      else if (letter === 'V') regScale = 16;
      else if (letter === 'W' || letter === 'U') rmScale = 16;
      else if (letter === 'P') regScale = -16;
      else if (letter === 'Q' || letter === 'N') rmScale = -16;
    }
    const shape: Shape = {
      row,
      size,
      ea,
      addressSize,
      segment: mode.code === 64 ? (segment >= 4 ? segment : -1) : segment,
      mode: mode.code,
      stackSize: mode.stackSize,
      alignCheck: mode.alignCheck,
      cc: row.opcode.includes('+cc') ? opcode & 15 : 0,
      rep: !attributes.has('rep') || repPrefix === 0 ? 'none' : repPrefix === 0xf3 ? 'rep' : 'repne',
    };
    return {
      row,
      shape,
      length,
      rip,
      imm,
      segment,
      base,
      index,
      scale,
      disp,
      modrm,
      reg: registerOffset(regNumber, regScale, isByte.reg, rex !== 0),
      rm: registerOffset(rmNumber, rmScale, isByte.rm, rex !== 0),
      regNumber,
      rmNumber,
      baseNumber,
      indexNumber,
      hasLock: lock,
    };
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

/** `refused`: the attribute of rows that this mode does not have. */
function choose(
  candidates: readonly Pattern[],
  modrm: number,
  has66: boolean,
  repPrefix: number,
  rexB: boolean,
  refused: Attribute,
): Pattern | undefined {
  for (const p of candidates) {
    if (p.row.attributes.has(refused)) continue;
    if (p.refusesRexB && rexB) continue;
    if (p.modrmByte >= 0 && p.modrmByte !== modrm) continue;
    if (p.modrmReg >= 0 && p.modrmReg !== ((modrm >> 3) & 7)) continue;
    if (p.mod === 'memory' && modrm >= 0xc0) continue;
    if (p.mod === 'register' && modrm < 0xc0 && !p.row.operands.some(isModrmAlwaysRegister)) continue;
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

/** MOV to and from control and debug registers ignores ModRM.mod (SDM 2B MOV). */
function isModrmAlwaysRegister(operand: string): boolean {
  return operand === 'Cq' || operand === 'Dq';
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

function readLittleEndian(bytes: Uint8Array, at: number, size: number): bigint {
  let low = 0;
  for (let i = Math.min(size, 4) - 1; i >= 0; i--) low = low * 256 + bytes[at + i]!;
  if (size <= 4) return BigInt(low);
  let high = 0;
  for (let i = 7; i >= 4; i--) high = high * 256 + bytes[at + i]!;
  return (BigInt(high) << 32n) | BigInt(low);
}

function registerOffset(number: number, scale: number, isByte: boolean, hasRex: boolean): number {
  if (number < 0) return ZERO_OFFSET;
  if (scale === 16) return number * 16;
  if (scale === -16) return (number & 7) * 16;
  return isByte && !hasRex && number >= 4 && number < 8 ? (number - 4) * 8 + 1 : number * 8;
}
