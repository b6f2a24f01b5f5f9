/** SSE4.2 (SDM 1 12.12): string comparison, PCMPGTQ and CRC32; and POPCNT. */

import type { Builder } from '../builder.ts';
import { ZF } from '../flags.ts';
import { defineHelper } from '../helpers.ts';
import { RAX, RCX, RDX } from '../interface.ts';
import { ARGS } from '../layout.ts';
import { type RowSource, row } from '../row.ts';
import type { Size } from '../shape.ts';
import { stringHelper } from '../string_compare.ts';
import { op, xmmBinary } from './sse_integer.ts';
import { splat, xmmRm } from './sse_operands.ts';

/** Memory operands may lie anywhere. Explicit lengths are RAX and RDX, or EAX and EDX without REX.W. */
function compareStrings(lengths: 'explicit' | 'implicit', result: 'index' | 'mask'): (q: Builder) => void {
  const helper = stringHelper(lengths, result);
  return (q) => {
    const b = xmmRm(q, 16, 1);
    const operands = [q.getXmm('reg'), b, q.wrap(q.imm(1))];
    if (lengths === 'explicit') {
      const length = (register: number) => (q.size === 8 ? q.get(register, 8) : q.sx(q.get(register, 4), 4));
      operands.push(q.lane('i64x2.replace_lane', 1, splat(q, length(RAX)), length(RDX)));
    }
    q.call(helper, operands);
    if (result === 'index') q.set(RCX, q.getState('i64.load', ARGS), 4);
    else q.setXmm(0, q.getState('v128.load', ARGS));
    q.flagsImage(q.getState('i64.load', ARGS + 16));
  };
}

/** CRC-32C's polynomial, bits reflected. */
const POLYNOMIAL = 0x82f6_3b78;

const crcOfByte = Int32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? POLYNOMIAL : 0);
  return crc;
});

/** (crc, data) -> crc, for `size` bytes of data. */
const crcHelper = (size: Size): number =>
  defineHelper((cpu) => {
    const { view } = cpu.state;
    let crc = view.getInt32(ARGS, true);
    for (let i = 0; i < size; i++) crc = (crc >>> 8) ^ crcOfByte[(crc ^ view.getUint8(ARGS + 16 + i)) & 0xff]!;
    view.setUint32(ARGS, crc, true);
    view.setUint32(ARGS + 4, 0, true);
  });

const crcHelpers = { 1: crcHelper(1), 2: crcHelper(2), 4: crcHelper(4), 8: crcHelper(8) };

const crc32 =
  (fixed?: Size) =>
  (q: Builder): void => {
    const size = fixed ?? q.size;
    const data = q.rm('r', size).get();
    q.set('reg', q.call(crcHelpers[size], [q.get('reg', 4), data], true), 4);
  };

function countBits(q: Builder): void {
  const value = q.rm('r').get();
  q.set('reg', q.op('i64.popcnt', value));
  q.flagsImage(q.select(q.isZero(value), q.con(ZF), q.con(0)));
}

// biome-ignore format: one row a line
export const sse42Rows: RowSource[] = [
  row('popcnt',    'Gv,Ev',      'F3 0F B8 /r',    '', countBits),
  row('pcmpgtq',   'Vdq,Wdq',    '66 0F 38 37 /r', 'sse', xmmBinary(op('i64x2.gt_s'))),
  row('crc32',     'Gd,Eb',      'F2 0F 38 F0 /r', '', crc32(1)),
  row('crc32',     'Gd,Ev',      'F2 0F 38 F1 /r', '', crc32()),
  row('pcmpestrm', 'Vdq,Wdq,Ib', '66 0F 3A 60 /r', 'sse', compareStrings('explicit', 'mask')),
  row('pcmpestri', 'Vdq,Wdq,Ib', '66 0F 3A 61 /r', 'sse', compareStrings('explicit', 'index')),
  row('pcmpistrm', 'Vdq,Wdq,Ib', '66 0F 3A 62 /r', 'sse', compareStrings('implicit', 'mask')),
  row('pcmpistri', 'Vdq,Wdq,Ib', '66 0F 3A 63 /r', 'sse', compareStrings('implicit', 'index')),
];
