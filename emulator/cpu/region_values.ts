/**
 * What an instruction's values come to in a region, found before they are written: how often each is used, whether anybody
 * looks at its upper half, and which reads of registers and memory can wait until their value is used.
 */
import type { Op, Value } from './ir.ts';

const LOW = 0xffff_ffffn;
/** Their low 32 bits follow from those of their arguments. */
const lowFromLow = new Set(['i64.add', 'i64.sub', 'i64.mul', 'i64.and', 'i64.or', 'i64.xor']);
const lowOnly = new Set(['i32.wrap_i64', 'i64.extend32_s', 'i64.extend16_s', 'i64.extend8_s', 'i64.store32', 'i64.store16', 'i64.store8']);
const shifts = new Set(['i64.shl', 'i64.shr_u', 'i64.shr_s', 'i64.rotl', 'i64.rotr']);
const shortLoads = new Set(['i64.load32_u', 'i64.load16_u', 'i64.load8_u']);
/** Not done for their value alone. */
const withoutEffect = new Set(['const', 'wasm', 'select', 'field', 'getReg', 'getXmm', 'getMmx', 'getState', 'load', 'cond', 'offset']);
const writesFlags = new Set(['setFlags', 'setFlagsFrom', 'setCarry', 'setFlagsImage']);
/** Something may see the flags here, be it that the instruction faults or that an access misses. */
const showsFlags = new Set(['ea', 'linear', 'ptr', 'fault', 'call', 'cond', 'getFlagsImage', 'setCarry', 'if', 'jump', 'branch', 'system']);

/** What an instruction does to the flags before it: nothing; it makes them anew unseen; or they may be seen, or live on in part. */
export type FlagUse = 'none' | 'replaces' | 'sees';

export function flagUseOf(ops: readonly Op[]): FlagUse {
  for (const op of ops) {
    if (showsFlags.has(op.k)) return 'sees';
    if (op.k === 'setFlags') return op.kind === 'inc' || op.kind === 'dec' ? 'sees' : 'replaces';
    if (writesFlags.has(op.k)) return 'replaces';
  }
  return 'none';
}

/** A use of a value: of all its bits, or of the low 32. */
type Use = (value: Value, isLow: boolean) => void;

export class RegionValues {
  /** Whether nobody will see the flags that the instruction leaves. */
  readonly areFlagsDead: boolean;
  readonly #ops: readonly Op[];
  readonly #definitions = new Map<number, Op>();
  readonly #uses = new Map<number, number>();
  /** Values whose upper half somebody looks at. */
  readonly #whole = new Set<number>();
  /** By value, where in the list its last use is written; absent for those used in a branch of it. */
  readonly #usedAt = new Map<number, number>();
  readonly #waiting = new Set<Op>();

  constructor(ops: readonly Op[], areFlagsDead: boolean) {
    this.areFlagsDead = areFlagsDead;
    this.#ops = ops;
    this.#visit(ops, true);
    ops.forEach((op, i) => {
      if (this.#canWait(op, i)) this.#waiting.add(op);
    });
  }

  uses(value: Value): number {
    return this.#uses.get(value.id) ?? 0;
  }

  isLow(value: Value): boolean {
    return !this.#whole.has(value.id);
  }

  /** Whether an operation need not be written: it is there for a value that nobody wants, or for flags. */
  isIdle(op: Op): boolean {
    if (writesFlags.has(op.k)) return this.areFlagsDead;
    return withoutEffect.has(op.k) && 'out' in op && op.out !== undefined && this.uses(op.out) === 0;
  }

  /** Whether its value can be read where it is used. */
  waits(op: Op): boolean {
    return this.#waiting.has(op);
  }

  /** Whether nothing stands above bit 31 as the value is written. */
  isClean(value: Value): boolean {
    const op = this.#definitions.get(value.id);
    if (!op) return false;
    switch (op.k) {
      case 'getReg':
        return op.size < 4 || (op.size === 4 && !this.isLow(value));
      case 'load':
        return shortLoads.has(op.load);
      case 'wasm':
        if (op.name === 'i64.extend_i32_u') return true;
        if (op.name === 'i64.shr_u') return this.isClean(op.args[0]!);
        if (this.isMask(op)) return !this.isLow(value) || this.isClean(op.args[0]!);
        if (op.name === 'i64.and') return op.args.some((arg) => this.isClean(arg));
        return (op.name === 'i64.or' || op.name === 'i64.xor') && op.args.every((arg) => this.isClean(arg));
      case 'const':
        return typeof op.value === 'bigint' && op.value >= 0n && op.value <= LOW;
      default:
        return false;
    }
  }

  /** Cuts its first argument to 32 bits. */
  isMask(op: Op): boolean {
    return op.k === 'wasm' && op.name === 'i64.and' && this.#constant(op.args[1]!) === LOW;
  }

  /** The immediate, if it is that. */
  isImmediate(value: Value): boolean {
    const op = this.#definitions.get(value.id);
    return op?.k === 'field' && op.field === 'imm';
  }

  /**
   * Operands that may be put where the flags of the last operation have theirs as soon as they are known: nothing looks at
   * the flags from there to where they are set. `set` is an operation of the list.
   */
  isFreeBefore(value: Value, set: Op): boolean {
    const from = this.#ops.findIndex((op) => 'out' in op && op.out?.id === value.id);
    const to = this.#ops.indexOf(set);
    if (from < 0 || to < 0 || value.isVariable) return false;
    return this.#ops.slice(from + 1, to).every((op) => !showsFlags.has(op.k) && !writesFlags.has(op.k));
  }

  #constant(value: Value): bigint | undefined {
    const op = this.#definitions.get(value.id);
    return op?.k === 'const' && typeof op.value === 'bigint' ? op.value : undefined;
  }

  /** From the last operation to the first: users come before what they use. */
  #visit(ops: readonly Op[], isTop: boolean): void {
    for (const op of ops) if ('out' in op && op.out) this.#definitions.set(op.out.id, op);
    for (let i = ops.length - 1; i >= 0; i--) {
      const op = ops[i]!;
      if (op.k === 'if') {
        this.#visit(op.ifFalse, false);
        this.#visit(op.ifTrue, false);
      }
      if (this.isIdle(op)) continue;
      // What is used once and changes nothing is written where it is used.
      const moves = 'out' in op && op.out !== undefined && this.#isMoved(op);
      const place = !isTop ? undefined : moves ? this.#usedAt.get((op as { out: Value }).out.id) : i;
      this.#useAll(op, (value, isLow) => {
        const count = this.uses(value);
        this.#uses.set(value.id, count + 1);
        if (!isLow) this.#whole.add(value.id);
        if (place === undefined || count > 0) this.#usedAt.delete(value.id);
        else this.#usedAt.set(value.id, place);
      });
    }
  }

  #isMoved(op: Op): boolean {
    return (op.k === 'wasm' || op.k === 'select') && this.uses(op.out) === 1;
  }

  #useAll(op: Op, use: Use): void {
    const all = (...values: (Value | undefined)[]): void => {
      for (const value of values) if (value) use(value, false);
    };
    switch (op.k) {
      case 'wasm':
        op.args.forEach((arg, i) => {
          const isShort = i === 0 && op.args.length === 2 && op.name === 'i64.and' && (this.#constant(op.args[1]!) ?? -1n) <= LOW;
          const isMasked = isShort && (this.#constant(op.args[1]!) ?? -1n) >= 0n;
          const isShift = shifts.has(op.name);
          const followsOut = lowFromLow.has(op.name) || (op.name === 'i64.shl' && i === 0);
          use(arg, lowOnly.has(op.name) || isMasked || (isShift && i === 1) || (followsOut && this.isLow(op.out)));
        });
        return;
      case 'select':
        use(op.cond, false);
        use(op.ifTrue, this.isLow(op.out));
        use(op.ifFalse, this.isLow(op.out));
        return;
      case 'setReg':
        return use(op.value, op.size <= 4);
      case 'store':
        use(op.ptr, false);
        return use(op.value, lowOnly.has(op.store));
      case 'setFlags':
        if (op.kind === 'add' || op.kind === 'sub') return all(op.a, op.b);
        if (op.kind !== 'adc' && op.kind !== 'sbb') return use(op.result, op.size <= 4);
        return all(op.result, op.a, op.b, op.result, op.a, op.b);
      case 'setFlagsFrom':
        all(op.cf, op.of);
        return use(op.result, op.size <= 4);
      case 'setCarry':
        return all(op.cf, op.of);
      case 'setFlagsImage':
        return all(op.image);
      case 'setXmm':
      case 'setMmx':
      case 'setState':
      case 'setVar':
        return all(op.value);
      case 'load':
        return all(op.ptr);
      case 'linear':
        return all(op.offset);
      case 'ptr':
        return all(op.addr);
      case 'if':
      case 'fault':
      case 'branch':
        return all(op.cond);
      case 'call':
        return all(...op.args);
      case 'jump':
        if (typeof op.target !== 'string') all(op.target);
        return;
      default:
    }
  }

  /** Reads that nothing overtakes on the way to the one place where their value is used. */
  #canWait(op: Op, at: number): boolean {
    if (op.k !== 'getReg' && op.k !== 'getXmm' && op.k !== 'load') return false;
    const place = this.#usedAt.get(op.out.id);
    if (place === undefined || this.uses(op.out) !== 1) return false;
    const changes = op.k === 'load' ? 'store' : op.k === 'getReg' ? 'setReg' : 'setXmm';
    return this.#ops.slice(at + 1, place).every(({ k }) => k !== changes && k !== 'call' && k !== 'if');
  }
}
