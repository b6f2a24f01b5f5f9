/** How generated code keeps the arithmetic flags: in memory (memory_flags.ts) or in locals (lazy_flags.ts). */
import type { FlagKind } from './ir.ts';
import type { Size } from './shape.ts';
import type { FunctionBody } from './wasm_writer.ts';

/** A value to be pushed: `push` first and once, `again` after it. */
export interface Push {
  push(): FunctionBody;
  again(): FunctionBody;
}

export interface FlagsEmitter {
  /** Flags of an operation on zero-extended operands. */
  set(kind: FlagKind, size: Size, result: Push, a: Push, b: Push): void;
  /** SF ZF PF of the result, CF and OF (i32) as given, AF clear. */
  setFrom(size: Size, result: Push, cf: Push, of: Push): void;
  /** CF, and OF where given; the others stay. */
  setCarry(cf: Push, of: Push | undefined): void;
  /** All from an image in RFLAGS's positions (i64). */
  setImage(image: Push): void;
  /** Pushes a condition, i32 0 or 1. */
  cond(cc: number): void;
  /** Pushes the image, i64. */
  image(): void;
}

export function signExtend(f: FunctionBody, size: Size): FunctionBody {
  return size === 8 ? f : f.op(size === 4 ? 'i64.extend32_s' : size === 2 ? 'i64.extend16_s' : 'i64.extend8_s');
}
