import type { UnsupportedExit } from './exit.ts';

/** An exception in the making: thrown by the system unit and the MMU's checked accessors, caught by `Cpu.run`. */
export class Fault {
  readonly vector: number;
  readonly errorCode: number | undefined;
  /** Faulting linear address, for #PF. */
  readonly cr2: bigint | undefined;
  /** DR6's condition bits, for #DB. */
  readonly dr6: number;

  constructor(vector: number, errorCode?: number, cr2?: bigint, dr6 = 0) {
    this.vector = vector;
    this.errorCode = errorCode;
    this.cr2 = cr2;
    this.dr6 = dr6;
  }
}

/** What this CPU does not have is asked for: thrown by the system unit with nothing changed, an Exit of `Cpu.run`. */
export class Unsupported {
  readonly what: UnsupportedExit['what'];

  constructor(what: UnsupportedExit['what']) {
    this.what = what;
  }
}

export const DE = 0,
  DB = 1,
  NMI = 2,
  BP = 3,
  OF_VECTOR = 4,
  BR = 5,
  UD = 6,
  NM = 7,
  DOUBLE_FAULT = 8,
  TS = 10,
  NP = 11,
  SS = 12,
  GP = 13,
  PF_VECTOR = 14,
  MF = 16,
  AC_VECTOR = 17,
  MC = 18,
  XM = 19;

/** Vectors that push an error code (SDM 3A 6.13). */
const withErrorCode = new Set([DOUBLE_FAULT, TS, NP, SS, GP, PF_VECTOR, AC_VECTOR]);

export function hasErrorCode(vector: number): boolean {
  return withErrorCode.has(vector);
}
