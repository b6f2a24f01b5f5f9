/**
 * A shape is what a template is specialised on beside its row: sizes, the form of the address, the mode. It never holds
 * register numbers or immediates; those stay in the record (interpreter) or become constants (translator).
 */
import type { Row } from './row.ts';

export type Size = 1 | 2 | 4 | 8;

/** Where ModRM.rm points: a register, or memory at disp, RIP + disp, base + disp, base + index * scale + disp. */
export type EaKind = 'reg' | 'abs' | 'rip' | 'base' | 'index';

export interface Shape {
  readonly row: Row;
  /** Operand size in bytes. */
  readonly size: Size;
  readonly ea: EaKind;
  readonly addressSize: 2 | 4 | 8;
  /** Segment whose base is added (es cs ss ds fs gs = 0..5), or -1: base 0 in 64-bit mode. */
  readonly segment: number;
  /** 64-bit code, or 32-/16-bit code (compatibility mode): stack and segment rules. */
  readonly mode: 64 | 32 | 16;
  /** SS.B in compatibility mode: 4 or 2; 8 in 64-bit code. */
  readonly stackSize: 2 | 4 | 8;
  /** Alignment checking is on (CR0.AM, RFLAGS.AC, CPL 3). */
  readonly alignCheck: boolean;
  /** Low nibble of the opcode, for rows with `+cc`. */
  readonly cc: number;
  readonly rep: 'none' | 'rep' | 'repne';
  /** Among those that its decoder has made, from 1 on; 0: none has made it. */
  readonly id: number;
}

const eaCodes: Record<EaKind, number> = { reg: 0, abs: 1, rip: 2, base: 3, index: 4 };
const repCodes = { none: 0, rep: 1, repne: 2 };

/** One number per distinct shape, for the template cache. */
export function shapeKey(shape: Shape): number {
  return shape.row.id * 0x200000 + shapeBits(shape);
}

/** Everything of a shape but its row, as a number below 2^21. */
export function shapeBits({ size, ea, segment, addressSize, mode, stackSize, alignCheck, cc, rep }: Shape): number {
  return packShape(size, ea, segment, addressSize, mode, stackSize, alignCheck, cc, rep);
}

/** The same of what a shape would hold. */
export function packShape(
  size: Size,
  ea: EaKind,
  segment: number,
  addressSize: Shape['addressSize'],
  mode: Shape['mode'],
  stackSize: Shape['stackSize'],
  alignCheck: boolean,
  cc: number,
  rep: Shape['rep'],
): number {
  return (
    (31 - Math.clz32(size)) |
    (eaCodes[ea] << 2) |
    ((segment + 1) << 5) |
    ((addressSize >> 2) << 8) |
    ((mode >> 5) << 10) |
    ((stackSize >> 2) << 12) |
    (Number(alignCheck) << 14) |
    (cc << 15) |
    (repCodes[rep] << 19)
  );
}

/** The shape behind the bits of a key, without its row. */
export function shapeFromBits(row: Row, bits: number, id = 0): Shape {
  const eaKinds: EaKind[] = ['reg', 'abs', 'rip', 'base', 'index'];
  const eighths = [2, 4, 8] as const;
  return {
    row,
    size: (1 << (bits & 3)) as Size,
    ea: eaKinds[(bits >> 2) & 7]!,
    segment: ((bits >> 5) & 7) - 1,
    addressSize: eighths[(bits >> 8) & 3]!,
    mode: ([16, 32, 64] as const)[(bits >> 10) & 3]!,
    stackSize: eighths[(bits >> 12) & 3]!,
    alignCheck: ((bits >> 14) & 1) === 1,
    cc: (bits >> 15) & 15,
    rep: (['none', 'rep', 'repne'] as const)[(bits >> 19) & 3]!,
    id,
  };
}
