/** SSE3 (SDM 1 12.3): horizontal and alternating arithmetic, duplicating moves, LDDQU. FISTTP is the x87's. */
import { addSubHelper } from '../fpu_helpers.ts';
import { type RowSource, row } from '../row.ts';
import { isDefault, packedAdd, packedSub } from './sse_float.ts';
import { xmmBinary } from './sse_integer.ts';
import { and, arePlain, both, double, type Format, holds, isFiniteLane, orHelper, single } from './sse_lanes.ts';
import { lanes, low64, range, splat, type VectorOp, xmmRm } from './sse_operands.ts';

/** Each pair of neighbours in a, then in b, becomes one lane: even op odd. */
export function horizontal(width: number, meaning: VectorOp): VectorOp {
  const pick = (odd: number): number[] => lanes(...Array.from({ length: 16 / width }, (_, i) => range((2 * i + odd) * width, width)));
  return (q, a, b) => meaning(q, q.shuffle(a, b, pick(0)), q.shuffle(a, b, pick(1)));
}

/** Even lanes are subtracted, odd ones added; inline as packed arithmetic is (sse_float.ts). */
function alternating(f: Format): VectorOp {
  const helper = addSubHelper(f.size);
  return (q, a, b) => {
    const evenSigns = f.size === 4 ? q.conVector(0x8000_0000n, 0x8000_0000n) : q.conVector(1n << 63n, 0n);
    const fast = q.op(`${f.vector}.add`, a, q.op('v128.xor', b, evenSigns));
    const ok = both(q, isDefault(q), holds(q, f, and(q, arePlain(q, f, a, b), isFiniteLane(q, f, fast)), false));
    return orHelper(q, ok, fast, helper, [a, b]);
  };
}

/** Copies even or odd singles over their neighbours. */
const duplicate = (odd: 0 | 1): VectorOp => {
  const bytes = lanes(...[0, 0, 2, 2].map((lane) => range((lane + odd) * 4, 4)));
  return (q, _, b) => q.shuffle(b, b, bytes);
};

// biome-ignore format: one row a line
export const sse3Rows: RowSource[] = [
  row('movsldup', 'Vps,Wps', 'F3 0F 12 /r', 'sse', xmmBinary(duplicate(0))),
  row('movddup',  'Vpd,Wq',  'F2 0F 12 /r', 'sse', (q) => q.setXmm('reg', splat(q, low64(q, xmmRm(q, 8))))),
  row('movshdup', 'Vps,Wps', 'F3 0F 16 /r', 'sse', xmmBinary(duplicate(1))),
  row('haddpd',   'Vpd,Wpd', '66 0F 7C /r', 'sse', xmmBinary(horizontal(8, packedAdd(double)))),
  row('haddps',   'Vps,Wps', 'F2 0F 7C /r', 'sse', xmmBinary(horizontal(4, packedAdd(single)))),
  row('hsubpd',   'Vpd,Wpd', '66 0F 7D /r', 'sse', xmmBinary(horizontal(8, packedSub(double)))),
  row('hsubps',   'Vps,Wps', 'F2 0F 7D /r', 'sse', xmmBinary(horizontal(4, packedSub(single)))),
  row('addsubpd', 'Vpd,Wpd', '66 0F D0 /r', 'sse', xmmBinary(alternating(double))),
  row('addsubps', 'Vps,Wps', 'F2 0F D0 /r', 'sse', xmmBinary(alternating(single))),
  row('lddqu',    'Vdq,Mdq', 'F2 0F F0 /r', 'sse', (q) => q.setXmm('reg', xmmRm(q, 16, 1))),
];
