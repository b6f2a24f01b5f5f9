/**
 * The x87 FPU (SDM 1 8): a row per memory form, so that each has its size, and one per opcode for the register forms. All
 * are performed by helpers (x87_helpers.ts) on memory that is checked and translated here. FXSAVE and FXRSTOR, too.
 */
import type { Builder } from '../builder.ts';
import { x87MemoryOperand } from '../float/x87.ts';
import { type RowSource, row } from '../row.ts';
import { HELPER_FXRSTOR, HELPER_FXSAVE, HELPER_X87, HELPER_X87_IMAGE, HELPER_X87_MEMORY } from '../x87_helpers.ts';
import { checkPending } from './sse_operands.ts';

/** By opcode from D8 and ModRM.reg; '-' is reserved. */
const memoryMnemonics = [
  'fadd fmul fcom fcomp fsub fsubr fdiv fdivr',
  'fld - fst fstp fldenv fldcw fnstenv fnstcw',
  'fiadd fimul ficom ficomp fisub fisubr fidiv fidivr',
  'fild fisttp fist fistp - fld - fstp',
  'fadd fmul fcom fcomp fsub fsubr fdiv fdivr',
  'fld fisttp fst fstp frstor - fnsave fnstsw',
  'fiadd fimul ficom ficomp fisub fisubr fidiv fidivr',
  'fild fisttp fist fistp fbld fild fbstp fistp',
];

/** What crosses a page in SCRATCH fits its half of it. */
const MAX_TRANSLATED = 32;

/** The control instructions with N in their names do not wait for a pending exception. */
function memory(opcode: number, reg: number, isWaiting: boolean): (q: Builder) => void {
  return (q) => {
    const operand = x87MemoryOperand(opcode, reg << 3, q.size === 2 ? 2 : 4);
    if (operand === 'ud' || operand.access === 'none') throw new Error('bug: an x87 row without a memory form');
    if (isWaiting) checkPending(q);
    const offset = q.offset();
    const linear = q.ea(operand.size);
    if (operand.size > MAX_TRANSLATED) q.call(HELPER_X87_IMAGE, [linear, offset]);
    else q.call(HELPER_X87_MEMORY, [q.ptr(linear, operand.size, operand.access), offset]);
  };
}

const memoryRows = memoryMnemonics.flatMap((names, i) =>
  names
    .split(' ')
    .flatMap((name, reg) =>
      name === '-'
        ? []
        : [row(name, 'M', `D${(8 + i).toString(16).toUpperCase()} /${reg}`, 'x87', memory(0xd8 + i, reg, !name.startsWith('fn')))],
    ),
);

const registerRows = memoryMnemonics.map((_, i) =>
  row('x87', 'R', `D${(8 + i).toString(16).toUpperCase()} /r`, 'x87', (q) => void q.call(HELPER_X87, [])),
);

// biome-ignore format: one row a line
export const x87Rows: RowSource[] = [
  ...memoryRows,
  ...registerRows,
  row('fwait',   '',  '9B',          'x87', checkPending),
  row('fxsave',  'M', 'NP 0F AE /0', 'x87', (q) => void q.call(HELPER_FXSAVE, [q.ea(512)])),
  row('fxrstor', 'M', 'NP 0F AE /1', 'x87', (q) => void q.call(HELPER_FXRSTOR, [q.ea(512)])),
];
