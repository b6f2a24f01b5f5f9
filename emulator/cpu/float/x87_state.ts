// The x87's registers and what every instruction does with them: the register stack, exception reporting, stack faults
// (SDM 1 8.1, 8.5.1). The register file itself belongs to the user of the package, behind X87State.

import { type Env, IE, PRE_COMPUTATION } from './env.ts';
import { f80, indefinite, type Unpacked, unpack } from './format.ts';

export interface X87State {
  /** Control and status word; the status word holds TOP, ES and B. */
  control: number;
  status: number;
  /** Bit r: physical register r is not empty (FXSAVE's abridged tag word). */
  valid: number;
  /** FOP, FIP and FDP of the last non-control instruction. */
  opcode: number;
  instructionPointer: bigint;
  codeSelector: number;
  dataPointer: bigint;
  dataSelector: number;
  /** Physical registers R0..R7. */
  signExponent(register: number): number;
  significand(register: number): bigint;
  setRegister(register: number, signExponent: number, significand: bigint): void;
}

export const INDEFINITE = indefinite(f80);

export const SF = 0x0040;
export const ES = 0x0080;
export const C0 = 0x0100;
export const C1 = 0x0200;
export const C2 = 0x0400;
export const C3 = 0x4000;
export const B = 0x8000;
export const CONDITIONS = C0 | C1 | C2 | C3;
const TOP = 0x3800;
const EXCEPTIONS = 0x3f;

export function top(state: X87State): number {
  return (state.status >> 11) & 7;
}

/** Moves TOP by +1 or -1 and nothing else. */
export function rotate(state: X87State, by: number): void {
  state.status = (state.status & ~TOP) | (((top(state) + by) & 7) << 11);
}

export function isEmpty(state: X87State, i: number): boolean {
  return ((state.valid >> ((top(state) + i) & 7)) & 1) === 0;
}

/** ST(i)'s pattern, empty or not. */
export function readBits(state: X87State, i: number): bigint {
  const r = (top(state) + i) & 7;
  return (BigInt(state.signExponent(r)) << 64n) | state.significand(r);
}

export function read(state: X87State, i: number): Unpacked {
  return unpack(f80, readBits(state, i));
}

export function write(state: X87State, i: number, bits: bigint): void {
  const r = (top(state) + i) & 7;
  state.setRegister(r, Number(bits >> 64n), BigInt.asUintN(64, bits));
  state.valid |= 1 << r;
}

export function free(state: X87State, i: number): void {
  state.valid &= ~(1 << ((top(state) + i) & 7));
}

export function push(state: X87State, bits: bigint): void {
  rotate(state, -1);
  write(state, 0, bits);
}

export function pop(state: X87State): void {
  free(state, 0);
  rotate(state, 1);
}

/** ES and B follow the flags and the masks. */
export function updateSummary(state: X87State): void {
  const pending = (state.status & ~state.control & EXCEPTIONS) !== 0;
  state.status = (state.status & ~(ES | B)) | (pending ? ES | B : 0);
}

export function setConditions(state: X87State, conditions: number): void {
  state.status = (state.status & ~CONDITIONS) | conditions;
}

function report(state: X87State, flags: number, c1: boolean): void {
  state.status = (state.status & ~C1) | flags | (c1 ? C1 : 0);
  updateSummary(state);
}

/** Takes over what an operation raised; false: an unmasked exception forbids its result. */
export function commit(state: X87State, env: Env): boolean {
  const unmasked = env.flags & ~state.control;
  const suppressed = (unmasked & PRE_COMPUTATION) !== 0;
  report(state, suppressed ? env.flags & PRE_COMPUTATION : env.flags, !suppressed && env.roundedUp);
  return !suppressed;
}

/** Raises a stack fault; true: it is masked and the indefinite NaN is the result. */
export function stackFault(state: X87State, overflow: boolean): boolean {
  report(state, IE | SF, overflow);
  return (state.control & IE) !== 0;
}

/** False if the push would overflow the stack, which is then raised and, if masked, answered. */
export function canPush(state: X87State): boolean {
  if (isEmpty(state, -1)) return true;
  if (stackFault(state, true)) push(state, INDEFINITE);
  return false;
}

export function initX87(state: X87State): void {
  state.control = 0x037f;
  state.status = 0;
  state.valid = 0;
  state.opcode = 0;
  state.instructionPointer = 0n;
  state.codeSelector = 0;
  state.dataPointer = 0n;
  state.dataSelector = 0;
}

/** #MF is due before the next waiting x87 or MMX instruction. */
export function waitX87(state: X87State): boolean {
  return (state.status & ES) !== 0;
}

/** What every MMX instruction but EMMS does first; it also sets the exponent of each register that it writes to all ones. */
export function enterMmx(state: X87State): void {
  state.status &= ~TOP;
  state.valid = 0xff;
}

/** EMMS. */
export function emptyMmx(state: X87State): void {
  state.valid = 0;
}
