/**
 * The arithmetic flags as a region keeps them: in four locals that say how they follow from the last operation, computed
 * only when something asks. Where the operation is known at translation time a condition is one comparison.
 */
import { ZF } from './flags.ts';
import { type FlagsEmitter, type Push, signExtend } from './flags_emitter.ts';
import type { FlagKind } from './ir.ts';
import { FLAG_AUX, FLAG_RESULT } from './layout.ts';
import { auxOfImage, FlagReader, withCarry } from './memory_flags.ts';
import type { Size } from './shape.ts';
import { FunctionBody, type Signature } from './wasm_writer.ts';

/**
 * Kinds in the `kind` local, above log2 of the size: AUX holds the auxiliary word in `a`; ADD and SUB the operands;
 * LOGIC nothing; INC and DEC the operand in `a` and the old CF in `b`; FROM has CF in `a` and OF in `b`.
 */
const AUX = 0,
  ADD = 1,
  SUB = 2,
  LOGIC = 3,
  INC = 4,
  DEC = 5,
  FROM = 6;
const kindNumbers: Record<FlagKind, number> = { add: ADD, sub: SUB, logic: LOGIC, inc: INC, dec: DEC };

const code = (kind: number, size: Size): number => (kind << 2) | (31 - Math.clz32(size));

/** (kind, result, a, b) -> auxiliary word. */
export const FLAG_AUX_SIGNATURE: Signature = { params: ['i32', 'i64', 'i64', 'i64'], results: ['i32'] };

/** The function behind the import: what `kind` stands for, as FLAG_AUX has it. */
export function flagAuxFunction(): FunctionBody {
  const f = new FunctionBody(FLAG_AUX_SIGNATURE);
  const kind = 0,
    result = 1,
    a = 2,
    b = 3;
  const operation = f.local('i32');
  const carries = f.local('i64');
  const word = f.local('i32');
  const is = (value: number): FunctionBody => f.get(operation).i32(value).op('i32.eq');
  const not = (): FunctionBody => f.i64(-1n).op('i64.xor');
  f.get(kind).i32(2).op('i32.shr_u').tee(operation).op('i32.eqz').if().get(a).op('i32.wrap_i64').return().end();
  is(LOGIC).if().i32(0).return().end();
  is(FROM).if();
  f.get(a).op('i32.wrap_i64').i32(31).op('i32.shl');
  f.get(a).get(b).op('i64.xor').op('i32.wrap_i64').i32(30).op('i32.shl').op('i32.or').return().end();
  // INC and DEC are additions and subtractions of 1 that keep CF.
  const second = f.local('i64');
  f.i64(1n).get(b).get(operation).i32(INC).op('i32.ge_u').select().set(second);
  is(ADD);
  is(INC).op('i32.or').if();
  f.get(a).get(second).op('i64.and').get(a).get(second).op('i64.or').get(result);
  not().op('i64.and').op('i64.or').set(carries);
  f.else();
  f.get(a);
  not().get(second).op('i64.and').get(a).get(second).op('i64.xor');
  not().get(result).op('i64.and').op('i64.or').set(carries);
  f.end();
  // The two top carries to bits 31 and 30, that of bit 3 stays.
  f.get(carries)
    .i64(8n)
    .get(kind)
    .i32(3)
    .op('i32.and')
    .op('i64.extend_i32_u')
    .op('i64.shl')
    .i64(2n)
    .op('i64.sub')
    .op('i64.shr_u')
    .op('i32.wrap_i64')
    .i32(30)
    .op('i32.shl');
  f.get(carries).op('i32.wrap_i64').i32(8).op('i32.and').op('i32.or').tee(word);
  f.get(operation).i32(INC).op('i32.lt_u').if().get(word).return().end().drop();
  const cf = f.local('i32');
  const of = f.local('i32');
  f.get(b).op('i32.wrap_i64').set(cf);
  f.get(word).get(word).i32(1).op('i32.shl').op('i32.xor').i32(31).op('i32.shr_u').set(of);
  return withCarry(f, () => f.get(word), cf, of);
}

export class LazyFlags implements FlagsEmitter {
  readonly #f: FunctionBody;
  readonly #auxImport: number;
  readonly #kind: number;
  readonly #result: number;
  readonly #a: number;
  readonly #b: number;
  /** The last operation, where translation knows it. */
  #known: { kind: number; size: Size } | undefined;
  isChanged = false;

  constructor(f: FunctionBody, auxImport: number) {
    this.#f = f;
    this.#auxImport = auxImport;
    this.#kind = f.local('i32');
    this.#result = f.local('i64');
    this.#a = f.local('i64');
    this.#b = f.local('i64');
  }

  /** Takes the flags over from memory. */
  load(): void {
    const f = this.#f;
    f.i32(0).mem('i64.load', FLAG_RESULT).set(this.#result);
    f.i32(0).mem('i32.load', FLAG_AUX).op('i64.extend_i32_u').set(this.#a);
    f.i32(code(AUX, 1)).set(this.#kind);
  }

  /** Puts them back into memory. */
  spill(): void {
    const f = this.#f;
    f.i32(0).get(this.#result).mem('i64.store', FLAG_RESULT);
    f.i32(0);
    this.#dynamicAux();
    f.mem('i32.store', FLAG_AUX);
  }

  /** Control flow joins: what was known may not hold. */
  forget(): void {
    this.#known = undefined;
  }

  #dynamicAux(): FunctionBody {
    return this.#f.get(this.#kind).get(this.#result).get(this.#a).get(this.#b).call(this.#auxImport);
  }

  #note(kind: number, size: Size): void {
    this.#known = { kind, size };
    this.isChanged = true;
    this.#f.i32(code(kind, size)).set(this.#kind);
  }

  set(kind: FlagKind, size: Size, result: Push, a: Push, b: Push): void {
    const f = this.#f;
    if (kind === 'inc' || kind === 'dec') {
      this.cond(2);
      f.op('i64.extend_i32_u').set(this.#b);
    } else if (kind !== 'logic') {
      b.push();
      f.set(this.#b);
    }
    if (kind !== 'logic') {
      a.push();
      f.set(this.#a);
    }
    result.push();
    signExtend(f, size).set(this.#result);
    this.#note(kindNumbers[kind], size);
  }

  setFrom(size: Size, result: Push, cf: Push, of: Push): void {
    const f = this.#f;
    cf.push().op('i64.extend_i32_u').set(this.#a);
    of.push().op('i64.extend_i32_u').set(this.#b);
    result.push();
    signExtend(f, size).set(this.#result);
    this.#note(FROM, size);
  }

  setCarry(cf: Push, of: Push | undefined): void {
    const f = this.#f;
    const carry = f.local('i32');
    const overflow = f.local('i32');
    const aux = f.local('i32');
    cf.push().set(carry);
    this.#dynamicAux().set(aux);
    if (of) of.push();
    else f.get(aux).get(aux).i32(1).op('i32.shl').op('i32.xor').i32(31).op('i32.shr_u');
    f.set(overflow);
    withCarry(f, () => f.get(aux), carry, overflow)
      .op('i64.extend_i32_u')
      .set(this.#a);
    this.#note(AUX, 1);
  }

  setImage(image: Push): void {
    const f = this.#f;
    const word = f.local('i32');
    image.push().op('i32.wrap_i64').set(word);
    f.i64(0n).i64(0x100n).get(word).i32(ZF).op('i32.and').select().set(this.#result);
    auxOfImage(f, word).op('i64.extend_i32_u').set(this.#a);
    this.#note(AUX, 1);
  }

  #reader(): FlagReader {
    const f = this.#f;
    const aux = f.local('i32');
    this.#dynamicAux().set(aux);
    return new FlagReader(
      f,
      () => f.get(this.#result),
      () => f.get(aux),
    );
  }

  image(): void {
    this.#reader().image();
  }

  cond(cc: number): void {
    const f = this.#f;
    if (!this.#knownCond(cc & ~1)) {
      if (cc >> 1 === 2) f.get(this.#result).op('i64.eqz');
      else this.#reader().cond(cc & ~1);
    }
    if (cc & 1) f.op('i32.eqz');
  }

  /** Pushes an even condition when the last operation gives it cheaply. */
  #knownCond(cc: number): boolean {
    const f = this.#f;
    const known = this.#known;
    if (!known || known.kind === AUX) return false;
    const { kind, size } = known;
    const pushSign = (): FunctionBody => f.get(this.#result).i64(0n).op('i64.lt_s');
    const pushZero = (): FunctionBody => f.get(this.#result).op('i64.eqz');
    const signed = (local: number): void => {
      signExtend(f.get(local), size);
    };
    switch (cc >> 1) {
      case 2:
        pushZero();
        return true;
      case 4:
        pushSign();
        return true;
      case 5:
        f.get(this.#result).op('i32.wrap_i64').i32(0xff).op('i32.and').op('i32.popcnt').i32(1).op('i32.and').op('i32.eqz');
        return true;
      default:
    }
    if (kind === SUB) {
      switch (cc >> 1) {
        case 1:
          f.get(this.#a).get(this.#b).op('i64.lt_u');
          return true;
        case 3:
          f.get(this.#a).get(this.#b).op('i64.le_u');
          return true;
        case 6:
          signed(this.#a);
          signed(this.#b);
          f.op('i64.lt_s');
          return true;
        case 7:
          signed(this.#a);
          signed(this.#b);
          f.op('i64.le_s');
          return true;
        default:
          return false;
      }
    }
    if (kind === LOGIC) {
      switch (cc >> 1) {
        case 0:
        case 1:
          f.i32(0);
          return true;
        case 3:
          pushZero();
          return true;
        case 6:
          pushSign();
          return true;
        default:
          f.get(this.#result).i64(0n).op('i64.le_s');
          return true;
      }
    }
    if ((kind === INC || kind === DEC) && cc >> 1 === 1) {
      f.get(this.#b).op('i32.wrap_i64');
      return true;
    }
    if (kind === FROM && cc >> 1 <= 1) {
      f.get(cc >> 1 === 0 ? this.#b : this.#a).op('i32.wrap_i64');
      return true;
    }
    return false;
  }
}
