/**
 * Helpers: computations in TypeScript that lowered code calls inside the loop (`q.call`). Arguments lie at ARGS, 16 bytes
 * each; an i64 result goes back to ARGS. A helper may throw a Fault, before it has changed anything.
 */
import type { CpuCore } from './cpu.ts';
import type { Insn } from './decoder.ts';
import { DE, Fault } from './fault.ts';
import * as L from './layout.ts';

export type Helper = (cpu: CpuCore, record: number, insn: Insn | undefined) => void;

export const helpers: Helper[] = [];

/** Registers a helper and returns its number for `q.call`. */
export function defineHelper(helper: Helper): number {
  return helpers.push(helper) - 1;
}

/** Unsigned 128 by 64 bit division: (high, low, divisor) -> quotient, remainder in the second slot; #DE on overflow. */
export const HELPER_DIV = defineHelper((cpu) => {
  const { view } = cpu.state;
  const dividend = (view.getBigUint64(L.ARGS, true) << 64n) | view.getBigUint64(L.ARGS + 16, true);
  const divisor = view.getBigUint64(L.ARGS + 32, true);
  if (divisor === 0n || dividend / divisor > 0xffff_ffff_ffff_ffffn) throw new Fault(DE);
  view.setBigUint64(L.ARGS, dividend / divisor, true);
  view.setBigUint64(L.ARGS + 16, dividend % divisor, true);
});

/** Signed 128 by 64 bit division. */
export const HELPER_IDIV = defineHelper((cpu) => {
  const { view } = cpu.state;
  const dividend = (view.getBigInt64(L.ARGS, true) << 64n) | view.getBigUint64(L.ARGS + 16, true);
  const divisor = view.getBigInt64(L.ARGS + 32, true);
  if (divisor === 0n) throw new Fault(DE);
  const quotient = dividend / divisor;
  if (BigInt.asIntN(64, quotient) !== quotient) throw new Fault(DE);
  view.setBigInt64(L.ARGS, quotient, true);
  view.setBigInt64(L.ARGS + 16, dividend % divisor, true);
});
