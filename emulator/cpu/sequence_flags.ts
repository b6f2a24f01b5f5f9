/**
 * The arithmetic flags of instructions that run as one sequence: in memory (memory_flags.ts), but conditions come from the
 * operands of the last operation where these are still in locals, and what nothing will see is not set.
 */
import { type Push, signExtend } from './flags_emitter.ts';
import type { FlagKind, Op } from './ir.ts';
import { MemoryFlags } from './memory_flags.ts';
import type { Size } from './shape.ts';
import type { FunctionBody } from './wasm_writer.ts';

interface Operation {
  readonly kind: FlagKind;
  readonly size: Size;
  readonly result: Push;
  readonly a: Push;
  readonly b: Push;
}

/** Comparisons for the even conditions (O B Z BE S P L LE): of the operands of SUB, and of the result with 0. */
const OF_OPERANDS = ['', 'lt_u', 'eq', 'le_u', '', '', 'lt_s', 'le_s'];
const OF_RESULT = ['', '', 'eq', '', 'lt_s', '', '', ''];
/** CF and OF are clear. */
const OF_LOGIC_RESULT = ['never', 'never', 'eq', 'eq', 'lt_s', '', 'lt_s', 'le_s'];
const FIRST_SIGNED = 12;

/** In a `cond` operation: the condition that the mask in the record stands for. */
export const ANY_CONDITION = 16;
/** States of the flags, as numbers of four bits. */
const B = 1,
  Z = 2,
  S = 4,
  LESS = 8;
const EVEN_CONDITIONS: readonly (((state: number) => boolean) | undefined)[] = [
  (state) => ((state & S) !== 0) !== ((state & LESS) !== 0),
  (state) => (state & B) !== 0,
  (state) => (state & Z) !== 0,
  (state) => (state & (B | Z)) !== 0,
  (state) => (state & S) !== 0,
  undefined,
  (state) => (state & LESS) !== 0,
  (state) => (state & (LESS | Z)) !== 0,
];

/** Bit n: the condition holds in state n. There is no mask for P. */
export function conditionMask(cc: number): number | undefined {
  const holds = EVEN_CONDITIONS[cc >> 1];
  if (!holds) return undefined;
  let mask = 0;
  for (let state = 0; state < 16; state++) if (holds(state) !== ((cc & 1) === 1)) mask |= 1 << state;
  return mask;
}

export class SequenceFlags extends MemoryFlags {
  readonly #f: FunctionBody;
  #last: Operation | undefined;
  /** Pushes the mask of ANY_CONDITION. */
  pushMask: () => FunctionBody = () => this.#f.i32(0);
  /** What is set now will be set again before anything sees it. */
  isDead = false;

  constructor(f: FunctionBody) {
    super(f);
    this.#f = f;
  }

  /** Control flow joins: only memory has the flags. */
  forget(): void {
    this.#last = undefined;
  }

  override set(kind: FlagKind, size: Size, result: Push, a: Push, b: Push): void {
    if (this.isDead) return;
    super.set(kind, size, result, a, b);
    this.#last = { kind, size, result, a, b };
  }

  override setFrom(size: Size, result: Push, cf: Push, of: Push): void {
    if (this.isDead) return;
    super.setFrom(size, result, cf, of);
    this.forget();
  }

  override setCarry(cf: Push, of: Push | undefined): void {
    super.setCarry(cf, of);
    this.forget();
  }

  override setImage(image: Push): void {
    super.setImage(image);
    this.forget();
  }

  override cond(cc: number): void {
    if (cc === ANY_CONDITION) return this.#anyCondition();
    if (!this.#condOfLast(cc & ~1)) return super.cond(cc);
    if (cc & 1) this.#f.op('i32.eqz');
  }

  #condOfLast(cc: number): boolean {
    const f = this.#f;
    if (!this.#last) return false;
    const { kind, size, result, a, b } = this.#last;
    const ofOperands = kind === 'sub' ? OF_OPERANDS[cc >> 1]! : '';
    if (ofOperands !== '') {
      for (const operand of [a, b]) {
        operand.again();
        if (size === 4) f.op('i32.wrap_i64');
        else if (cc >= FIRST_SIGNED) signExtend(f, size);
      }
      f.op(`${size === 4 ? 'i32' : 'i64'}.${ofOperands}`);
      return true;
    }
    const ofResult = (kind === 'logic' ? OF_LOGIC_RESULT : OF_RESULT)[cc >> 1]!;
    if (ofResult === '') return false;
    if (ofResult === 'never') f.i32(0);
    else signExtend(result.again(), size).i64(0n).op(`i64.${ofResult}`);
    return true;
  }

  #anyCondition(): void {
    const f = this.#f;
    this.pushMask();
    this.cond(2);
    this.cond(4);
    f.i32(1).op('i32.shl').op('i32.or');
    if (this.#last?.kind === 'logic') {
      // OF is clear.
      this.cond(8);
      f.i32(S | LESS)
        .op('i32.mul')
        .op('i32.or');
    } else {
      this.cond(8);
      f.i32(2).op('i32.shl').op('i32.or');
      this.cond(12);
      f.i32(3).op('i32.shl').op('i32.or');
    }
    f.op('i32.shr_u').i32(1).op('i32.and');
  }
}

/** Whether an instruction sets all flags, reads none of before and cannot fault: then nobody sees what they were. */
export function hidesFlags(ops: readonly Op[]): boolean {
  const isOpaque = ops.some(
    ({ k }) =>
      k === 'linear' ||
      k === 'ptr' ||
      k === 'fault' ||
      k === 'call' ||
      k === 'system' ||
      k === 'if' ||
      k === 'cond' ||
      k === 'getFlagsImage',
  );
  return (
    !isOpaque &&
    ops.some((op) => (op.k === 'setFlags' && op.kind !== 'inc' && op.kind !== 'dec') || op.k === 'setFlagsFrom' || op.k === 'setFlagsImage')
  );
}
