/**
 * Whether an instruction looks at RAX, or replaces it without having looked. Sound in one direction: 'overwrites' is only what
 * surely writes all of RAX and reads none of it; whatever is not known here counts as a look.
 */
import { type DecodedInstruction, RAX } from '../cpu/interface.ts';

export type ResultUse = 'reads' | 'overwrites' | 'nothing';

/** Without ModRM and register, these have nothing to do with RAX ... */
const PLAIN = new Set(['j', 'jmp', 'call', 'ret', 'leave', 'pause', 'push', 'cld', 'std', 'clc', 'stc', 'cmc']);
/** ... and with ModRM only with the registers that they name. */
// biome-ignore format: by kind
const EXPLICIT = new Set([
  'mov', 'lea', 'movzx', 'movsx', 'movsxd', 'xchg', 'push', 'pop', 'cmov', 'set',
  'add', 'or', 'adc', 'sbb', 'and', 'sub', 'xor', 'cmp', 'test', 'inc', 'dec', 'neg', 'not',
  'rol', 'ror', 'rcl', 'rcr', 'shl', 'shr', 'sar', 'shld', 'shrd', 'bt', 'bts', 'btr', 'btc', 'bsf', 'bsr',
  'jmp', 'call',
]);
/** Their first operand is the destination, which they do not read. */
const LOADS = new Set(['lea', 'movzx', 'movsx', 'movsxd']);
const FULL_SIZE = 4;
/** Register number of AH, unless there is a REX prefix. */
const AH = 4;

export function useOfRax(insn: DecodedInstruction): ResultUse {
  const { mnemonic, opcode, size } = insn;
  if (mnemonic === 'nop') return 'nothing';
  if (insn.isMemory && (insn.base === RAX || insn.index === RAX)) return 'reads';
  const isFull = size >= FULL_SIZE;
  if (!opcode.includes('/')) {
    if (!opcode.includes('+r')) return PLAIN.has(mnemonic) ? 'nothing' : 'reads';
    const replaces = mnemonic === 'pop' || mnemonic === 'mov';
    if (insn.rm === RAX) return replaces && isFull ? 'overwrites' : 'reads';
    return replaces || mnemonic === 'push' || mnemonic === 'bswap' ? 'nothing' : 'reads';
  }
  const reg = opcode.includes('/r') ? insn.reg : -1;
  const rm = insn.isMemory ? -1 : insn.rm;
  if (!EXPLICIT.has(mnemonic)) return 'reads';
  if ((size === 1 && (reg === AH || rm === AH)) || (LOADS.has(mnemonic) && rm === AH && mnemonic !== 'movsxd')) return 'reads';
  if (reg !== RAX && rm !== RAX) return 'nothing';
  if (!isFull) return 'reads';
  if (reg === RAX && rm === RAX) return mnemonic === 'xor' || mnemonic === 'sub' ? 'overwrites' : 'reads';
  if (reg === RAX) return LOADS.has(mnemonic) || opcode.startsWith('8B') ? 'overwrites' : 'reads';
  return opcode.startsWith('89') || opcode.startsWith('C7') ? 'overwrites' : 'reads';
}
