/**
 * The lazy form of the arithmetic flags, complete enough for every combination that POPF can make: FLAG_RESULT is a
 * result sign-extended to 64 bits, FLAG_AUX an i32 word. ZF: result is 0. SF: sign of the result, xor aux bit 0.
 * PF: parity of the result's low byte xor aux bits 8-15. AF: aux bit 3. CF: aux bit 31. OF: aux bit 31 xor bit 30.
 */
import { FLAG_AUX, FLAG_RESULT } from './layout.ts';

export const CF = 1 << 0,
  PF = 1 << 2,
  AF = 1 << 4,
  ZF = 1 << 6,
  SF = 1 << 7,
  TF = 1 << 8,
  IF = 1 << 9,
  DF = 1 << 10,
  OF = 1 << 11,
  NT = 1 << 14,
  RF = 1 << 16,
  AC = 1 << 18,
  ID = 1 << 21;
export const IOPL_SHIFT = 12;
export const ARITHMETIC = CF | PF | AF | ZF | SF | OF;

/** OF SF ZF AF PF CF in RFLAGS's positions. */
export function readArithmeticFlags(view: DataView): number {
  const aux = view.getInt32(FLAG_AUX, true);
  const low = view.getInt32(FLAG_RESULT, true);
  const high = view.getInt32(FLAG_RESULT + 4, true);
  let parity = (low ^ (aux >>> 8)) & 0xff;
  parity ^= parity >> 4;
  const isEven = ((0x9669 >> (parity & 15)) & 1) !== 0;
  return (
    (aux < 0 ? CF : 0) |
    (isEven ? PF : 0) |
    (aux & 8 ? AF : 0) |
    ((low | high) === 0 ? ZF : 0) |
    ((high >>> 31) ^ (aux & 1) ? SF : 0) |
    ((aux ^ (aux << 1)) < 0 ? OF : 0)
  );
}

export function writeArithmeticFlags(view: DataView, flags: number): void {
  const cf = flags & CF ? 1 : 0;
  const of = flags & OF ? 1 : 0;
  view.setBigInt64(FLAG_RESULT, flags & ZF ? 0n : 0x100n, true);
  view.setInt32(FLAG_AUX, (cf << 31) | ((cf ^ of) << 30) | (flags & AF ? 8 : 0) | (flags & PF ? 0 : 0x100) | (flags & SF ? 1 : 0), true);
}
