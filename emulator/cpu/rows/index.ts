/** All rows, numbered. */
import type { Row, RowSource } from '../row.ts';
import { arithmeticRows } from './arithmetic.ts';
import { bitRows } from './bits.ts';
import { branchRows } from './branch.ts';
import { farRows } from './far.ts';
import { faultRows } from './fault.ts';
import { flagRows } from './flag.ts';
import { legacyRows } from './legacy.ts';
import { mmxRows } from './mmx.ts';
import { moveRows } from './move.ts';
import { multiplyRows } from './multiply.ts';
import { shiftRows } from './shift.ts';
import { sseControlRows } from './sse_control.ts';
import { sseConvertRows } from './sse_convert.ts';
import { sseFloatRows } from './sse_float.ts';
import { sseIntegerRows } from './sse_integer.ts';
import { sseMoveRows } from './sse_move.ts';
import { sseShuffleRows } from './sse_shuffle.ts';
import { sse3Rows } from './sse3.ts';
import { sse41Rows } from './sse41.ts';
import { sse42Rows } from './sse42.ts';
import { ssse3Rows } from './ssse3.ts';
import { stringRows } from './string.ts';
import { systemRows } from './system.ts';
import { x87Rows } from './x87.ts';

const sources: RowSource[] = [
  ...faultRows,
  ...arithmeticRows,
  ...moveRows,
  ...branchRows,
  ...shiftRows,
  ...multiplyRows,
  ...bitRows,
  ...stringRows,
  ...flagRows,
  ...legacyRows,
  ...sseMoveRows,
  ...sseIntegerRows,
  ...sseShuffleRows,
  ...sseFloatRows,
  ...sseConvertRows,
  ...sseControlRows,
  ...sse3Rows,
  ...ssse3Rows,
  ...sse41Rows,
  ...sse42Rows,
  ...mmxRows,
  ...x87Rows,
  ...systemRows,
  ...farRows,
];

export const rows: readonly Row[] = sources.map((source, id) => ({ ...source, id }));

const pseudo = new Map(rows.filter((row) => row.opcode === '').map((row) => [row.mnemonic, row]));

/** A pseudo row by its mnemonic ('#UD', '#GP', '#NM'). */
export function rowByName(mnemonic: string): Row {
  const found = pseudo.get(mnemonic);
  if (!found) throw new Error(`bug: no pseudo row ${mnemonic}`);
  return found;
}
