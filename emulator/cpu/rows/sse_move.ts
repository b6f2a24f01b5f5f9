/** Moves of XMM registers, whole and in parts, and between them and general registers (SDM 1 10.4.1.1, 11.4.1.1, 11.4.2). */

import type { Builder } from '../builder.ts';
import { RDI } from '../interface.ts';
import type { Value } from '../ir.ts';
import { type RowSource, row } from '../row.ts';
import { lanes, low64, merge64, range, storeVector, xmmRm, zeroVector } from './sse_operands.ts';

const load =
  (align: 1 | 16) =>
  (q: Builder): void =>
    q.setXmm('reg', xmmRm(q, 16, align));
const store =
  (align: 1 | 16) =>
  (q: Builder): void => {
    if (q.shape.ea === 'reg') q.setXmm('rm', q.getXmm('reg'));
    else storeVector(q, q.getXmm('reg'), 16, align);
  };

/** From memory zeros above, from a register the rest stays. */
const loadScalar =
  (size: 4 | 8) =>
  (q: Builder): void => {
    const value = xmmRm(q, size);
    q.setXmm('reg', q.shape.ea === 'reg' ? q.shuffle(value, q.getXmm('reg'), lanes(range(0, size), range(16 + size, 16 - size))) : value);
  };
const storeScalar =
  (size: 4 | 8) =>
  (q: Builder): void => {
    const value = q.getXmm('reg');
    if (q.shape.ea === 'reg') q.setXmm('rm', q.shuffle(value, q.getXmm('rm'), lanes(range(0, size), range(16 + size, 16 - size))));
    else storeVector(q, value, size);
  };

const loadLow = (q: Builder): void => {
  const value = xmmRm(q, 8);
  q.setXmm('reg', merge64(q, value, q.getXmm('reg')));
};
const loadHigh = (q: Builder): void => {
  const value = xmmRm(q, 8);
  q.setXmm('reg', q.shuffle(q.getXmm('reg'), value, lanes(range(0, 8), range(16, 8))));
};
const storeLow = (q: Builder): void => storeVector(q, q.getXmm('reg'), 8);
const storeHigh = (q: Builder): void => {
  const ptr = q.ptr(q.ea(8), 8, 'w');
  q.store(ptr, 8, q.lane('i64x2.extract_lane', 1, q.getXmm('reg')));
};
const highToLow = (q: Builder): void => q.setXmm('reg', q.shuffle(q.getXmm('rm'), q.getXmm('reg'), lanes(range(8, 8), range(24, 8))));

/** MOVQ: the low half, and zeros above. */
const loadQuad = (q: Builder): void => {
  const value = xmmRm(q, 8);
  q.setXmm('reg', q.shape.ea === 'reg' ? merge64(q, value, zeroVector(q)) : value);
};
const storeQuad = (q: Builder): void => {
  const value = q.getXmm('reg');
  if (q.shape.ea === 'reg') q.setXmm('rm', merge64(q, value, zeroVector(q)));
  else storeVector(q, value, 8);
};

const fromGeneral = (q: Builder): void => {
  const value = q.rm('r').get();
  q.setXmm('reg', q.lane('i64x2.replace_lane', 0, zeroVector(q), value));
};
const toGeneral = (q: Builder): void => {
  const to = q.rm('w');
  to.set(low64(q, q.getXmm('reg')));
};
const signs =
  (bitmask: string) =>
  (q: Builder): void =>
    q.set('reg', q.widen(q.op(bitmask, q.getXmm('rm'))), 4);

/** MASKMOV: stores the bytes whose mask byte has its top bit set, at DS:RDI. `operands` runs once the place is accessible. */
export function maskedStore(q: Builder, size: 8 | 16, operands: () => { bytes: Value; mask: Value }): void {
  const offset = q.get(RDI, q.shape.addressSize);
  const ptr = q.ptr(q.linear(q.shape.segment, offset, size), size, 'rw');
  const { bytes, mask } = operands();
  const old = q.load(ptr, size === 16 ? 'v128.load' : 'v128.load64_zero');
  const merged = q.op('v128.bitselect', bytes, old, q.op('i8x16.shr_s', mask, q.con32(7)));
  q.store(ptr, size, size === 16 ? merged : low64(q, merged));
}

// biome-ignore format: one row a line
export const sseMoveRows: RowSource[] = [
  row('movups',   'Vps,Wps', 'NP 0F 10 /r', 'sse', load(1)),
  row('movupd',   'Vpd,Wpd', '66 0F 10 /r', 'sse', load(1)),
  row('movss',    'Vss,Wss', 'F3 0F 10 /r', 'sse', loadScalar(4)),
  row('movsd',    'Vsd,Wsd', 'F2 0F 10 /r', 'sse', loadScalar(8)),
  row('movups',   'Wps,Vps', 'NP 0F 11 /r', 'sse', store(1)),
  row('movupd',   'Wpd,Vpd', '66 0F 11 /r', 'sse', store(1)),
  row('movss',    'Wss,Vss', 'F3 0F 11 /r', 'sse', storeScalar(4)),
  row('movsd',    'Wsd,Vsd', 'F2 0F 11 /r', 'sse', storeScalar(8)),
  row('movlps',   'Vq,Mq',   'NP 0F 12 /r', 'sse', loadLow),
  row('movhlps',  'Vq,Uq',   'NP 0F 12 /r', 'sse', highToLow),
  row('movlpd',   'Vq,Mq',   '66 0F 12 /r', 'sse', loadLow),
  row('movlps',   'Mq,Vq',   'NP 0F 13 /r', 'sse', storeLow),
  row('movlpd',   'Mq,Vq',   '66 0F 13 /r', 'sse', storeLow),
  row('movhps',   'Vq,Mq',   'NP 0F 16 /r', 'sse', loadHigh),
  row('movlhps',  'Vq,Uq',   'NP 0F 16 /r', 'sse', loadHigh),
  row('movhpd',   'Vq,Mq',   '66 0F 16 /r', 'sse', loadHigh),
  row('movhps',   'Mq,Vq',   'NP 0F 17 /r', 'sse', storeHigh),
  row('movhpd',   'Mq,Vq',   '66 0F 17 /r', 'sse', storeHigh),
  row('movaps',   'Vps,Wps', 'NP 0F 28 /r', 'sse', load(16)),
  row('movapd',   'Vpd,Wpd', '66 0F 28 /r', 'sse', load(16)),
  row('movaps',   'Wps,Vps', 'NP 0F 29 /r', 'sse', store(16)),
  row('movapd',   'Wpd,Vpd', '66 0F 29 /r', 'sse', store(16)),
  row('movntps',  'Mps,Vps', 'NP 0F 2B /r', 'sse', store(16)),
  row('movntpd',  'Mpd,Vpd', '66 0F 2B /r', 'sse', store(16)),
  row('movmskps', 'Gd,Ups',  'NP 0F 50 /r', 'sse', signs('i32x4.bitmask')),
  row('movmskpd', 'Gd,Upd',  '66 0F 50 /r', 'sse', signs('i64x2.bitmask')),
  row('movd',     'Vy,Ey',   '66 0F 6E /r', 'sse', fromGeneral),
  row('movdqa',   'Vdq,Wdq', '66 0F 6F /r', 'sse', load(16)),
  row('movdqu',   'Vdq,Wdq', 'F3 0F 6F /r', 'sse', load(1)),
  row('movd',     'Ey,Vy',   '66 0F 7E /r', 'sse', toGeneral),
  row('movq',     'Vq,Wq',   'F3 0F 7E /r', 'sse', loadQuad),
  row('movdqa',   'Wdq,Vdq', '66 0F 7F /r', 'sse', store(16)),
  row('movdqu',   'Wdq,Vdq', 'F3 0F 7F /r', 'sse', store(1)),
  row('movnti',   'My,Gy',   'NP 0F C3 /r', 'sse', (q) => q.rm('w').set(q.get('reg'))),
  row('movq',     'Wq,Vq',   '66 0F D6 /r', 'sse', storeQuad),
  row('pmovmskb', 'Gd,Udq',  '66 0F D7 /r', 'sse', signs('i8x16.bitmask')),
  row('movntdq',  'Mdq,Vdq', '66 0F E7 /r', 'sse', store(16)),
  row('maskmovdqu', 'Vdq,Udq', '66 0F F7 /r', 'sse', (q) => maskedStore(q, 16, () => ({ bytes: q.getXmm('reg'), mask: q.getXmm('rm') }))),
];
