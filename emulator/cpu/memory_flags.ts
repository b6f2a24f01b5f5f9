/** The arithmetic flags in their lazy form in memory (flags.ts): FLAG_RESULT and FLAG_AUX. */
import { AF, CF, OF, PF, SF, ZF } from './flags.ts';
import { type FlagsEmitter, type Push, signExtend } from './flags_emitter.ts';
import type { FlagKind } from './ir.ts';
import { FLAG_AUX, FLAG_RESULT } from './layout.ts';
import type { Size } from './shape.ts';
import type { FunctionBody } from './wasm_writer.ts';

/** Pushes the auxiliary word of an operation on zero-extended operands. */
function pushAux(f: FunctionBody, kind: FlagKind, size: Size, a: () => void, b: () => void, result: () => void): void {
  const isAdd = kind === 'add' || kind === 'adc' || kind === 'inc';
  const carries = f.local('i64');
  const not = (): FunctionBody => f.i64(-1n).op('i64.xor');
  a();
  b();
  if (size < 8 && kind !== 'adc' && kind !== 'sbb') {
    // The bits of a sum are those of its operands, inverted where a carry comes in.
    f.op('i64.xor');
    a();
    b();
    f.op(isAdd ? 'i64.add' : 'i64.sub')
      .op('i64.xor')
      .i64(1n)
      .op('i64.shr_u')
      .op('i32.wrap_i64');
    if (size === 4) {
      f.i32(0xc000_0008).op('i32.and');
      return;
    }
    const word = f.local('i32');
    f.tee(word)
      .i32(32 - size * 8)
      .op('i32.shl')
      .i32(0xc000_0000)
      .op('i32.and')
      .get(word)
      .i32(8)
      .op('i32.and')
      .op('i32.or');
    return;
  }
  if (isAdd) {
    f.op('i64.and');
    a();
    b();
    f.op('i64.or');
    result();
    not().op('i64.and').op('i64.or');
  } else {
    f.op('i64.xor');
    not();
    result();
    f.op('i64.and');
    a();
    not();
    b();
    f.op('i64.and').op('i64.or');
  }
  f.tee(carries);
  if (size === 8) f.i64(32n).op('i64.shr_u');
  f.op('i32.wrap_i64');
  if (size < 4) f.i32(32 - size * 8).op('i32.shl');
  f.i32(0xc000_0000).op('i32.and');
  f.get(carries).op('i32.wrap_i64').i32(8).op('i32.and').op('i32.or');
}

/** Pushes `aux` with CF and OF (i32 locals) put in. */
export function withCarry(f: FunctionBody, aux: () => void, cf: number, of: number): FunctionBody {
  aux();
  f.i32(0x3fff_ffff).op('i32.and');
  f.get(cf).i32(31).op('i32.shl').op('i32.or');
  return f.get(cf).get(of).op('i32.xor').i32(30).op('i32.shl').op('i32.or');
}

/** Pushes the auxiliary word for an image in RFLAGS's positions (i32 local). */
export function auxOfImage(f: FunctionBody, image: number): FunctionBody {
  const bit = (mask: number, to: number): FunctionBody => {
    f.get(image)
      .i32(31 - Math.clz32(mask))
      .op('i32.shr_u')
      .i32(1)
      .op('i32.and');
    return to === 0 ? f : f.i32(to).op('i32.shl');
  };
  bit(CF, 31);
  bit(CF, 30);
  bit(OF, 30).op('i32.xor').op('i32.or');
  bit(AF, 3).op('i32.or');
  bit(PF, 8).i32(0x100).op('i32.xor').op('i32.or');
  return bit(SF, 0).op('i32.or');
}

/** Reads flags out of a result and an auxiliary word, wherever these are. */
export class FlagReader {
  readonly #f: FunctionBody;
  readonly #result: () => FunctionBody;
  readonly #aux: () => FunctionBody;

  constructor(f: FunctionBody, result: () => FunctionBody, aux: () => FunctionBody) {
    this.#f = f;
    this.#result = result;
    this.#aux = aux;
  }

  carry(): FunctionBody {
    return this.#aux().i32(31).op('i32.shr_u');
  }
  overflow(): FunctionBody {
    this.#aux();
    return this.#aux().i32(1).op('i32.shl').op('i32.xor').i32(31).op('i32.shr_u');
  }
  zero(): FunctionBody {
    return this.#result().op('i64.eqz');
  }
  sign(): FunctionBody {
    this.#result().i64(63n).op('i64.shr_u').op('i32.wrap_i64');
    return this.#aux().i32(1).op('i32.and').op('i32.xor');
  }
  /** 1 when PF is set. */
  parity(): FunctionBody {
    this.#result().op('i32.wrap_i64');
    this.#aux().i32(8).op('i32.shr_u').op('i32.xor').i32(0xff).op('i32.and').op('i32.popcnt');
    return this.#f.i32(1).op('i32.and').op('i32.eqz');
  }

  cond(cc: number): void {
    const f = this.#f;
    switch (cc >> 1) {
      case 0:
        this.overflow();
        break;
      case 1:
        this.carry();
        break;
      case 2:
        this.zero();
        break;
      case 3:
        this.carry();
        this.zero().op('i32.or');
        break;
      case 4:
        this.sign();
        break;
      case 5:
        this.parity();
        break;
      case 6:
        this.sign();
        this.overflow().op('i32.xor');
        break;
      default:
        this.sign();
        this.overflow().op('i32.xor');
        this.zero().op('i32.or');
        break;
    }
    if (cc & 1) f.op('i32.eqz');
  }

  image(): void {
    const f = this.#f;
    const put = (mask: number): FunctionBody =>
      f
        .i32(31 - Math.clz32(mask))
        .op('i32.shl')
        .op('i32.or');
    this.carry();
    this.parity();
    put(PF);
    this.#aux().i32(3).op('i32.shr_u').i32(1).op('i32.and');
    put(AF);
    this.zero();
    put(ZF);
    this.sign();
    put(SF);
    this.overflow();
    put(OF).op('i64.extend_i32_u');
  }
}

export class MemoryFlags implements FlagsEmitter {
  readonly #f: FunctionBody;
  readonly #read: FlagReader;

  constructor(f: FunctionBody) {
    this.#f = f;
    this.#read = new FlagReader(
      f,
      () => f.i32(0).mem('i64.load', FLAG_RESULT),
      () => f.i32(0).mem('i32.load', FLAG_AUX),
    );
  }

  #setResult(size: Size, result: Push): void {
    this.#f.i32(0);
    result.push();
    signExtend(this.#f, size).mem('i64.store', FLAG_RESULT);
  }

  set(kind: FlagKind, size: Size, result: Push, a: Push, b: Push): void {
    const f = this.#f;
    this.#setResult(size, result);
    if (kind === 'logic') f.i32(0).i32(0).mem('i32.store', FLAG_AUX);
    else {
      f.i32(0);
      pushAux(f, kind, size, a.again, b.again, result.again);
      if (kind === 'inc' || kind === 'dec') this.#keepCarry();
      f.mem('i32.store', FLAG_AUX);
    }
  }

  /** INC and DEC: in the pushed word OF is new, and CF becomes what it was. */
  #keepCarry(): void {
    const f = this.#f;
    const word = f.local('i32');
    const change = f.local('i32');
    f.tee(word).i32(0).mem('i32.load', FLAG_AUX).op('i32.xor').i32(0x8000_0000).op('i32.and').tee(change);
    f.get(change).i32(1).op('i32.shr_u').op('i32.or').get(word).op('i32.xor');
  }

  setFrom(size: Size, result: Push, cf: Push, of: Push): void {
    const f = this.#f;
    this.#setResult(size, result);
    f.i32(0);
    cf.push().i32(31).op('i32.shl');
    cf.again();
    of.push().op('i32.xor').i32(30).op('i32.shl').op('i32.or').mem('i32.store', FLAG_AUX);
  }

  setCarry(cf: Push, of: Push | undefined): void {
    const f = this.#f;
    const carry = f.local('i32');
    const overflow = f.local('i32');
    cf.push().set(carry);
    (of ? of.push() : this.#read.overflow()).set(overflow);
    f.i32(0);
    withCarry(f, () => f.i32(0).mem('i32.load', FLAG_AUX), carry, overflow).mem('i32.store', FLAG_AUX);
  }

  setImage(image: Push): void {
    const f = this.#f;
    const word = f.local('i32');
    image.push().op('i32.wrap_i64').set(word);
    f.i32(0).i64(0n).i64(0x100n).get(word).i32(ZF).op('i32.and').select().mem('i64.store', FLAG_RESULT);
    f.i32(0);
    auxOfImage(f, word).mem('i32.store', FLAG_AUX);
  }

  cond(cc: number): void {
    this.#read.cond(cc);
  }

  image(): void {
    this.#read.image();
  }
}
