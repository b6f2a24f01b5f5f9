/**
 * `hypercall`, `op`, `call`, `batch`, `refused`: the rows of the ABI table. A row says who may call, which registers hold
 * what, which struct the pointer names, and every errno that the handler may answer; the handlers' types follow from it.
 * -EFAULT (a pointer that cannot be followed) and -ENOSYS (no such op) need no declaration: the dispatcher answers them.
 */
import type { ErrnoName } from './errno.ts';
import type { AnyStruct, InOf, OutOf, Struct } from './struct.ts';
import type { ArgumentPointer, Type, ValueOf } from './types.ts';

/** Which guests reach the call; the others get -ENOSYS. */
export interface Guests {
  readonly pv64?: boolean;
  readonly pvh?: boolean;
}

/** What RAX means on success: nothing (0), or a value. */
export type Returns = 'nothing' | 'value';

/** What one (sub-)operation does. */
export interface Op<A extends AnyStruct | null, E extends ErrnoName, R extends Returns, B extends boolean> {
  readonly kind: 'op';
  readonly cmd: number;
  readonly arg: A;
  readonly doc: string;
  readonly errnos: readonly E[];
  readonly returns: R;
  /** Done for each of an array of `arg`: the parameter that counts them. */
  readonly count: B extends true ? string : undefined;
  /** Of a batch: the bit of the count that says that it is continued; 0: there is none. */
  readonly continuedBit: number;
  /** The struct at the pointer where `arg` is null because the handler reads it itself. */
  readonly follows: AnyStruct | undefined;
}

/** A (sub-)operation that this kind of guest, or this release, never gets. */
export interface Refused {
  readonly kind: 'refused';
  readonly cmd: number;
  readonly errno: ErrnoName;
  readonly doc: string;
  /** Bytes of the argument that must be readable, else -EFAULT comes first. */
  readonly reads: number;
}

// biome-ignore lint/suspicious/noExplicitAny: any op at all
export type AnyOp = Op<any, any, any, any>;

interface OpOptions<R extends Returns> {
  readonly returns?: R;
  readonly follows?: AnyStruct;
}

/** Sub-operation `cmd` of a hypercall, with the struct that its pointer names (null: the pointer is not looked at). */
export function op<A extends AnyStruct | null, const E extends ErrnoName = never, R extends Returns = 'nothing'>(
  cmd: number,
  arg: A,
  doc: string,
  errnos: readonly E[] = [],
  options: OpOptions<R> = {},
): Op<A, E, R, false> {
  return {
    kind: 'op',
    cmd,
    arg,
    doc,
    errnos,
    returns: options.returns ?? ('nothing' as R),
    count: undefined,
    continuedBit: 0,
    follows: options.follows,
  };
}

/** A hypercall without sub-operations. */
export function call<A extends AnyStruct | null, const E extends ErrnoName = never, R extends Returns = 'nothing'>(
  arg: A,
  doc: string,
  errnos: readonly E[] = [],
  options: OpOptions<R> = {},
): Op<A, E, R, false> {
  return op(-1, arg, doc, errnos, options);
}

/** `row` for each element of an array; the register parameter `count` says how many. */
export function batch<A extends AnyStruct, E extends ErrnoName, R extends Returns>(
  row: Op<A, E, R, false>,
  count: string,
  { continuedBit = 0 }: { continuedBit?: number } = {},
): Op<A, E, R, true> {
  return { ...row, count, continuedBit };
}

export function refused(cmd: number, errno: ErrnoName, doc: string, options: { reads?: number } = {}): Refused {
  return { kind: 'refused', cmd, errno, doc, reads: options.reads ?? 0 };
}

/** Register parameters in order: RDI, RSI, RDX, R10, R8, R9. The one called `cmd` picks the op. */
// biome-ignore lint/suspicious/noExplicitAny: the value types are inferred back out by Registers
export type Params = Readonly<Record<string, Type<any>>>;
export type Body = AnyOp | Refused | Readonly<Record<string, AnyOp | Refused>>;

export interface Hypercall<P extends Params = Params, B extends Body = Body> {
  readonly name: string;
  readonly nr: number;
  readonly guests: Guests;
  readonly params: P;
  readonly body: B;
  /** Bits of `cmd` that pick the op, where Xen keeps a continuation's progress in the others. */
  readonly cmdMask: number;
  /** Errnos of the family's `before` check. */
  readonly before: readonly ErrnoName[];
}

export function hypercall<P extends Params, B extends Body>(
  name: string,
  nr: number,
  guests: Guests,
  params: P,
  body: B,
  options: { cmdMask?: number; before?: readonly ErrnoName[] } = {},
): Hypercall<P, B> {
  return { name, nr, guests, params, body, cmdMask: options.cmdMask ?? -1, before: options.before ?? [] };
}

export const hasOps = (body: Body): body is Readonly<Record<string, AnyOp | Refused>> => typeof body.kind !== 'string';

/** What a handler gets of the registers: all but `cmd` and the pointer to the op's struct. */
export type Registers<P extends Params> = {
  readonly [K in keyof P as K extends 'cmd' ? never : P[K] extends ArgumentPointer ? never : K]: ValueOf<P[K]>;
};

/** The handler set its arguments (`call.args`) to what is left to do; the guest will make the call again. */
export const AGAIN = 'again';

type In<A> = A extends Struct<infer F> ? InOf<F> : unknown;
type Out<A> = A extends Struct<infer F> ? (keyof OutOf<F> extends never ? undefined : OutOf<F>) : undefined;

/** `undefined` (done), an errno's name, the out fields, or RAX's value. */
export type Result<O extends AnyOp> =
  O extends Op<infer A, infer E, infer R, boolean> ? (R extends 'value' ? number | bigint : Out<A>) | E | 'EFAULT' | typeof AGAIN : never;

export type ArgsOf<P extends Params, O extends AnyOp> = Registers<P> &
  (O extends Op<infer A, ErrnoName, Returns, boolean> ? In<A> : unknown);
export type RegistersOf<P extends Params> = Registers<P>;
