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
import type { AnyStruct } from './abi/struct.ts';
import { isArgumentPointer, type Type } from './abi/types.ts';
import { type Call, type CallRecord, MADE_AGAIN, type Outcome, RECORD_SIZE } from './call.ts';
import { copyFromGuest, copyToGuest, isGuestArray } from './guest_memory.ts';

/** How many elements of a batch are done before timers and other vCPUs get their turn. */
const BATCH_SLICE = 512;

/** Handler of a batched op: `each` for every element until one answers an errno. */
export interface BatchHandler<P extends Params, O extends AnyOp> {
  /** Before the first element, also when there is none (and again after each slice of a long batch). */
  begin?(call: Call, registers: RegistersOf<P>): Exclude<Result<O>, object | typeof AGAIN> | undefined;
  /**
   * `pointer` is the element's vaddr. AGAIN: it is not finished, and the guest's call starts again with it. A bigint: the
   * batch ends here, and that is RAX.
   */
  each(call: Call, element: ArgsOf<Record<never, never>, O>, registers: RegistersOf<P>, pointer: bigint): Result<O> | bigint;
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

type AnyArgs = Record<string, unknown>;
type AnyHandler = (call: Call, args: AnyArgs) => object | string | number | bigint | undefined;
interface AnyBatchHandler {
  begin?(call: Call, registers: AnyArgs): string | number | undefined;
  each(call: Call, element: AnyArgs, registers: AnyArgs, pointer: bigint): object | string | number | bigint | undefined;
  end?(call: Call, registers: AnyArgs, done: number): void;
}

type AnyBefore = (call: Call, registers: AnyArgs) => ErrnoName | undefined;

interface RegisterRow {
  readonly name: string;
  readonly type: Type<unknown>;
  readonly index: number;
}

const NO_REGISTERS: AnyArgs = Object.freeze({});
const ENOSYS = -errno.ENOSYS;
const EFAULT = -errno.EFAULT;

const errnoValue = (name: string): number => {
  const value = errno[name as ErrnoName];
  if (value === undefined) throw new Error(`bug: a hypercall handler answered '${name}'`);
  return -value;
};

export class CompiledOp {
  readonly name: string;
  readonly row: AnyOp | Refused;
  readonly struct: AnyStruct | null;
  /** The handler follows the pointer itself. */
  readonly follows: boolean;
  readonly handler: AnyHandler | undefined;
  readonly batch: AnyBatchHandler | undefined;
  readonly countIndex: number;
  readonly continuedBit: number;

  constructor(name: string, row: AnyOp | Refused, handler: unknown, paramNames: readonly string[]) {
    this.name = name;
    this.row = row;
    this.struct = row.kind === 'op' ? row.arg : null;
    this.follows = row.kind === 'op' && row.follows !== undefined;
    const isBatch = row.kind === 'op' && row.count !== undefined;
    this.handler = row.kind === 'op' && !isBatch ? (handler as AnyHandler) : undefined;
    this.batch = isBatch ? (handler as AnyBatchHandler) : undefined;
    this.countIndex = isBatch ? paramNames.indexOf(row.count) : -1;
    this.continuedBit = row.kind === 'op' ? row.continuedBit : 0;
    if (isBatch && this.countIndex < 0) throw new Error(`bug: ${name} counts by '${row.count}', which is no parameter`);
    if (this.struct !== null && this.struct.size * (isBatch ? 2 : 1) > RECORD_SIZE) throw new Error(`bug: ${this.struct.name} is too big`);
  }

  /** Of a batch: how many elements are left. */
  countOf(record: CallRecord): number {
    const count = record.words[this.countIndex * 2]!;
    return count >= this.continuedBit ? count - this.continuedBit : count;
  }
}

export class Implementation {
  readonly row: Hypercall;
  readonly #registers: readonly RegisterRow[];
  readonly #cmdIndex: number;
  readonly #argIndex: number;
  readonly #single: CompiledOp | undefined;
  readonly #ops: (CompiledOp | undefined)[] = [];
  readonly #before: AnyBefore | undefined;
  readonly #cmdMask: number;

  constructor(row: Hypercall, handlers: unknown, before: unknown) {
    const names = Object.keys(row.params);
    const all = Object.entries(row.params).map(([name, type], index) => ({ name, type, index }));
    this.row = row;
    this.#cmdIndex = names.indexOf('cmd');
    this.#argIndex = all.findIndex(({ type }) => isArgumentPointer(type));
    this.#registers = all.filter(({ index }) => index !== this.#cmdIndex && index !== this.#argIndex);
    this.#before = before as AnyBefore | undefined;
    this.#cmdMask = row.cmdMask;
    if (hasOps(row.body)) {
      for (const [name, op] of Object.entries(row.body)) {
        this.#ops[op.cmd] = new CompiledOp(`${row.name}.${name}`, op, (handlers as AnyArgs)[name], names);
      }
    } else {
      this.#single = new CompiledOp(row.name, row.body, handlers, names);
    }
  }

  /** The op that `record` names, for the dispatcher and the trace. */
  opOf(record: CallRecord): CompiledOp | undefined {
    return this.#single ?? this.#ops[record.words[this.#cmdIndex * 2]! & this.#cmdMask];
  }

  /** Does the call. */
  run(call: Call, record: CallRecord): Outcome {
    const registers = this.#registers;
    let args = NO_REGISTERS;
    if (registers.length > 0) {
      args = {};
      for (let i = 0; i < registers.length; i++) {
        const register = registers[i]!;
        args[register.name] = register.type.read(record.argView, register.index * 8);
      }
    }
    if (this.#before !== undefined) {
      const refusal = this.#before(call, args);
      if (refusal !== undefined) return errnoValue(refusal);
    }
    const op = this.opOf(record);
    if (op === undefined) return ENOSYS;
    if (op.row.kind === 'refused') {
      const isReadable = op.row.reads === 0 || copyFromGuest(call.host, record.args[this.#argIndex]!, record.bytes, 0, op.row.reads);
      return isReadable ? errnoValue(op.row.errno) : EFAULT;
    }
    if (op.batch !== undefined) return this.#runBatch(call, record, op, op.batch, args);

    const struct = op.struct;
    const handler = op.handler!;
    if (struct === null) return outcomeOf(handler(call, args));
    const pointer = record.args[this.#argIndex]!;
    if (struct.hasIn) {
      if (!copyFromGuest(call.host, pointer, record.bytes, 0, struct.size)) return EFAULT;
      args = struct.decode(record.view, 0, args === NO_REGISTERS ? {} : args) as AnyArgs;
    } else {
      record.bytes.fill(0, 0, struct.size);
    }
    record.hasStruct = true;
    const result = handler(call, args);
    if (typeof result !== 'object') return outcomeOf(result);
    struct.encode(record.view, 0, result);
    return copyToGuest(call.host, pointer, record.bytes, 0, struct.size) ? 0 : EFAULT;
  }

  #runBatch(call: Call, record: CallRecord, op: CompiledOp, batch: AnyBatchHandler, registers: AnyArgs): Outcome {
    const struct = op.struct!;
    const { size, outStart, outEnd } = struct;
    const start = record.args[this.#argIndex]!;
    const count = op.countOf(record);
    if (!isGuestArray(call.host, start, count, size)) return EFAULT;
    const refusal = batch.begin?.(call, registers);
    if (refusal !== undefined) return outcomeOf(refusal);

    const slice = Math.min(count, BATCH_SLICE);
    let outcome: Outcome = 0;
    let done = 0;
    for (; done < slice && outcome === 0; done++) {
      const pointer = done === 0 ? start : BigInt.asUintN(64, start + BigInt(done * size));
      const base = done === 0 ? 0 : size;
      if (!copyFromGuest(call.host, start, record.bytes, base, size, done * size)) {
        outcome = EFAULT;
        break;
      }
      record.hasStruct = true;
      const result = batch.each(call, struct.decode(record.view, base) as AnyArgs, registers, pointer);
      if (typeof result === 'object') {
        struct.encode(record.view, base, result);
        if (!copyToGuest(call.host, start, record.bytes, base + outStart, outEnd - outStart, done * size + outStart)) outcome = EFAULT;
      } else {
        outcome = outcomeOf(result);
      }
      if (outcome !== 0) break;
    }
    batch.end?.(call, registers, done);
    if ((outcome !== 0 && outcome !== MADE_AGAIN) || done === count) return outcome;
    call.args[this.#argIndex] = start + BigInt(done * size);
    call.args[op.countIndex] = BigInt(count - done + op.continuedBit);
    return MADE_AGAIN;
  }
}

function outcomeOf(result: object | string | number | bigint | undefined): Outcome {
  if (result === undefined) return 0;
  if (typeof result === 'string') return result === AGAIN ? MADE_AGAIN : errnoValue(result);
  if (typeof result === 'object') throw new Error('bug: a hypercall without out fields answered some');
  return result;
}

export function implement<P extends Params, B extends Body>(
  row: Hypercall<P, B>,
  handlers: HandlersOf<P, B>,
  before?: Before<P>['before'],
): Implementation {
  return new Implementation(row as unknown as Hypercall, handlers, before);
}
