/**
 * Code with steps: WebAssembly with marks at the places where registers, constants, locals and ways out go, which differ
 * from one region to the next. region_template.ts writes it, region_emitter.ts copies it and takes the steps.
 */
import { HANDLER_SIGNATURE } from './emitter.ts';
import type { RegRef } from './ir.ts';
import { LazyFlags } from './lazy_flags.ts';
import { IMPORT_SAVE_FLAGS } from './region_imports.ts';
import type { Ty } from './wasm_opcodes.ts';
import { FunctionBody } from './wasm_writer.ts';

/** Steps, and their arguments. A register is named by `refCode`, with its size from bit REF_SIZE on. */
export const STEP_TEMP = 0, // type in three bits, and the how manieth of it: the local of a temporary
  STEP_GET_REG = 1,
  STEP_BEGIN_SET_REG = 2,
  STEP_SET_REG = 3, // the value is pushed between the two
  STEP_GET_XMM = 4,
  STEP_BEGIN_SET_XMM = 5,
  STEP_SET_XMM = 6,
  STEP_MMX_ADDRESS = 7,
  STEP_OFFSET = 8, // the address form's
  STEP_IMM = 9,
  STEP_RIP = 10,
  STEP_RIP_NEXT = 11,
  STEP_RECORD = 12, // bits to set
  STEP_REFUND = 13, // counts this instruction and those behind it as not executed
  STEP_EXIT = 14, // open blocks: the depth of a branch
  STEP_REENTER = 15, // as well
  STEP_TLB = 16, // offset in the TLB set: an offset in memory
  STEP_FUNCTION = 17, // pushes the index of the region's function
  STEP_LEAVE_TO_IMM = 18, // open blocks
  STEP_LEAVE_TO_NEXT = 19,
  STEP_LEAVE_TO_SELF = 20,
  STEP_SAVE_REGISTERS = 21, // 1: those of vectors too
  STEP_LOAD_REGISTERS = 22,
  STEP_MISS = 23, // open blocks: leaves before the instruction unless 0 is pushed
  STEP_LEFT = 24, // pushes the count of this instruction and those behind it
  STEP_IMM_LOW = 25, // the immediate's low half
  STEP_BELOW = 26, // of an access that leads others (region_access.ts): moves the pushed address down to the lowest of them
  STEP_ABOVE = 27, // and up to the last byte
  STEP_LEAD = 28, // sets where others go by from what is pushed
  STEP_FOLLOW = 29, // pushes where one goes that follows
  STEP_RETURN = 30; // open blocks: where an inlined function returns to its caller, goes on there if that is what is pushed

const REF_REG = 16,
  REF_RM = 17;
export const REF_SIZE = 8;

/** A register's number, or the field that names it. */
export const refCode = (ref: RegRef): number => (ref === 'reg' ? REF_REG : ref === 'rm' ? REF_RM : ref);

/** What a register's code stands for in an instruction. */
export function refOf(code: number): RegRef {
  return code === REF_REG ? 'reg' : code === REF_RM ? 'rm' : code;
}

/** Code with steps, however it came to be. */
export interface Steps {
  readonly bytes: Uint8Array;
  /** In threes: how many bytes go before, which step, its argument. */
  readonly steps: readonly number[];
}

/** Types of temporaries by their numbers in steps. */
export const tempTypes: readonly Ty[] = ['i32', 'i64', 'f32', 'f64', 'v128'];

/** Locals that every region has, in this order behind its parameter. */
export interface FrameLocals {
  readonly entry: number;
  readonly budget: number;
  readonly out: number;
  readonly flags: LazyFlags;
  /** Locals of temporaries, by type (as steps number them) and number: the first of each, so that they need no steps. */
  readonly temps: readonly number[][];
}

/** What most templates do with: of each type, so many temporaries. */
export const FIXED_TEMPS: readonly number[] = [4, 6, 0, 0, 0];

export function makeFrameLocals(f: FunctionBody): FrameLocals {
  return {
    entry: 0,
    budget: f.local('i32'),
    out: f.local('i32'),
    flags: new LazyFlags(f, IMPORT_SAVE_FLAGS),
    temps: tempTypes.map((ty, type) => Array.from({ length: FIXED_TEMPS[type]! }, () => f.local(ty))),
  };
}

/** Numbers of temporaries, which have locals only in a region; offsets in a TLB set, whose place only a region knows. */
const FIRST_TEMP = 1 << 16;
export const IN_TLB_SET = 2 ** 40;

/** Opcodes for locals. */
const GET = 0x20,
  SET = 0x21,
  TEE = 0x22,
  DROP = 0x1a;

/** A function body that is a template: temporaries and offsets in the TLB are steps. */
export class TemplateBody extends FunctionBody {
  readonly #steps: number[] = [];
  /** Temporaries of each type. */
  readonly #temps = tempTypes.map(() => 0);
  /** Those that are read. */
  readonly #read = new Set<number>();
  /** Locals of some, once there are any. */
  #fixed: readonly number[][] | undefined;
  /** The last local other than those that was pushed, and where. */
  #lastGet = -1;
  #lastGetStart = 0;
  #lastGetEnd = 0;

  /** How many of the functions that regions may call it needs (region_imports.ts). */
  imports = 0;

  constructor() {
    super(HANDLER_SIGNATURE);
  }

  startTemps(fixed: readonly number[][]): void {
    this.#fixed = fixed;
  }

  step(kind: number, argument = 0): this {
    this.#steps.push(this.code.length, kind, argument);
    return this;
  }

  override local(ty: Ty): number {
    if (!this.#fixed) return super.local(ty);
    const type = tempTypes.indexOf(ty);
    return FIRST_TEMP + (type | (this.#temps[type]!++ << 3));
  }

  #access(opcode: number, local: number): this {
    this.code.byte(opcode);
    if (local >= FIRST_TEMP) return this.step(STEP_TEMP, local - FIRST_TEMP);
    this.code.unsigned(local);
    return this;
  }
  /** What was just put into a temporary stays on the stack as well. */
  override get(local: number): this {
    const steps = this.#steps;
    if (local >= FIRST_TEMP) {
      const [place, kind, argument] = steps.slice(-3);
      const isLast = place === this.code.length && kind === STEP_TEMP && argument === local - FIRST_TEMP;
      if (isLast && this.code.last === SET) {
        this.code.last = TEE;
        return this;
      }
      this.#read.add(local - FIRST_TEMP);
      return this.#access(GET, local);
    }
    this.#lastGet = local;
    this.#lastGetStart = this.code.length;
    this.#access(GET, local);
    this.#lastGetEnd = this.code.length;
    return this;
  }
  /** A local that is put into itself was only looked at. */
  override set(local: number): this {
    const { code } = this;
    if (local < FIRST_TEMP && this.#lastGet === local && this.#lastGetEnd === code.length) {
      code.length = this.#lastGetStart;
      this.#lastGet = -1;
      return this;
    }
    return this.#access(SET, local);
  }
  override call(index: number): this {
    this.imports = Math.max(this.imports, index + 1);
    return super.call(index);
  }

  override tee(local: number): this {
    return this.#access(TEE, local);
  }

  override mem(name: string, offset = 0): this {
    if (offset < IN_TLB_SET) return super.mem(name, offset);
    super.mem(name, 0);
    this.code.length--;
    return this.step(STEP_TLB, offset - IN_TLB_SET);
  }

  /** Without writes to temporaries that nothing reads. */
  finish(): Steps {
    const written = this.code.take();
    const bytes: number[] = [];
    const steps: number[] = [];
    let done = 0;
    for (let i = 0; i < this.#steps.length; i += 3) {
      const [place, kind, argument] = this.#steps.slice(i, i + 3) as [number, number, number];
      bytes.push(...written.subarray(done, place));
      done = place;
      const local = kind === STEP_TEMP ? this.#fixed?.[argument & 7]?.[argument >> 3] : undefined;
      if (kind !== STEP_TEMP || this.#read.has(argument)) {
        if (local === undefined) steps.push(bytes.length, kind, argument);
        else bytes.push(local);
      } else if (bytes.pop() === SET) bytes.push(DROP);
    }
    bytes.push(...written.subarray(done));
    return { bytes: Uint8Array.from(bytes), steps };
  }
}
