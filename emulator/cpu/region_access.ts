/**
 * Which accesses of a basic block ask the TLB together: those near each other through the same register, which pushes and pops
 * are as well. The first one asks for all bytes that they touch; the others go where they lie from there. What keeps them
 * together holds for a block: its registers' changes are known, and nothing in a region changes translations.
 */
import { RSP } from './interface.ts';
import type { Op } from './ir.ts';
import type { RegionInsn } from './region_insn.ts';
import { refCode } from './region_steps.ts';
import type { Shape } from './shape.ts';
import { FS_INDEX } from './state.ts';

/** The one access of an instruction. */
interface Access {
  readonly isWrite: boolean;
  readonly size: number;
  /** Where it lies from RSP as that is before the instruction; undefined: where its address form says. */
  readonly fromStack: number | undefined;
}

/** What an instruction accesses, and what it does to registers that others access memory through. */
export interface Reach {
  /** undefined: none, several, or one that must ask for itself. */
  readonly access: Access | undefined;
  /** What it adds to RSP; undefined: it changes otherwise, if `changes` names it. */
  readonly stackChange: number | undefined;
  /** Codes of the registers that it changes; undefined: any. */
  readonly changes: readonly number[] | undefined;
}

export function reachOf(shape: Shape, ops: readonly Op[]): Reach {
  const changes = new Set<number>();
  let isAny = false;
  let accesses = 0;
  const walk = (list: readonly Op[]): void => {
    for (const op of list) {
      if (op.k === 'setReg') changes.add(refCode(op.ref));
      else if (op.k === 'ptr') accesses++;
      else if (op.k === 'call' || op.k === 'system') isAny = true;
      else if (op.k === 'if') {
        walk(op.ifTrue);
        walk(op.ifFalse);
      }
    }
  };
  walk(ops);
  // By value: how far it is from RSP; the address form's.
  const stack = new Map<number, number>();
  const constants = new Map<number, number>();
  let operand = -1;
  let access: Access | undefined;
  let stackChange: number | undefined;
  for (const op of ops) {
    if (op.k === 'getReg' && op.ref === RSP && op.size === 8) stack.set(op.out.id, 0);
    else if (op.k === 'const' && typeof op.value === 'bigint') constants.set(op.out.id, Number(BigInt.asIntN(64, op.value)));
    else if (op.k === 'wasm' && (op.name === 'i64.add' || op.name === 'i64.sub')) {
      const from = stack.get(op.args[0]!.id);
      const by = constants.get(op.args[1]!.id);
      if (from !== undefined && by !== undefined) stack.set(op.out.id, op.name === 'i64.add' ? from + by : from - by);
    } else if (op.k === 'linear' && op.segment < FS_INDEX && stack.has(op.offset.id)) stack.set(op.out.id, stack.get(op.offset.id)!);
    else if (op.k === 'ea' && shape.addressSize === 8 && shape.segment < FS_INDEX) operand = op.out.id;
    else if (op.k === 'ptr' && accesses === 1 && op.align === 1) {
      const fromStack = stack.get(op.addr.id);
      if (fromStack !== undefined || op.addr.id === operand) access = { isWrite: op.access !== 'r', size: op.size, fromStack };
    } else if (op.k === 'setReg' && op.ref === RSP) stackChange = op.size === 8 ? stack.get(op.value.id) : undefined;
  }
  const isFlat = shape.mode === 64 && !shape.alignCheck;
  return { access: isFlat ? access : undefined, stackChange, changes: isAny ? undefined : [...changes] };
}

/** What an access does: it asks for itself, or for others too, or goes by what another has asked. */
export const ALONE = 0,
  LEADS = 1,
  FOLLOWS = 2;

/** How far apart accesses may begin and end that ask together: where that crosses a page, the interpreter has the block. */
const MAX_SPAN = 64;
const REGISTERS = 16;

/** Accesses through one register, of one kind, as the first one sees them. */
interface Group {
  /** Its first instruction, or -1: there is none. */
  leader: number;
  place: number;
  /** Bytes `[start, end)`, from where the register points or RSP pointed at first. */
  start: number;
  end: number;
}

/** The roles of a block's accesses, by the instruction's place in it. One object serves one block after the other. */
export class SharedAccesses {
  readonly role = new Uint8Array(64);
  /** Of one that leads: how many bytes below its own first one, and above it, are asked for. */
  readonly below = new Int32Array(64);
  readonly above = new Int32Array(64);
  /** Of one that follows: who leads, and how far it lies from there. */
  readonly leader = new Int32Array(64);
  readonly distance = new Int32Array(64);
  /** Those for reading, then those for writing. */
  readonly #groups: readonly Group[] = Array.from({ length: 2 * REGISTERS }, () => ({ leader: -1, place: 0, start: 0, end: 0 }));
  /** By how much RSP has changed since the block's start. */
  #stack = 0;

  start(): void {
    this.#stack = 0;
    for (let base = 0; base < REGISTERS; base++) this.#forget(base);
  }

  #forget(base: number): void {
    this.#groups[base]!.leader = -1;
    this.#groups[base + REGISTERS]!.leader = -1;
  }

  /** The block's next instruction, at `index` in it; `registerOf` gives the numbers of its registers. */
  add(index: number, reach: Reach, insn: RegionInsn, registerOf: (insn: RegionInsn, code: number) => number): void {
    this.role[index] = ALONE;
    const { access, changes } = reach;
    if (access !== undefined) this.#join(index, access, insn);
    if (changes === undefined) {
      for (let base = 0; base < REGISTERS; base++) this.#forget(base);
      return;
    }
    for (let i = 0; i < changes.length; i++) {
      const register = registerOf(insn, changes[i]!);
      if (register !== RSP || reach.stackChange === undefined || changes[i] !== RSP) this.#forget(register);
      else this.#stack += reach.stackChange;
    }
  }

  #join(index: number, { isWrite, size, fromStack }: Access, insn: RegionInsn): void {
    const base = fromStack !== undefined ? RSP : insn.shape.ea === 'base' ? insn.baseNumber : -1;
    if (base < 0) return;
    const place = (fromStack ?? insn.disp) + (base === RSP ? this.#stack : 0);
    const group = this.#groups[isWrite ? base + REGISTERS : base]!;
    const start = Math.min(group.start, place);
    const end = Math.max(group.end, place + size);
    if (group.leader < 0 || end - start > MAX_SPAN) {
      group.leader = index;
      group.place = group.start = place;
      group.end = place + size;
      return;
    }
    const { leader } = group;
    group.start = start;
    group.end = end;
    this.role[leader] = LEADS;
    this.below[leader] = group.place - start;
    this.above[leader] = end - 1 - group.place;
    this.role[index] = FOLLOWS;
    this.leader[index] = leader;
    this.distance[index] = place - group.place;
  }
}
