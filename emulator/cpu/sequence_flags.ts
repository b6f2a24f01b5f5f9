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

export class SequenceFlags extends MemoryFlags {
  readonly #f: FunctionBody;
  #last: Operation | undefined;
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
