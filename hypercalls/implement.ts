/**
 * `implement(row, handlers)`: a row of the ABI table and its handlers become an Implementation, which the dispatcher runs.
 * It decodes registers and struct, calls the handler, writes the out fields back. A missing handler, an undeclared errno
 * and a forgotten out field do not compile.
 */
import { type ErrnoName, errno } from './abi/errno.ts';
import {
  AGAIN,
  type AnyOp,
  type ArgsOf,
  type Body,
  type Hypercall,
  hasOps,
  type Op,
  type Params,
  type Refused,
  type RegistersOf,
  type Result,
  type Returns,
} from './abi/hypercall.ts';
import { type AnyStruct, liveObject, type Readers } from './abi/struct.ts';
import { isArgumentPointer } from './abi/types.ts';
import {
  type Call,
  type CallRecord,
  MADE_AGAIN,
  type Outcome,
  registers,
  registerView,
  registerWords,
  STRUCT_SIZE,
  structBytes,
  structView,
} from './call.ts';
import { ANYWHERE, isGuestArrayAt, putStruct, readStruct, takeStruct, UNREADABLE, writeStruct } from './guest_memory.ts';

/** How many elements of a batch are done before timers and other vCPUs get their turn. */
const BATCH_SLICE = 512;

/** A hot handler of a batch has written the element's out fields itself, with `structView`. */
export const WRITTEN: { readonly isWritten: true } = Object.freeze({ isWritten: true });

/** Handler of a batched op: `each` for every element until one answers an errno. */
export interface BatchHandler<P extends Params, O extends AnyOp> {
  /** Before the first element, also when there is none (and again after each slice of a long batch). */
  begin?(call: Call, registers: RegistersOf<P>): Exclude<Result<O>, object | typeof AGAIN> | undefined;
  /**
   * `index` counts from this slice's first. AGAIN: it is not finished, and the guest's call starts again with it. WRITTEN:
   * its out fields are in the struct. A bigint: the batch ends here, and that is RAX.
   */
  each(call: Call, element: ArgsOf<Record<never, never>, O>, registers: RegistersOf<P>, index: number): Result<O> | typeof WRITTEN | bigint;
  /**
   * Does elements from `index`, any but the first, to `end` where they lie. The first that it leaves to `each`, which may only
   * have to say how the batch ends with it.
   */
  inPlace?(call: Call, index: number, end: number): number;
  /** After the last element that was tried: `done` succeeded. */
  end?(call: Call, registers: RegistersOf<P>, done: number): void;
}

export type HandlerOf<P extends Params, O> =
  O extends Op<AnyStruct | null, ErrnoName, Returns, infer B>
    ? B extends true
      ? BatchHandler<P, O>
      : (call: Call, args: ArgsOf<P, O>) => Result<O>
    : never;

type Before<P extends Params> = {
  /** Checked before the op is even looked up. */
  before?(call: Call, registers: RegistersOf<P>): ErrnoName | undefined;
};

export type HandlersOf<P extends Params, B extends Body> = B extends AnyOp
  ? HandlerOf<P, B>
  : B extends Refused
    ? undefined
    : { readonly [K in keyof B as B[K] extends Refused ? never : K]: HandlerOf<P, B[K]> };

type AnyArgs = object;
type AnyHandler = (call: Call, args: AnyArgs) => object | string | number | bigint | undefined;
interface AnyBatchHandler {
  begin?(call: Call, registers: AnyArgs): string | number | undefined;
  each(call: Call, element: AnyArgs, registers: AnyArgs, index: number): object | string | number | bigint | undefined;
  inPlace?(call: Call, index: number, end: number): number;
  end?(call: Call, registers: AnyArgs, done: number): void;
}

type AnyBefore = (call: Call, registers: AnyArgs) => ErrnoName | undefined;

const ENOSYS = -errno.ENOSYS;
const EFAULT = -errno.EFAULT;

const errnoValue = (name: string): number => {
  const value = errno[name as ErrnoName];
  if (value === undefined) throw new Error(`bug: a hypercall handler answered '${name}'`);
  return -value;
};

/** The registers of a family, as its handlers read them. */
interface RegisterLayout {
  readonly names: readonly string[];
  readonly pointerIndex: number;
  readonly readers: Readers;
}

/** Here as in dispatch.ts nothing has a # before its name, which takes more bytecode: all of the way fits into one of V8's functions. */
export class CompiledOp {
  readonly name: string;
  readonly row: AnyOp | Refused;
  readonly struct: AnyStruct | null;
  /** The handler follows the pointer itself. */
  readonly follows: boolean;
  readonly batch: AnyBatchHandler | undefined;
  private readonly handler: AnyHandler | undefined;
  /** What handlers get: getters of the call's raw numbers, made once for all calls. */
  private readonly args: AnyArgs;
  private readonly element: AnyArgs;
  /** Where these have their lower halves among the registers' words. */
  private readonly pointerWord: number;
  private readonly countWord: number;
  /** With its sign, as words have theirs. */
  private readonly continuedBit: number;

  constructor(name: string, row: AnyOp | Refused, handler: unknown, { names, pointerIndex, readers }: RegisterLayout) {
    this.name = name;
    this.row = row;
    this.struct = row.kind === 'op' ? row.arg : null;
    this.follows = row.kind === 'op' && row.follows !== undefined;
    const isBatch = row.kind === 'op' && row.count !== undefined;
    this.handler = row.kind === 'op' && !isBatch ? (handler as AnyHandler) : undefined;
    this.batch = isBatch ? (handler as AnyBatchHandler) : undefined;
    const fields = this.struct?.inReaders(structView, 0) ?? [];
    this.args = liveObject(isBatch ? readers : [...readers, ...fields]);
    this.element = liveObject(fields);
    this.pointerWord = 2 * pointerIndex;
    this.countWord = isBatch ? 2 * names.indexOf(row.count) : -1;
    this.continuedBit = row.kind === 'op' ? row.continuedBit | 0 : 0;
    if (isBatch && this.countWord < 0) throw new Error(`bug: ${name} counts by '${row.count}', which is no parameter`);
    if (this.struct !== null && this.struct.size > STRUCT_SIZE) throw new Error(`bug: ${this.struct.name} is too big`);
  }

  /** Of a batch: how many elements `words` say are left. */
  countOf(words: Int32Array): number {
    return (words[this.countWord]! & ~this.continuedBit) >>> 0;
  }

  run(call: Call, record: CallRecord): Outcome {
    const handler = this.handler;
    const { struct } = this;
    if (handler === undefined) return this.batch === undefined ? this.refuse(call) : this.runBatch(call, record, this.batch);
    return struct === null ? outcomeOf(handler(call, this.args)) : this.runOnStruct(call, record, handler, struct);
  }

  private runOnStruct(call: Call, record: CallRecord, handler: AnyHandler, struct: AnyStruct): Outcome {
    const { size } = struct;
    const { known } = call;
    const { flushes } = known;
    const low = registerWords[this.pointerWord]!;
    const high = registerWords[this.pointerWord + 1]!;
    let at = ANYWHERE;
    if (struct.hasIn === true) {
      at = takeStruct(call, record, low, high, size);
      if (at === UNREADABLE) return EFAULT;
    } else {
      structBytes.fill(0, 0, size);
      record.keepStruct(0, size);
    }
    const answer = handler(call, this.args);
    if (typeof answer !== 'object') return outcomeOf(answer);
    struct.encode(structView, 0, answer);
    record.keepStruct(struct.outStart, struct.outEnd);
    if (at < 0 || known.flushes !== flushes || size & 1) return writeStruct(call, low, high, 0, 0, size) ? 0 : EFAULT;
    putStruct(call, at, 0, size);
    return 0;
  }

  private refuse(call: Call): Outcome {
    const { errno, reads } = this.row as Refused;
    const { pointerWord } = this;
    const isRead = reads === 0 || readStruct(call, registerWords[pointerWord]!, registerWords[pointerWord + 1]!, 0, reads) !== UNREADABLE;
    return isRead ? errnoValue(errno) : EFAULT;
  }

  private runBatch(call: Call, record: CallRecord, batch: AnyBatchHandler): Outcome {
    const struct = this.struct!;
    const { known } = call;
    const { size, outStart, outEnd } = struct;
    const low = registerWords[this.pointerWord]!;
    const high = registerWords[this.pointerWord + 1]!;
    const count = this.countOf(registerWords);
    if (!isGuestArrayAt(call.host, high)) return EFAULT;
    const refusal = batch.begin?.(call, this.args);
    if (refusal !== undefined) return outcomeOf(refusal);

    const slice = Math.min(count, BATCH_SLICE);
    let outcome: Outcome = 0;
    let done = 0;
    for (; done < slice; done++) {
      if (done > 0 && batch.inPlace !== undefined) {
        done = batch.inPlace(call, done, slice);
        if (done === slice) break;
      }
      const { flushes } = known;
      const at = done === 0 ? takeStruct(call, record, low, high, size) : readStruct(call, low, high, done * size, size);
      if (at === UNREADABLE) {
        outcome = EFAULT;
        break;
      }
      const result = batch.each(call, this.element, this.args, done);
      if (result === WRITTEN || typeof result === 'object') {
        if (result !== WRITTEN) struct.encode(structView, 0, result);
        if (done === 0) record.keepStruct(outStart, outEnd);
        if (at >= 0 && known.flushes === flushes && ((outStart | outEnd) & 1) === 0) putStruct(call, at, outStart, outEnd);
        else if (!writeStruct(call, low, high, done * size, outStart, outEnd)) outcome = EFAULT;
      } else if (result !== undefined) {
        outcome = outcomeOf(result);
      }
      if (outcome !== 0) break;
    }
    batch.end?.(call, this.args, done);
    return done === count || (outcome !== 0 && outcome !== MADE_AGAIN) ? outcome : this.continueAt(done, count);
  }

  /** The guest makes the call again, with what is behind the first `done` elements. */
  private continueAt(done: number, count: number): Outcome {
    const pointer = this.pointerWord >> 1;
    registers[pointer] = registers[pointer]! + BigInt(done * this.struct!.size);
    registers[this.countWord >> 1] = BigInt(((count - done) | this.continuedBit) >>> 0);
    return MADE_AGAIN;
  }
}

export class Implementation {
  readonly row: Hypercall;
  readonly paramCount: number;
  /** Getters of the call's registers. */
  protected readonly registers: AnyArgs;
  readonly isForPv: boolean;
  readonly isForPvh: boolean;
  /** Of the register that says which operation is meant: where its lower half is. */
  private readonly cmdWord: number;
  /** By number; a family without any has its only one at 0. */
  private readonly ops: (CompiledOp | undefined)[] = [];
  private readonly cmdMask: number;

  constructor(row: Hypercall, handlers: unknown) {
    const names = Object.keys(row.params);
    const types = Object.values(row.params);
    const pointerIndex = types.findIndex(isArgumentPointer);
    const readers = names.flatMap(
      (name, index): Readers => (name === 'cmd' || index === pointerIndex ? [] : [[name, types[index]!.reader(registerView, index * 8)]]),
    );
    const layout: RegisterLayout = { names, pointerIndex, readers };
    this.row = row;
    this.paramCount = names.length;
    this.isForPv = row.guests.pv64 === true;
    this.isForPvh = row.guests.pvh === true;
    this.cmdWord = hasOps(row.body) ? 2 * names.indexOf('cmd') : 0;
    this.registers = liveObject(readers);
    // As a number of 32 bits with a sign, as V8 has them.
    this.cmdMask = hasOps(row.body) ? row.cmdMask | 0 : 0;
    if (hasOps(row.body)) {
      for (const [name, op] of Object.entries(row.body)) {
        this.ops[op.cmd] = new CompiledOp(`${row.name}.${name}`, op, (handlers as Record<string, unknown>)[name], layout);
      }
    } else {
      this.ops[0] = new CompiledOp(row.name, row.body, handlers, layout);
    }
  }

  /** The op that the registers in `words` name, for the call that runs and for the trace. */
  opOf(words: Int32Array): CompiledOp | undefined {
    return this.ops[words[this.cmdWord]! & this.cmdMask];
  }

  /** Does the call. */
  run(call: Call, record: CallRecord): Outcome {
    const op = this.opOf(registerWords);
    return op === undefined ? ENOSYS : op.run(call, record);
  }
}

/** One that checks something before it looks for the operation. */
class GuardedImplementation extends Implementation {
  private readonly before: AnyBefore;

  constructor(row: Hypercall, handlers: unknown, before: AnyBefore) {
    super(row, handlers);
    this.before = before;
  }

  override run(call: Call, record: CallRecord): Outcome {
    const refusal = this.before(call, this.registers);
    return refusal === undefined ? super.run(call, record) : errnoValue(refusal);
  }
}

type Answer = object | string | number | bigint | undefined;

/** The usual ones without a call. */
const outcomeOf = (answer: Answer): Outcome => (answer === undefined ? 0 : typeof answer === 'number' ? answer : unusualOutcome(answer));

function unusualOutcome(result: object | string | bigint): Outcome {
  if (typeof result === 'string') return result === AGAIN ? MADE_AGAIN : errnoValue(result);
  if (typeof result === 'object') throw new Error('bug: a hypercall without out fields answered some');
  return result;
}

export function implement<P extends Params, B extends Body>(
  row: Hypercall<P, B>,
  handlers: HandlersOf<P, B>,
  before?: Before<P>['before'],
): Implementation {
  const anyRow = row as unknown as Hypercall;
  return before === undefined ? new Implementation(anyRow, handlers) : new GuardedImplementation(anyRow, handlers, before as AnyBefore);
}
