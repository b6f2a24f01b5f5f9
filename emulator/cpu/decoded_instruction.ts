/** The decoder's result in the form that hosts read. */
import type { Insn } from './decoder.ts';
import type { DecodedInstruction } from './interface.ts';
import { segmentNames } from './state.ts';

export function toDecodedInstruction(insn: Insn): DecodedInstruction {
  const { row, shape } = insn;
  return {
    mnemonic: row.mnemonic,
    opcode: row.opcode,
    length: insn.length,
    size: shape.size,
    addressSize: shape.addressSize,
    rep: shape.rep,
    lock: insn.hasLock,
    reg: insn.regNumber,
    rm: insn.rmNumber,
    isMemory: shape.ea !== 'reg',
    base: insn.baseNumber,
    index: insn.indexNumber,
    scale: (1 << insn.scale) as 1 | 2 | 4 | 8,
    disp: BigInt(insn.disp),
    isRipRelative: shape.ea === 'rip',
    segment: segmentNames[insn.segment]!,
    imm: insn.imm,
  };
}
