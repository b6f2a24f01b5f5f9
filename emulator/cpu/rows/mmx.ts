/** Moves of MMX registers, to and from XMM registers too, PMOVMSKB, MASKMOVQ and EMMS (SDM 1 9.4, 11.4.3). */
import type { Builder } from '../builder.ts';
import { FTW } from '../layout.ts';
import { type RowSource, row } from '../row.ts';
import { maskedStore } from './sse_move.ts';
import { checkPending, enterMmx, low64, mmRm, splat, zeroVector } from './sse_operands.ts';

/** An MMX instruction: its operands are read and checked by `read`, which returns what commits. */
function mmx(read: (q: Builder) => () => void): (q: Builder) => void {
  return (q) => {
    checkPending(q);
    const commit = read(q);
    enterMmx(q);
    commit();
  };
}

const fromGeneral = mmx((q) => {
  const value = q.rm('r').get();
  return () => q.setMmx('reg', value);
});
const toGeneral = mmx((q) => {
  const to = q.rm('w');
  return () => to.set(q.getMmx('reg'));
});
const store = mmx((q) => {
  if (q.shape.ea === 'reg') return () => q.setMmx('rm', q.getMmx('reg'));
  const ptr = q.ptr(q.ea(8), 8, 'w');
  return () => q.store(ptr, 8, q.getMmx('reg'));
});

// biome-ignore format: one row a line
export const mmxRows: RowSource[] = [
  row('movd',     'Pq,Ey', 'NP 0F 6E /r', 'mmx', fromGeneral),
  row('movq',     'Pq,Qq', 'NP 0F 6F /r', 'mmx', mmx((q) => { const value = mmRm(q); return () => q.setMmx('reg', value); })),
  row('emms',     '',      'NP 0F 77',    'mmx', (q) => {
    checkPending(q);
    enterMmx(q);
    q.setState('i32.store16', FTW, q.con32(0xffff));
  }),
  row('movd',     'Ey,Pq', 'NP 0F 7E /r', 'mmx', toGeneral),
  row('movq',     'Qq,Pq', 'NP 0F 7F /r', 'mmx', store),
  row('movq2dq',  'Vdq,Nq', 'F3 0F D6 /r', 'sse mmx', mmx((q) => () => q.setXmm('reg', q.lane('i64x2.replace_lane', 0, zeroVector(q), q.getMmx('rm'))))),
  row('movdq2q',  'Pq,Udq', 'F2 0F D6 /r', 'sse mmx', mmx((q) => () => q.setMmx('reg', low64(q, q.getXmm('rm'))))),
  row('pmovmskb', 'Gd,Nq', 'NP 0F D7 /r', 'mmx', mmx((q) => () => {
    q.set('reg', q.widen(q.op('i32.and', q.op('i8x16.bitmask', splat(q, q.getMmx('rm'))), q.con32(0xff))), 4);
  })),
  row('movntq',   'Mq,Pq', 'NP 0F E7 /r', 'mmx', store),
  row('maskmovq', 'Pq,Nq', 'NP 0F F7 /r', 'mmx', (q) => {
    checkPending(q);
    maskedStore(q, 8, () => {
      enterMmx(q);
      return { bytes: splat(q, q.getMmx('reg')), mask: splat(q, q.getMmx('rm')) };
    });
  }),
];
