/**
 * The typed intermediate representation of one instruction's meaning: a list of operations on values. Rows write it
 * through `Builder` (builder.ts); emitters (handlers.ts now, a region translator later) walk it. An operation marked `!`
 * may fault, one marked `*` commits guest state; `verify` holds that no `!` follows a `*`, so every instruction is
 * restartable by construction.
 */
import type { Size } from './shape.ts';
import type { Ty } from './wasm_opcodes.ts';

/** A value computed once (or a variable, assigned by 'setVar'); `uses` counts its readers, for the emitter. */
export interface Value {
  readonly ty: Ty;
  readonly id: number;
  uses: number;
  readonly isVariable?: boolean;
}

/** A general register: a field of the instruction (ModRM.reg, ModRM.rm or opcode+r), or a fixed number. */
export type RegRef = 'reg' | 'rm' | number;

export type Access = 'r' | 'w' | 'rw';

/** How the arithmetic flags follow from an operation (flags.ts computes them). */
export type FlagKind = 'add' | 'adc' | 'sub' | 'sbb' | 'logic' | 'inc' | 'dec';

export type Op =
  | { readonly k: 'const'; readonly out: Value; readonly value: bigint | number | readonly [bigint, bigint] }
  | {
      readonly k: 'wasm';
      readonly name: string;
      readonly args: readonly Value[];
      readonly out: Value;
      readonly lane: number;
      readonly shuffle?: readonly number[];
    }
  | { readonly k: 'select'; readonly cond: Value; readonly ifTrue: Value; readonly ifFalse: Value; readonly out: Value }
  | { readonly k: 'field'; readonly field: 'imm' | 'ripNext' | 'rip'; readonly out: Value }
  | { readonly k: 'getReg'; readonly ref: RegRef; readonly size: Size; readonly out: Value }
  | { readonly k: 'setReg'; readonly ref: RegRef; readonly size: Size; readonly value: Value } // *
  | { readonly k: 'getXmm'; readonly ref: RegRef; readonly out: Value }
  | { readonly k: 'setXmm'; readonly ref: RegRef; readonly value: Value } // *
  | { readonly k: 'getMmx'; readonly ref: RegRef; readonly out: Value }
  | { readonly k: 'setMmx'; readonly ref: RegRef; readonly value: Value } // *
  | { readonly k: 'getState'; readonly load: string; readonly offset: number; readonly out: Value }
  | { readonly k: 'setState'; readonly store: string; readonly offset: number; readonly value: Value } // *
  /** The memory operand's linear address, from the shape's address form. */
  | { readonly k: 'ea'; readonly size: number; readonly out: Value } // ! (segment limits)
  /** Address offset of the memory operand without its segment base (LEA). */
  | { readonly k: 'offset'; readonly out: Value }
  /** The linear address of `offset` in a segment other than the memory operand's. */
  | { readonly k: 'linear'; readonly segment: number; readonly offset: Value; readonly size: number; readonly out: Value } // !
  /** Translates a linear address for an access; the result is where to load or store. */
  | {
      readonly k: 'ptr';
      readonly addr: Value;
      readonly size: number;
      readonly access: Access;
      readonly isStack: boolean;
      readonly align: number;
      readonly out: Value;
    } // !
  | { readonly k: 'load'; readonly load: string; readonly ptr: Value; readonly offset: number; readonly out: Value }
  | { readonly k: 'store'; readonly store: string; readonly ptr: Value; readonly offset: number; readonly value: Value } // *
  | { readonly k: 'setFlags'; readonly kind: FlagKind; readonly size: Size; readonly result: Value; readonly a: Value; readonly b: Value } // *
  /** SF ZF PF from the result, CF and OF (i32, 0 or 1) as given, AF clear. */
  | { readonly k: 'setFlagsFrom'; readonly size: Size; readonly result: Value; readonly cf: Value; readonly of: Value } // *
  /** Only CF, or CF and OF, change. */
  | { readonly k: 'setCarry'; readonly cf: Value; readonly of: Value | undefined } // *
  /** OF SF ZF AF PF CF from an image in RFLAGS's positions (i64). */
  | { readonly k: 'setFlagsImage'; readonly image: Value } // *
  | { readonly k: 'getFlagsImage'; readonly out: Value }
  | { readonly k: 'cond'; readonly cc: number; readonly out: Value }
  | { readonly k: 'if'; readonly cond: Value; readonly ifTrue: readonly Op[]; readonly ifFalse: readonly Op[] }
  /** Raises an exception at this instruction when the condition holds. */
  | { readonly k: 'fault'; readonly cond: Value | undefined; readonly vector: number; readonly errorCode: number } // !
  /** A rare computation in TypeScript, inside the loop: integer arguments, one integer result or none; it may fault. */
  | { readonly k: 'call'; readonly helper: number; readonly args: readonly Value[]; readonly out: Value | undefined } // !
  /** Local variable, for values that depend on control flow. */
  | { readonly k: 'setVar'; readonly variable: Value; readonly value: Value }
  /** Ends of the instruction; without one, execution falls through to the next. */
  | { readonly k: 'jump'; readonly target: Value | 'imm' | 'next' | 'self' }
  | { readonly k: 'branch'; readonly cond: Value }
  /** The instruction is performed by the CPU's system unit in TypeScript, outside the loop. */
  | { readonly k: 'system'; readonly name: number };

const faulting = new Set(['ea', 'linear', 'ptr', 'fault', 'call']);
const committing = new Set(['setReg', 'setXmm', 'setMmx', 'setState', 'store', 'setFlags', 'setFlagsFrom', 'setCarry', 'setFlagsImage']);

/** Throws when an operation that can fault follows one that commits; `what` names the row in the message. */
export function verify(ops: readonly Op[], what: string): void {
  const walk = (list: readonly Op[], start: boolean): boolean => {
    let committed = start;
    for (const op of list) {
      if (committed && faulting.has(op.k)) throw new Error(`bug: ${what}: '${op.k}' may fault after a commit`);
      if (op.k === 'if') {
        const then = walk(op.ifTrue, committed);
        const otherwise = walk(op.ifFalse, committed);
        committed = then || otherwise;
      } else if (committing.has(op.k)) committed = true;
    }
    return committed;
  };
  walk(ops, false);
}
