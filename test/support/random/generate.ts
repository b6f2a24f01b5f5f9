/**
 * Random programs for the world of world.ts: blocks of pieces (pieces.ts), loops, branches and calls. A program stays a program
 * when pieces and blocks are taken out of it (shrink.ts). Both engines must do alike whatever it does.
 */
import { R14, RBP, RBX, RCX, RSI, RSP } from '../../../emulator/cpu/interface.ts';
import { interestingNumber, le, Random, type Target } from './encode.ts';
import { FREE, makeEntry, PieceWriter } from './pieces.ts';
import { type Action, type Block, type Phase, type Piece, type Program, TARGETS } from './program.ts';
import { DATA, DATA_ALIAS, HIGH, LARGE, ROOTS, type Setting, STACK, STACK_SIZE, WINDOW } from './world.ts';

/** Loop counters by depth. */
const COUNTERS = [15, 13, 12];

/** The program as blocks. */
class Generator extends PieceWriter {
  generate(): { blocks: Block[]; targets: Target[]; pieces: Piece[] } {
    const random = this.random;
    this.open();
    this.#prologue();
    this.#sequence(0, 3 + random.below(5));
    this.branch([0xe9], { label: 1000, add: 0 });
    const functions = 1 + random.below(3);
    const callees: number[] = [];
    for (let i = 0; i < functions; i++) callees.push(this.#function());
    const pieces = this.blocks.flatMap((block) => block.pieces);
    for (const settle of this.pending) settle(pieces);
    for (const call of this.#calls) call(callees);
    const jumps = this.blocks.map((block) => block.label).slice(1);
    const targets = Array.from({ length: 8 }, (_, i): Target => ({ label: random.pick(i < 4 ? callees : jumps), add: 0 }));
    return { blocks: this.blocks, targets, pieces };
  }

  readonly #calls: ((callees: number[]) => void)[] = [];

  /** Every round begins with pointers that mean something. */
  #prologue(): void {
    const random = this.random;
    const moveTo = (register: number, value: number | bigint): void =>
      this.bytes(0x48 | (register >> 3), 0xb8 | (register & 7), ...le(value, 8));
    moveTo(RSP, STACK + STACK_SIZE - 0x100 - 8 * random.below(8));
    const near = this.near;
    moveTo(RBP, DATA + near);
    const alias = random.pick([BigInt(DATA_ALIAS), BigInt(DATA_ALIAS), HIGH + BigInt(DATA), BigInt(LARGE + DATA), BigInt(DATA)]);
    moveTo(RBX, alias + BigInt(near + random.pick([0, 0, 1, 8, 0x1000])));
    moveTo(R14, WINDOW + random.pick([0, 0x100, 0xff8, 0xffc]));
    if (random.chance(30)) this.bytes(0xfc);
  }

  #function(): number {
    const random = this.random;
    const { label } = this.open();
    this.straight(1 + random.below(5));
    if (random.chance(30)) {
      // Recursion: and r11d, 7; dec r11d; js out; call itself
      this.bytes(0x41, 0x83, 0xe3, 7);
      this.bytes(0x41, 0xff, 0xcb);
      this.branch([0x0f, 0x88], { label: this.nextLabel(), add: 0 });
      this.branch([0xe8], { label, add: 0 });
      this.open();
      this.straight(random.below(3));
    }
    if (random.chance(3))
      this.bytes(0xc2, 8, 0); // RET 8: the caller's stack is wrong afterwards
    else if (random.chance(10))
      this.bytes(0x59, 0xff, 0xe1); // POP RCX; JMP RCX
    else this.bytes(0xc3);
    return label;
  }

  /** Blocks in a row, which may hold loops and branches. */
  #sequence(depth: number, count: number): void {
    const random = this.random;
    for (let i = 0; i < count; i++) {
      const kind = random.below(10);
      if (kind < 3 && depth < COUNTERS.length) this.#loop(depth);
      else if (kind < 5) this.#condition(depth);
      else if (kind < 7) {
        this.#call();
        this.open();
        this.straight(1 + random.below(5));
      } else if (kind === 7) this.#jumpTable();
      else {
        this.straight(2 + random.below(8));
        this.open();
      }
    }
  }

  #loop(depth: number): void {
    const random = this.random;
    const counter = COUNTERS[depth]!;
    this.bytes(0x41, 0xb8 | (counter & 7), ...le(2 + random.below(depth === 0 ? 30 : 8), 4));
    const { label } = this.open();
    this.straight(1 + random.below(6));
    if (random.chance(60)) this.#sequence(depth + 1, 1 + random.below(2));
    if (random.chance(20)) this.conditional({ label: this.nextLabel(), add: 0 });
    if (random.chance(25)) {
      // LEA counter, [counter - 1]; the flags stay what they were: MOV RCX, counter; JRCXZ over JMP
      this.add({ bytes: [0x4d, 0x8d, 0x40 | ((counter & 7) * 9), 0xff, 0x4c, 0x89, 0xc1 | ((counter & 7) << 3)], fixes: [] });
      this.bytes(0xe3, 5);
      this.branch([0xe9], { label, add: 0 });
    } else {
      this.bytes(0x41, 0xff, 0xc8 | (counter & 7));
      this.branch([0x0f, 0x85], { label, add: 0 });
    }
    this.open();
  }

  #condition(depth: number): void {
    const random = this.random;
    const skip = this.nextLabel() + 1000 * random.below(2);
    this.straight(random.below(3));
    this.conditional({ label: skip, add: 0 });
    this.open();
    if (random.chance(30)) this.#sequence(depth, 1);
    else this.straight(1 + random.below(4));
    this.open();
    this.straight(random.below(4));
  }

  #call(): void {
    const random = this.random;
    const piece = random.chance(70)
      ? this.branch([0xe8], { label: 0, add: 0 })
      : // AND ECX, 3; CALL [RCX*8 + TARGETS]
        this.add({ bytes: [0x83, 0xe1, 3, 0xff, 0x14, 0xcd, ...le(TARGETS, 4)], fixes: [] });
    this.#calls.push((callees) => {
      for (const fix of piece.fixes) fix.to = { label: random.pick(callees), add: 0 };
    });
  }

  #jumpTable(): void {
    const random = this.random;
    const index = random.pick([RCX, 2, RSI]);
    this.bytes(0x83, 0xe0 | index, random.pick([1, 3])); // AND
    if (random.chance(50)) {
      // LEA RAX, [RIP + blocks]: JMP by a computed address
      const to = { label: this.nextLabel(), add: 0 };
      this.add({ bytes: [0x48, 0x8d, 0x05, 0, 0, 0, 0], fixes: [{ at: 3, size: 4, from: 7, to }] });
      this.bytes(...(random.chance(50) ? [0xff, 0xe0] : [0x50, 0xc3])); // JMP RAX, or PUSH RAX; RET
    } else {
      const at = DATA + 0x3f00 + 16 * random.below(4);
      // The table is filled here, so that its targets lie ahead.
      for (const entry of [0, 1])
        this.add({
          bytes: [0x48, 0xc7, 0x04, 0x25, ...le(at + 8 * entry, 4), 0, 0, 0, 0],
          fixes: [{ at: 8, size: 4, to: { label: this.nextLabel() + 1000 * entry, add: 0 } }],
        });
      this.bytes(0x83, 0xe0 | index, 1);
      this.bytes(0xff, 0x24, 0xc5 | (index << 3), ...le(at, 4)); // JMP [index*8 + table]
    }
    for (let i = 0; i < 2; i++) {
      this.open();
      this.straight(1 + random.below(3));
    }
  }
}

function makeAction(random: Random, blocks: Block[], pieces: Piece[]): Action {
  const block = (): Target => ({ label: random.pick(blocks).label, add: 0 });
  const victims = pieces.filter((piece) => piece.mutable.length > 0);
  const kinds: (() => Action)[] = [
    () => {
      if (victims.length === 0) return { kind: 'flush' };
      const victim = random.pick(victims);
      const { at, values } = random.pick(victim.mutable);
      return { kind: 'patch', target: { label: victim.label, add: at }, value: values ? random.pick(values) : random.below(256) };
    },
    () => ({ kind: 'entry', root: random.pick(ROOTS), ...makeEntry(random) }),
    () => ({ kind: 'root', root: random.pick(ROOTS) }),
    () => ({ kind: 'context' }),
    () => ({ kind: 'snapshot' }),
    () => ({ kind: 'switch' }),
    () => ({ kind: 'interrupt' }),
    () => ({ kind: 'flags', set: random.pick([0x100, 0x4_0000, 0x400, 0x8d5]) }),
    () => ({ kind: 'register', index: random.pick(FREE), value: interestingNumber(random, 8) }),
    () => ({ kind: 'jump', target: block() }),
    () => ({ kind: 'watch', target: random.chance(50) ? block() : DATA + 0x800 + 8 * random.below(16), isData: random.chance(50) }),
    () => ({ kind: 'flush' }),
  ];
  return random.pick(kinds)();
}

export function makeProgram(seed: number): Program {
  const random = new Random(seed);
  const setting: Setting = {
    cpl: random.chance(50) ? 3 : 0,
    hasIdt: random.chance(60),
    alignmentMask: random.chance(20),
    writeProtect: random.chance(80),
  };
  const { blocks, targets, pieces } = new Generator(random, setting).generate();
  const phases: Phase[] = [];
  // Warm up in one go; then cuts of all kinds while it is hot.
  phases.push({ count: 1500 + random.below(4000), cut: 100_000 });
  for (let i = 2 + random.below(5); i > 0; i--) {
    const cut = random.pick([1, 3, 9, 30, 100, 1000, 100_000]);
    const count = cut === 1 ? 50 + random.below(200) : 200 + random.below(1200);
    phases.push({ count, cut, ...(random.chance(50) ? { action: makeAction(random, blocks, pieces) } : {}) });
  }
  return {
    seed,
    setting,
    hotness: random.pick([20, 50, 150]),
    gpr: Array.from({ length: 16 }, () => interestingNumber(random, 8)),
    xmm: Uint8Array.from({ length: 256 }, () => (random.chance(30) ? 0 : random.below(256))),
    blocks,
    targets,
    phases,
  };
}
