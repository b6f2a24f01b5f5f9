/** Bits 63 to 47 of `vaddr` are alike (SDM 1 3.3.7.1). */
export const isCanonical = (vaddr: bigint): boolean => BigInt.asUintN(64, BigInt.asIntN(48, vaddr)) === vaddr;
