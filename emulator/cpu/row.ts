/**
 * A row: one instruction of the manual, its encoding and its meaning. `opcode` is the manual's notation
 * ("0F A3 /r", "REX.W" is told by the operand size): optional mandatory prefix (NP, 66, F2, F3), opcode bytes, then
 * `/r`, `/0`..`/7`, `+r` (register in the opcode), `+cc` (condition in the opcode), or `=F8` (ModRM byte as a whole).
 * `operands` uses the letters of SDM 2D appendix A: E G M R I J O Z S C D V W U P Q N with sizes b w d q v z y x.
 */
import type { Builder } from './builder.ts';
import type { Size } from './shape.ts';

export type Attribute =
  | 'lock' // LOCK is allowed with a memory destination
  | 'i64' // #UD in 64-bit mode
  | 'o64' // #UD outside 64-bit mode
  | 'd64' // operand size is 64 (or 16 by prefix) in 64-bit mode
  | 'f64' // operand size is 64 in 64-bit mode, prefix or not
  | 'cpl0' // #GP(0) above CPL 0
  | 'pe' // #UD in real mode
  | 'x87' // #NM by CR0.EM or CR0.TS
  | 'sse' // #UD by CR0.EM or !CR4.OSFXSR, #NM by CR0.TS
  | 'mmx' // #UD by CR0.EM, #NM by CR0.TS
  | 'rep' // REP and REPNE repeat it
  | 'system' // performed by the system unit: it needs the whole decoded instruction
  | 'end'; // ends a block although it falls through (its effect may change decoding)

export interface Row {
  readonly id: number;
  readonly mnemonic: string;
  readonly operands: readonly string[];
  readonly opcode: string;
  readonly attributes: ReadonlySet<Attribute>;
  /** Flags that the manual leaves undefined: letters of 'oszapc'. */
  readonly undefinedFlags: string;
  /** mnemonic and operands, for messages. */
  readonly name: string;
  readonly lower: (q: Builder) => void;
}

export type RowSource = Omit<Row, 'id'>;

/** `row('add', 'Ev,Gv', '01 /r', 'lock', q => ...)`; attributes may hold `u:` and undefined flags ("lock u:oa"). */
export function row(mnemonic: string, operands: string, opcode: string, attributes: string, lower: (q: Builder) => void): RowSource {
  const words = attributes.split(' ').filter((word) => word !== '');
  return {
    mnemonic,
    operands: operands === '' ? [] : operands.split(','),
    opcode,
    attributes: new Set(words.filter((word) => !word.startsWith('u:')) as Attribute[]),
    undefinedFlags: words.find((word) => word.startsWith('u:'))?.slice(2) ?? '',
    name: `${mnemonic} ${operands}`.trim(),
    lower,
  };
}

/** Size in bytes of an operand letter that fixes it, or undefined. */
export function fixedOperandSize(operand: string): Size | undefined {
  return ({ b: 1, w: 2, d: 4, q: 8 } as Record<string, Size>)[operand.slice(1)];
}
