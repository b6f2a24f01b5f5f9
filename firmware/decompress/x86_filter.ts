/**
 * The xz format's x86 filter: targets of CALL and JMP were made absolute so that equal ones compress well, and become
 * relative again. Whether a byte E8 or E9 is such an instruction is guessed from the top byte of its operand and from
 * the bytes like it just before.
 */

const isOpcode = (byte: number): boolean => (byte & 0xfe) === 0xe8;
const isTop = (byte: number): boolean => byte === 0 || byte === 0xff;

/** By which of the three bytes before looked like an opcode: whether the operand can be one, and which of its bytes tells. */
const MAY_BE_OPERAND = [true, true, true, false, true, false, false, false] as const;
const TELLING_BYTE = [0, 1, 2, 2, 3, 3, 3, 3] as const;

/** Undoes the filter in place; `start` is what the first byte's address counts as. */
export function undoX86Filter(data: Uint8Array, start: number): void {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  let last = -1;
  /** Bit n: an opcode was seen n + 1 bytes before `last`, or there. */
  let seen = 0;
  for (let i = 0; i + 5 <= data.length; i++) {
    if (!isOpcode(data[i]!)) continue;
    const distance = i - last;
    last = i;
    seen = distance > 3 ? 0 : (seen << (distance - 1)) & 7;
    const mayBe = seen === 0 || (MAY_BE_OPERAND[seen] && !isTop(data[i + 4 - TELLING_BYTE[seen]!]!));
    if (!mayBe || !isTop(data[i + 4]!)) {
      seen = (seen << 1) | 1;
      continue;
    }
    view.setUint32(i + 1, relative(view.getUint32(i + 1, true), start + i + 5, seen), true);
    i += 4;
  }
}

/** The operand of an instruction that ends at `end`, sign-extended from 25 bits. */
function relative(absolute: number, end: number, seen: number): number {
  let source = absolute;
  for (;;) {
    const target = (source - end) | 0;
    const bits = TELLING_BYTE[seen]! * 8;
    if (seen === 0 || !isTop((target >>> (24 - bits)) & 0xff)) return (target << 7) >> 7;
    source = target ^ (2 ** (32 - bits) - 1);
  }
}
