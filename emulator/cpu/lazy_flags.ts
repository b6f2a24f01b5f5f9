/**
 * The arithmetic flags as a region keeps them: three locals that say how they follow from the last operation, computed
 * only when something asks. Where the operation is known at translation time a condition is one comparison. What no such
 * operation describes goes to memory (memory_flags.ts) and is described as lying there.
 */
import { type FlagsEmitter, type Push, signExtend } from './flags_emitter.ts';
import type { FlagKind } from './ir.ts';
import { FLAG_AUX, FLAG_RESULT, LEFT_FLAGS } from './layout.ts';
import { MemoryFlags, withCarry } from './memory_flags.ts';
import type { Size } from './shape.ts';
import { FunctionBody, type Signature } from './wasm_writer.ts';

/**
 * Kinds in the `kind` local, above log2 of the size. MEMORY: the flags lie in memory. ADD, SUB: the operands are in `a`
 * and `b`. LOGIC: the result is in `a`. FROM: the result is in `a`, CF and twice OF in `b`. INC, DEC: the result is in
 * `a`; CF is that of an older operation, which three more locals describe.
 */
const MEMORY = 0,
  ADD = 1,
  SUB = 2,
  LOGIC = 3,
  FROM = 4,
  INC = 5,
  DEC = 6;
const kindNumbers: Partial<Record<FlagKind, number>> = { add: ADD, sub: SUB, logic: LOGIC, inc: INC, dec: DEC };

const code = (kind: number, size: Size): number => (kind << 2) | (31 - Math.clz32(size));
/** Operations below are described by themselves. */
const FIRST_STEP = code(INC, 1);

/** The last operation as the `kind` local has it, where translation knows it. */
export type KnownFlags = number;
const UNKNOWN_FLAGS: KnownFlags = -1;
/** How many there are beside that. */
export const KNOWN_FLAGS = (DEC + 1) << 2;
const kindOf = (known: KnownFlags): number => known >> 2;

/** (kind, a, b) -> auxiliary word; without CF for INC and DEC. */
const FLAG_AUX_SIGNATURE: Signature = { params: ['i32', 'i64', 'i64'], results: ['i32'] };
/** (kind, a, b, and those of the older operation) -> nothing: memory holds the flags. */
export const SAVE_FLAGS_SIGNATURE: Signature = { params: ['i32', 'i64', 'i64', 'i32', 'i64', 'i64'], results: [] };

/** Pushes how many bits the operation of a `kind` local has. */
function pushBits(f: FunctionBody, kind: number): FunctionBody {
  return f.i64(8n).get(kind).i32(3).op('i32.and').op('i64.extend_i32_u').op('i64.shl');
}

/** What `kind` stands for, as FLAG_AUX has it. */
export function flagAuxFunction(): FunctionBody {
  const f = new FunctionBody(FLAG_AUX_SIGNATURE);
  const kind = 0,
    a = 1,
    b = 2;
  const first = f.local('i64');
  const second = f.local('i64');
  const result = f.local('i64');
  const carries = f.local('i64');
  const operation = f.local('i32');
  const is = (value: number): FunctionBody => f.get(operation).i32(value).op('i32.eq');
  f.get(kind).i32(2).op('i32.shr_u').tee(operation).op('i32.eqz').if().i32(0).mem('i32.load', FLAG_AUX).return().end();
  is(LOGIC).if().i32(0).return().end();
  is(FROM).if();
  f.get(b).op('i32.wrap_i64').i32(31).op('i32.shl');
  f.get(b).get(b).i64(1n).op('i64.shr_u').op('i64.xor').op('i32.wrap_i64').i32(1).op('i32.and').i32(30).op('i32.shl');
  f.op('i32.or').return().end();
  f.get(a).set(first).get(b).set(second);
  is(ADD).if().get(a).get(b).op('i64.add').set(result).end();
  is(SUB).if().get(a).get(b).op('i64.sub').set(result).end();
  is(INC).if().get(a).tee(result).i64(1n).tee(second).op('i64.sub').set(first).end();
  is(DEC).if().get(a).tee(result).i64(1n).tee(second).op('i64.add').set(first).end();
  is(ADD);
  is(INC).op('i32.or').if();
  sumCarries(f, first, second, result).set(carries);
  f.else();
  differenceCarries(f, first, second, result).set(carries);
  f.end();
  pushBits(f, kind).set(result);
  return topCarries(f, carries, result);
}

/** `auxFunction`: index of the function above in the same module. */
export function saveFlagsFunction(auxFunction: number): FunctionBody {
  const f = new FunctionBody(SAVE_FLAGS_SIGNATURE);
  const kind = 0,
    a = 1,
    b = 2;
  const word = f.local('i32');
  const cf = f.local('i32');
  const of = f.local('i32');
  const operation = f.local('i32');
  const shift = f.local('i64');
  f.get(kind).i32(2).op('i32.shr_u').tee(operation).op('i32.eqz').if().return().end();
  f.get(kind).get(a).get(b).call(auxFunction).set(word);
  f.get(kind).i32(FIRST_STEP).op('i32.ge_u').if();
  f.get(3).get(4).get(5).call(auxFunction).i32(31).op('i32.shr_u').set(cf);
  f.get(word).get(word).i32(1).op('i32.shl').op('i32.xor').i32(31).op('i32.shr_u').set(of);
  withCarry(f, () => f.get(word), cf, of)
    .set(word)
    .end();
  f.i32(0).get(word).mem('i32.store', FLAG_AUX);
  f.i64(64n);
  pushBits(f, kind).op('i64.sub').set(shift);
  f.i32(0).get(a);
  f.get(operation).i32(ADD).op('i32.eq').if('i64').get(b).else();
  f.i64(0n).get(b).op('i64.sub').i64(0n).get(operation).i32(SUB).op('i32.eq').select().end();
  f.op('i64.add').get(shift).op('i64.shl').get(shift).op('i64.shr_s');
  return f.mem('i64.store', FLAG_RESULT);
}

/**
 * () -> nothing: puts the flags that a region has left, if it has, where flags lie; those of the usual operations without a
 * call. `saveFunction`: index of the function above in the same module.
 */
export function saveLeftFlagsFunction(saveFunction: number): FunctionBody {
  const f = new FunctionBody({ params: [], results: [] });
  const kind = f.local('i32');
  const operation = f.local('i32');
  const size = f.local('i64');
  const a = f.local('i64');
  const b = f.local('i64');
  const result = f.local('i64');
  const carries = f.local('i64');
  const is = (value: number): FunctionBody => f.get(operation).i32(value).op('i32.eq');
  const load = (i: number, ty: 'i32' | 'i64'): FunctionBody => f.i32(0).mem(`${ty}.load`, LEFT_FLAGS + 8 * i);
  load(0, 'i32').tee(kind).i32(2).op('i32.shr_u').tee(operation).op('i32.eqz').if().return().end();
  f.i32(0).i32(MEMORY).mem('i32.store', LEFT_FLAGS);
  load(1, 'i64').tee(a).set(result);
  load(2, 'i64').set(b);
  is(SUB).if();
  f.get(a).get(b).op('i64.sub').set(result);
  differenceCarries(f, a, b, result).set(carries);
  f.else();
  is(ADD).if();
  f.get(a).get(b).op('i64.add').set(result);
  sumCarries(f, a, b, result).set(carries);
  f.else();
  is(LOGIC).op('i32.eqz').if();
  f.get(kind).get(a).get(b);
  load(3, 'i32');
  load(4, 'i64');
  load(5, 'i64').call(saveFunction).return();
  f.end().end().end();
  pushBits(f, kind).set(size);
  f.i32(0);
  topCarries(f, carries, size);
  f.mem('i32.store', FLAG_AUX);
  f.i64(64n).get(size).op('i64.sub').set(size);
  f.i32(0).get(result).get(size).op('i64.shl').get(size).op('i64.shr_s');
  return f.mem('i64.store', FLAG_RESULT);
}

/** Pushes the carries out of each bit of a + b, and the borrows of a - b. */
function sumCarries(f: FunctionBody, a: number, b: number, sum: number): FunctionBody {
  f.get(a).get(b).op('i64.and').get(a).get(b).op('i64.or').get(sum).i64(-1n).op('i64.xor');
  return f.op('i64.and').op('i64.or');
}

function differenceCarries(f: FunctionBody, a: number, b: number, difference: number): FunctionBody {
  f.get(a).i64(-1n).op('i64.xor').get(b).op('i64.and').get(a).get(b).op('i64.xor').i64(-1n).op('i64.xor').get(difference);
  return f.op('i64.and').op('i64.or');
}

/** Pushes the auxiliary word of an operation's carries: the two top ones to bits 31 and 30, that of bit 3 stays. `size` in bits. */
function topCarries(f: FunctionBody, carries: number, size: number): FunctionBody {
  f.get(carries).get(size).i64(2n).op('i64.sub').op('i64.shr_u').op('i32.wrap_i64').i32(30).op('i32.shl');
  return f.get(carries).op('i32.wrap_i64').i32(8).op('i32.and').op('i32.or');
}

/** An operation as three locals. */
interface Operation {
  readonly kind: number;
  readonly a: number;
  readonly b: number;
}

export class LazyFlags implements FlagsEmitter {
  readonly #f: FunctionBody;
  readonly #saveImport: number;
  readonly #memory: MemoryFlags;
  readonly #last: Operation;
  /** Before the last INC and DEC; only meaningful when the last is one. */
  readonly #older: Operation;
  #known: KnownFlags = UNKNOWN_FLAGS;
  /** Whether `known` has made a difference, and whether it has been set. */
  wasAsked = false;
  hasChanged = false;
  /** Whether the last operation has ever been an INC or DEC. */
  hasSteps = false;

  constructor(f: FunctionBody, saveImport: number) {
    this.#f = f;
    this.#saveImport = saveImport;
    this.#memory = new MemoryFlags(f);
    this.#last = { kind: f.local('i32'), a: f.local('i64'), b: f.local('i64') };
    this.#older = { kind: f.local('i32'), a: f.local('i64'), b: f.local('i64') };
  }

  get known(): KnownFlags {
    this.wasAsked = true;
    return this.#known;
  }
  set known(known: KnownFlags) {
    this.hasChanged = true;
    this.#known = known;
  }

  /** Where the operands of ADD and SUB go. */
  get operands(): { readonly a: number; readonly b: number } {
    return this.#last;
  }

  /** Takes over what another region has left, which is no INC or DEC. */
  enter(): void {
    const f = this.#f;
    const { kind, a, b } = this.#last;
    f.i32(0).mem('i32.load', LEFT_FLAGS).set(kind);
    f.i32(0)
      .mem('i64.load', LEFT_FLAGS + 8)
      .set(a);
    f.i32(0)
      .mem('i64.load', LEFT_FLAGS + 16)
      .set(b);
  }

  /** Pushes whether the last operation is an INC or DEC. */
  isStep(): FunctionBody {
    return this.#f.get(this.#last.kind).i32(FIRST_STEP).op('i32.ge_u');
  }

  /** Leaves them for what runs next; `hasSteps`: the last operation may be an INC or DEC. */
  leave(hasSteps: boolean): void {
    const f = this.#f;
    const { kind, a, b } = this.#last;
    f.i32(0).get(kind).mem('i32.store', LEFT_FLAGS);
    f.i32(0)
      .get(a)
      .mem('i64.store', LEFT_FLAGS + 8);
    f.i32(0)
      .get(b)
      .mem('i64.store', LEFT_FLAGS + 16);
    if (!hasSteps) return;
    const older = this.#older;
    f.i32(0)
      .get(older.kind)
      .mem('i32.store', LEFT_FLAGS + 24);
    f.i32(0)
      .get(older.a)
      .mem('i64.store', LEFT_FLAGS + 32);
    f.i32(0)
      .get(older.b)
      .mem('i64.store', LEFT_FLAGS + 40);
  }

  /** Puts the flags back into memory. */
  save(): void {
    const f = this.#f;
    for (const { kind, a, b } of [this.#last, this.#older]) f.get(kind).get(a).get(b);
    f.call(this.#saveImport);
  }

  /** As `save`; they are found there from now on. */
  toMemory(): void {
    if (this.known >= 0 && kindOf(this.known) === MEMORY) return;
    this.save();
    this.inMemory();
  }

  /** Something has just put them into memory. */
  inMemory(): void {
    this.#note(MEMORY, 1);
  }

  /** Control flow joins: what was known may not hold. */
  forget(): void {
    this.known = UNKNOWN_FLAGS;
  }

  #note(kind: number, size: Size): void {
    this.known = code(kind, size);
    this.#f.i32(code(kind, size)).set(this.#last.kind);
  }

  set(kind: FlagKind, size: Size, result: Push, a: Push, b: Push): void {
    const f = this.#f;
    const number = kindNumbers[kind];
    const last = this.#last;
    if (number === undefined) {
      // The carry that went in is not kept.
      this.#memory.set(kind, size, result, a, b);
      this.inMemory();
    } else if (number === ADD || number === SUB) {
      b.push();
      f.set(last.b);
      a.push();
      f.set(last.a);
      this.#note(number, size);
    } else {
      if (number >= INC) {
        this.hasSteps = true;
        this.#keepCarry();
      }
      result.push();
      signExtend(f, size).set(last.a);
      this.#note(number, size);
    }
  }

  /** The last operation becomes the older one, unless it is itself an INC or DEC. */
  #keepCarry(): void {
    const f = this.#f;
    const known = this.known;
    if (known >= FIRST_STEP) return;
    for (const field of ['a', 'b', 'kind'] as const) {
      if (known >= 0) f.get(this.#last[field]);
      else f.get(this.#older[field]).get(this.#last[field]).get(this.#last.kind).i32(FIRST_STEP).op('i32.ge_u').select();
      f.set(this.#older[field]);
    }
  }

  setFrom(size: Size, result: Push, cf: Push, of: Push): void {
    const f = this.#f;
    of.push().i32(1).op('i32.shl');
    cf.push().op('i32.or').op('i64.extend_i32_u').set(this.#last.b);
    result.push();
    signExtend(f, size).set(this.#last.a);
    this.#note(FROM, size);
  }

  setCarry(cf: Push, of: Push | undefined): void {
    this.toMemory();
    this.#memory.setCarry(cf, of);
  }

  setImage(image: Push): void {
    this.#memory.setImage(image);
    this.inMemory();
  }

  image(): void {
    this.toMemory();
    this.#memory.image();
  }

  cond(cc: number): void {
    const f = this.#f;
    if (!this.#knownCond(cc & ~1)) {
      this.toMemory();
      this.#memory.cond(cc & ~1);
    }
    if (cc & 1) f.op('i32.eqz');
  }

  /** Pushes an even condition when the last operation gives it cheaply. */
  #knownCond(cc: number): boolean {
    const f = this.#f;
    const known = this.known;
    const kind = kindOf(known);
    if (known < 0 || kind === MEMORY) return false;
    const size = (1 << (known & 3)) as Size;
    const { a, b } = this.#last;
    const signed = (local: number): FunctionBody => signExtend(f.get(local), size);
    const pushResult = (): FunctionBody => {
      f.get(a);
      if (kind > SUB) return f;
      f.get(b).op(kind === ADD ? 'i64.add' : 'i64.sub');
      return signExtend(f, size);
    };
    switch (cc >> 1) {
      case 2:
        if (kind === SUB) f.get(a).get(b).op('i64.eq');
        else pushResult().op('i64.eqz');
        return true;
      case 4:
        pushResult().i64(0n).op('i64.lt_s');
        return true;
      case 5:
        pushResult().op('i32.wrap_i64').i32(0xff).op('i32.and').op('i32.popcnt').i32(1).op('i32.and').op('i32.eqz');
        return true;
      default:
    }
    if (kind === SUB) {
      switch (cc >> 1) {
        case 1:
          f.get(a).get(b).op('i64.lt_u');
          return true;
        case 3:
          f.get(a).get(b).op('i64.le_u');
          return true;
        case 6:
          signed(a);
          signed(b).op('i64.lt_s');
          return true;
        case 7:
          signed(a);
          signed(b).op('i64.le_s');
          return true;
        default:
          return false;
      }
    }
    if (kind === ADD && cc >> 1 === 1) {
      // Operands are zero-extended; a carry out makes the cut sum smaller than either.
      if (size === 8) f.get(a).get(b).op('i64.add').get(a).op('i64.lt_u');
      else
        f.get(a)
          .get(b)
          .op('i64.add')
          .i64((1n << BigInt(size * 8)) - 1n)
          .op('i64.gt_u');
      return true;
    }
    if (kind === LOGIC) {
      switch (cc >> 1) {
        case 0:
        case 1:
          f.i32(0);
          return true;
        case 3:
          f.get(a).op('i64.eqz');
          return true;
        case 6:
          f.get(a).i64(0n).op('i64.lt_s');
          return true;
        default:
          f.get(a).i64(0n).op('i64.le_s');
          return true;
      }
    }
    if (kind === FROM && cc >> 1 <= 1) {
      f.get(b).op('i32.wrap_i64');
      if (cc >> 1 === 0) f.i32(1).op('i32.shr_u');
      else f.i32(1).op('i32.and');
      return true;
    }
    return false;
  }
}
