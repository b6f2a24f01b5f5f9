/**
 * Pieces of random programs: one or a few instructions that only make sense together, of every kind but branches that make up
 * the program (generate.ts). Nothing keeps them from faulting or running wild.
 */
import { R11, R14, RBP, RBX, RCX, RDI, RSI, RSP } from '../../../emulator/cpu/interface.ts';
import type { Row } from '../../../emulator/cpu/row.ts';
import { rows } from '../../../emulator/cpu/rows/index.ts';
import { type Address, type Code, encode, encodeRow, interestingNumber, le, type Operands, type Random, type Target } from './encode.ts';
import type { Block, Piece } from './program.ts';
import {
  CODE,
  CODE_ALIAS,
  DATA,
  DATA_ALIAS,
  entryAddress,
  INT_PROMOTE,
  INT_RETURN,
  LARGE,
  OTHER_CODE,
  READ_ONLY,
  ROOTS,
  type Setting,
  SUPERVISOR,
  UNMAPPED,
  WINDOW,
  WINDOW_FRAMES,
} from './world.ts';

/** Registers that pieces do with as they like. */
export const FREE = [0, 1, 2, 6, 7, 8, 9, 10];
/** Counts how often guarded pieces are passed. */
const GUARD = DATA + 0x3f80;

/** Branches have pieces of their own; the others would end every program. */
const LEFT_OUT =
  'j jmp call ret loop loope loopne jrcxz jmp_far call_far ret_far iret sysret sysenter sysexit lgdt lidt ltr lldt lmsw mov_cr mov_dr wrmsr popf enter wrfsbase wrgsbase swapgs'.split(
    ' ',
  );
const usable = rows.filter((row) => row.opcode !== '' && !row.attributes.has('i64') && !LEFT_OUT.includes(row.mnemonic));
const named = (names: string): Row[] =>
  usable.filter((row) => names.split(' ').includes(row.mnemonic) && !row.operands.some((operand) => /^(Sw|[FG]S)$/.test(operand)));
const has = (attribute: 'sse' | 'mmx' | 'x87' | 'system' | 'rep'): Row[] => usable.filter((row) => row.attributes.has(attribute));
const arithmetic = named('add or adc sbb and sub xor cmp test inc dec neg not');
const flagged = named('adc sbb set cmov lahf sahf cmc stc clc rcl rcr rol ror shl shr sar shld shrd inc dec pushf bt bts btr btc');
const producing = [
  ...named('add sub cmp and or xor test inc dec neg shl shr sar'),
  ...named('add sub cmp adc sbb inc dec neg shl shr sar rol ror rcl rcr bt imul xadd shld shrd'),
];
const consuming = named('set cmov adc sbb lahf pushf rcl rcr cmc inc dec');
const moves = named('mov movzx movsx movsxd lea xchg cbw cwd bswap push pop xadd cmpxchg');
const multiplying = named('mul imul div idiv popcnt bsf bsr crc32');
const strings = has('rep').filter((row) => !row.attributes.has('system'));
const vector = [...has('sse')];
const wholeState = named('fxsave fxrstor stmxcsr');
const float = [...has('x87'), ...has('mmx')];
const system = has('system').filter((row) => !row.mnemonic.startsWith('int'));

/** What a program has much of. */
interface Taste {
  vector: boolean;
  float: boolean;
  strings: boolean;
  patches: boolean;
  paging: boolean;
  faults: boolean;
  system: boolean;
  flags: boolean;
}

/** Writes pieces into blocks. */
export class PieceWriter {
  protected readonly random: Random;
  readonly #taste: Taste;
  readonly #cpl: number;
  /** Where RBP points in the data. */
  protected readonly near: number;
  /** The instruction at hand wants its operand aligned. */
  #isVector = false;
  protected readonly blocks: Block[] = [];
  /** Fixes whose target is a piece that is not there yet. */
  protected readonly pending: ((pieces: Piece[]) => void)[] = [];
  protected current!: Block;

  constructor(random: Random, setting: Setting) {
    this.random = random;
    this.#cpl = setting.cpl;
    this.near = random.pick([0x800, 0x800, 0xfc0, 0xff0, 0x1000 + random.below(64)]);
    this.#taste = {
      vector: random.chance(40),
      float: random.chance(12),
      strings: random.chance(25),
      patches: random.chance(30),
      paging: random.chance(25),
      faults: random.chance(35),
      system: random.chance(15),
      flags: random.chance(40),
    };
  }

  protected open(): Block {
    const random = this.random;
    const block: Block = { label: (this.blocks.length + 1) * 1000, gap: 0, pieces: [] };
    if (this.blocks.length > 0) {
      if (random.chance(8)) block.gap = 1 + random.below(60);
      else if (random.chance(12)) block.gap = 500 + random.below(2200);
    }
    this.blocks.push(block);
    this.current = block;
    return block;
  }

  protected add(code: Code, mutable: Piece['mutable'] = []): Piece {
    const label = this.current.label + 1 + this.current.pieces.length;
    const piece = { ...code, label, mutable };
    this.current.pieces.push(piece);
    return piece;
  }

  protected bytes(...bytes: number[]): void {
    this.add({ bytes, fixes: [] });
  }

  /** A branch with rel32 to a block that may not be there yet. */
  protected branch(opcode: number[], to: Target, mutable: Piece['mutable'] = []): Piece {
    const at = opcode.length;
    return this.add({ bytes: [...opcode, 0, 0, 0, 0], fixes: [{ at, size: 4, from: at + 4, to }] }, mutable);
  }

  protected conditional(to: Target, condition = this.random.below(16)): void {
    this.branch([0x0f, 0x80 | condition], to, [{ at: 1, values: Array.from({ length: 16 }, (_, i) => 0x80 | i) }]);
  }

  /** The block that comes next. */
  protected nextLabel(): number {
    return (this.blocks.length + 1) * 1000;
  }

  protected straight(count: number): void {
    for (let i = 0; i < count; i++) this.#piece();
  }

  readonly #operands: Omit<Operands, 'random'> = {
    register: () => (this.random.chance(2) ? this.random.below(16) : this.random.chance(6) ? R11 : this.random.pick(FREE)),
    address: () => this.#address(),
    absolute: () => DATA + 0x800 + 4 * this.random.below(512),
  };

  #row(row: Row, operands: Partial<Operands> = {}): void {
    this.#isVector = row.attributes.has('sse') || row.mnemonic.startsWith('fx');
    const code = encodeRow(row, { ...this.#operands, random: this.random, ...operands });
    if (!code) return;
    const { bytes } = code;
    // Opcodes 00-3F with ModRM are arithmetic: one turns into another; the last byte of others may be an immediate.
    const opcodeAt = bytes.length === 2 ? 0 : bytes.length === 3 && (bytes[0]! & 0xf0) === 0x40 ? 1 : -1;
    const isArithmetic = opcodeAt >= 0 && bytes[opcodeAt]! < 0x40 && (bytes[opcodeAt]! & 7) < 4;
    const variants = Array.from({ length: 8 }, (_, i) => (bytes[opcodeAt]! & 7) | (i << 3));
    const hasImmediate = row.operands.some((operand) => /^I[bvz]/.test(operand));
    this.add(code, isArithmetic ? [{ at: opcodeAt, values: variants }] : hasImmediate ? [{ at: bytes.length - 1 }] : []);
  }

  #piece(): void {
    const random = this.random;
    const taste = this.#taste;
    const special = random.below(100);
    if (special < 6 && taste.patches) return this.#patch();
    if (special < 10 && taste.paging) return this.#paging();
    if (special < 15 && taste.faults) return this.#fault();
    if (special < 18 && taste.system) return this.#system();
    if (special < 30 && taste.strings) return this.#string();
    if (special < 64) return this.#flags();
    if (taste.vector && random.chance(35)) return this.#row(random.pick(random.chance(8) ? wholeState : vector));
    if (taste.float && random.chance(30)) return this.#row(random.pick(random.chance(8) ? wholeState : float));
    const kind = random.below(90);
    if (kind < 30) this.#row(random.pick(arithmetic));
    else if (kind < (taste.flags ? 55 : 42)) this.#row(random.pick(flagged));
    else if (kind < 70) this.#row(random.pick(moves));
    else if (kind < 76) this.#multiply();
    else if (kind < 78) this.#row(random.pick(usable));
    else this.#row(random.pick(moves));
  }

  /** An operation on values that its flags tell much about, and at once what reads one of them. */
  #flags(): void {
    const random = this.random;
    const register = random.pick([0, 1, 2, 6]);
    for (const target of [register, random.pick([0, 1, 2, 6])]) {
      if (random.chance(50)) this.bytes(0x48, 0xb8 | target, ...le(interestingNumber(random, 8), 8));
    }
    this.#row(random.pick(producing), { register: () => (random.chance(70) ? register : random.pick([0, 1, 2, 6])) });
    // Most often one of the flags that are hard to get.
    const condition = random.chance(60) ? random.pick([0, 2, 6, 12, 14]) | random.below(2) : random.below(16);
    const kind = random.below(10);
    if (kind < 5) this.#row(random.pick(consuming), { condition });
    else if (kind < 9) this.conditional({ label: this.nextLabel(), add: 0 }, condition);
    if (random.chance(20)) this.#row(random.pick(consuming));
  }

  /** An index that stays within 2 KiB, mostly: MOVZX of the low byte, which leaves the flags alone. */
  #index(): number {
    const register = this.random.pick([RCX, RSI, 9]);
    if (this.random.chance(90)) this.add(encode({ opcode: [0x0f, 0xb6], reg: register, rm: register, rex: true }));
    return register;
  }

  #address(): Address {
    const random = this.random;
    if (this.#isVector && random.chance(80)) return { base: RBP, disp: 16 * (random.below(12) - 6) - (this.near & 15) };
    const disp = random.pick([
      () => 8 * (random.below(24) - 12),
      () => 16 * (random.below(12) - 6),
      () => random.below(200) - 100,
      () => random.below(0x800) - 0x400,
    ])();
    const kind = random.below(100);
    const is32 = random.chance(3);
    if (kind < 38) return { base: RBP, disp, is32 };
    if (kind < 54) return { base: RBX, disp };
    if (kind < 62) return { base: R14, disp: Math.abs(disp) };
    if (kind < 74) return { base: random.pick([RBP, RBX]), index: this.#index(), scale: random.below(4), disp };
    if (kind < 80) return { rip: DATA + 0x800 + disp };
    if (kind < 86) return { disp: DATA + 0x1000 + disp, is32 };
    if (kind < 91) return { base: RSP, disp: Math.abs(disp) & 0xff };
    if (kind < 92) return { base: RDI, disp: disp & 7 };
    if (kind < 96) return { segment: 0x65, disp: 0x800 + disp };
    if (!this.#taste.faults) return { base: RBP, disp };
    if (kind < 98) return { disp: random.pick([READ_ONLY, SUPERVISOR, UNMAPPED - 4, WINDOW, LARGE + 0x10_0000]) + (disp & 0xff) };
    return { base: random.pick(FREE), disp };
  }

  #multiply(): void {
    const random = this.random;
    const row = random.pick(multiplying);
    if (random.chance(75) && row.mnemonic === 'div') this.bytes(0x31, 0xd2); // XOR EDX, EDX
    if (random.chance(75) && row.mnemonic === 'idiv') this.bytes(0x48, 0x99); // CQO
    this.#row(row);
  }

  #string(): void {
    const random = this.random;
    const point = (register: number): void => {
      const base = random.pick([RBP, RBP, RBX]);
      this.add(encode({ opcode: [0x8d], reg: register, rm: { base, disp: random.below(256) - 128 }, wide: true }));
    };
    if (random.chance(80)) point(RSI);
    if (random.chance(90)) point(RDI);
    if (random.chance(90)) this.bytes(0xb9, ...le(random.below(random.chance(80) ? 9 : 70), 4));
    if (random.chance(12)) this.bytes(random.pick([0xfc, 0xfd, 0xfd]));
    this.#row(random.pick(strings));
  }

  /** Only now and then: INC DWORD [GUARD]; TEST BYTE [GUARD], mask; JNZ over it. */
  #guarded(code: Code): Piece {
    const mask = this.random.pick([0, 3, 15, 31, 63]);
    if (mask === 0) return this.add(code);
    const guard = GUARD + 4 * this.random.below(8);
    const head = [0xff, 0x04, 0x25, ...le(guard, 4), 0xf6, 0x04, 0x25, ...le(guard, 4), mask, 0x75, code.bytes.length];
    const fixes = code.fixes.map((fix) => ({
      ...fix,
      at: fix.at + head.length,
      ...(fix.from === undefined ? {} : { from: fix.from + head.length }),
    }));
    return this.add({ bytes: [...head, ...code.bytes], fixes });
  }

  /** Changes code: that of some other piece, its own block's, the next instruction's; itself or through another address. */
  #patch(): void {
    const random = this.random;
    const alias = random.chance(35) ? CODE_ALIAS : 0;
    if (random.chance(15)) {
      // The next instruction: MOV BYTE [its immediate], AL; ADD EBX or MOV ECX by it
      const store = { bytes: [0x88, 0x04, 0x25, 0, 0, 0, 0], fixes: [{ at: 3, size: 4 as const, to: 0 as Target }] };
      const piece = this.add(store);
      store.fixes[0]!.to = { label: piece.label + 1, add: 2 + alias };
      this.bytes(0x83, random.pick([0xc1, 0xd1, 0xf2]), random.below(256)); // ADD ECX / ADC ECX / XOR EDX, imm8
      return;
    }
    if (random.chance(15)) {
      // Into the middle of an instruction
      const jump = this.#guarded({ bytes: [0xe9, 0, 0, 0, 0], fixes: [{ at: 1, size: 4, from: 5, to: 0 }] });
      this.pending.push((pieces) => {
        jump.fixes[0]!.to = { label: random.pick(pieces).label, add: 1 + random.below(3) };
      });
      return;
    }
    const isWide = random.chance(20);
    let code: Code;
    const target = 0;
    if (isWide)
      // MOV RAX, [code]; MOV [code], RAX: nothing changes
      code = {
        bytes: [0x48, 0x8b, 0x04, 0x25, 0, 0, 0, 0, 0x48, 0x89, 0x04, 0x25, 0, 0, 0, 0],
        fixes: [4, 12].map((at) => ({ at, size: 4, to: target })),
      };
    else if (random.chance(60)) code = { bytes: [0xc6, 0x04, 0x25, 0, 0, 0, 0, 0], fixes: [{ at: 3, size: 4, to: target }] };
    else if (random.chance(50))
      // LEA RDI, [code]; MOV AL, value; STOSB
      code = { bytes: [0x48, 0x8d, 0x3c, 0x25, 0, 0, 0, 0, 0xb0, 0, 0xaa], fixes: [{ at: 4, size: 4, to: target }] };
    else code = { bytes: [0xb0, 0, 0x86, 0x05, 0, 0, 0, 0], fixes: [{ at: 4, size: 4, from: 8, to: target }] }; // XCHG [RIP + code], AL
    const valueAt = code.bytes[0] === 0xc6 ? 7 : code.bytes[0] === 0xb0 ? 1 : code.bytes[8] === 0xb0 ? 9 : -1;
    const piece = this.#guarded(code);
    this.pending.push((pieces) => {
      const candidates = pieces.filter((other) => other.mutable.length > 0);
      if (candidates.length === 0) return;
      const victim = random.pick(candidates);
      const { at, values } = random.pick(victim.mutable);
      for (const fix of piece.fixes) fix.to = { label: victim.label, add: at + alias };
      if (valueAt >= 0) piece.bytes[piece.bytes.length - code.bytes.length + valueAt] = values ? random.pick(values) : random.below(256);
    });
  }

  /** Changes translations, and says so to the CPU at once. */
  #paging(): void {
    const random = this.random;
    const root = random.pick(ROOTS);
    const reload = [0x0f, 0x20, 0xd8, 0x0f, 0x22, 0xd8];
    if (random.chance(25)) return void this.#guarded({ bytes: [0xb8, ...le(root, 4), 0x0f, 0x22, 0xd8], fixes: [] });
    const { vaddr, entry } = makeEntry(random);
    const invalidate = random.chance(70) ? [0x0f, 0x01, 0x3c, 0x25, ...le(vaddr, 4)] : reload;
    const high = random.chance(20) ? [0xc7, 0x40, 4, ...le(random.pick([0, 0x8000_0000]), 4)] : [];
    const store = [0x48, 0xb8, ...le(entryAddress(root, vaddr), 8), 0xc7, 0x00, ...le(entry, 4)];
    // Above CPL 0 INVLPG faults and nothing is flushed: only the host may change entries there.
    if (this.#cpl === 0) this.#guarded({ bytes: [...store, ...high, ...invalidate], fixes: [] });
  }

  #fault(): void {
    const random = this.random;
    const kinds: (() => number[])[] = [
      () => [0x0f, 0x0b],
      () => [0x31, 0xc9, 0xf7, 0xf1],
      () => [0x48, 0xb8, ...le(0x8000_0000_0000n + BigInt(random.below(3)), 8), 0x8b, 0x08],
      () => [0xc6, 0x04, 0x25, ...le(READ_ONLY + random.below(4096), 4), 1],
      () => [0xa1, ...le(UNMAPPED + random.below(4096) - 3, 8)],
      () => [0x48, 0x8d, 0x05, 0, 0, 0, 0, 0x48, 0x2d, ...le(random.below(0x4000_0000), 4), 0xff, 0xe0],
      () => [0xb8, ...le(DATA + 0x100, 4), 0xff, 0xd0],
      () => [0xcc],
      () => [0xf1],
      () => [0xf4],
      () => [0x0f, 0x28, 0x45, random.below(128) | 1],
      () => Array.from({ length: 3 }, () => random.below(256)),
      () => [0x0f, 0x32],
    ];
    this.#guarded({ bytes: random.pick(kinds)(), fixes: [] });
  }

  #system(): void {
    const random = this.random;
    const setFlags = (mask: number): number[] => [0x9c, 0x81, 0x0c, 0x24, ...le(mask, 4), 0x9d];
    const clearFlags = (mask: number): number[] => [0x9c, 0x81, 0x24, 0x24, ...le(~mask, 4), 0x9d];
    const kinds: (() => number[])[] = [
      () => [0x0f, 0x05],
      () => [0xcd, INT_RETURN],
      () => [0xcd, INT_PROMOTE],
      () => setFlags(0x100),
      () => setFlags(0x4_0000),
      () => clearFlags(0x4_0100),
      () => [0x0f, 0xa2],
      () => [0x0f, 0x31],
      () => [0x9c, 0x58, 0x35, ...le(random.word() & 0xcd5, 4), 0x50, 0x9d],
      () => [0xc8, random.below(64), 0, random.below(3), 0xc9],
      () => [0x0f, 0x20, 0xc0, 0x48, 0x83, 0xf0, 8, 0x0f, 0x22, 0xc0],
      () => [0x0f, 0x20, 0xc0, 0x48, 0x35, 0, 0, 1, 0, 0x0f, 0x22, 0xc0],
      () => [0x0f, 0x06],
    ];
    if (random.chance(20)) this.#row(random.pick(system));
    else this.#guarded({ bytes: random.pick(kinds)(), fixes: [] });
  }
}

/** A changed entry for a page that programs can live without. */
export function makeEntry(random: Random): { vaddr: number; entry: bigint } {
  const flags = random.pick([0x67, 0x67, 0x67, 0x27, 0x65, 0x66, 0x63, 0x07]);
  if (random.chance(60)) return { vaddr: WINDOW, entry: BigInt(random.pick(WINDOW_FRAMES) | flags) };
  if (random.chance(50)) return { vaddr: DATA_ALIAS + 4096 * random.below(4), entry: BigInt((DATA + 4096 * random.below(4)) | flags) };
  return { vaddr: CODE + 0x3000, entry: BigInt(random.pick([CODE + 0x3000, OTHER_CODE]) | 0x67) };
}
