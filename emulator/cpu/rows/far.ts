/** Far transfers and the instructions on segment registers and descriptors (SDM 2A-2B), performed by the system unit. */
import type { Builder } from '../builder.ts';
import { ZF } from '../flags.ts';
import { type RowSource, row } from '../row.ts';
import { CS_INDEX, DS_INDEX, ES_INDEX, FS_INDEX, GS_INDEX, SS_INDEX } from '../state.ts';
import { SYSTEM_CALL_FAR, SYSTEM_IRET, SYSTEM_JMP_FAR, SYSTEM_RET_FAR } from '../system/far.ts';
import {
  SYSTEM_LAR,
  SYSTEM_LLDT,
  SYSTEM_LOAD_FAR,
  SYSTEM_LSL,
  SYSTEM_LTR,
  SYSTEM_MOV_FROM_SREG,
  SYSTEM_MOV_TO_SREG,
  SYSTEM_POP_SREG,
  SYSTEM_PUSH_SREG,
  SYSTEM_SLDT,
  SYSTEM_STR,
  SYSTEM_VERR,
  SYSTEM_VERW,
} from '../system/segment_instructions.ts';
import { performed } from './system.ts';

/** Raises the destination's RPL to the source's; ZF tells whether it did. */
function arpl(q: Builder): void {
  const to = q.rm('rw', 2);
  const old = to.get();
  const rpl = q.and(q.get('reg', 2), q.con(3));
  const isRaised = q.op('i64.lt_u', q.and(old, q.con(3)), rpl);
  to.set(q.select(isRaised, q.or(q.and(old, q.con(0xfffc)), rpl), old));
  q.flagsImage(q.or(q.and(q.getFlagsImage(), q.con(~BigInt(ZF))), q.select(isRaised, q.con(ZF), q.con(0))));
}

// biome-ignore format: one row a line
export const farRows: RowSource[] = [
  performed('jmp_far',  'Ap',    'EA',    'i64', SYSTEM_JMP_FAR),
  performed('jmp_far',  'Mp',    'FF /5', '',    SYSTEM_JMP_FAR),
  performed('call_far', 'Ap',    '9A',    'i64', SYSTEM_CALL_FAR),
  performed('call_far', 'Mp',    'FF /3', '',    SYSTEM_CALL_FAR),
  performed('ret_far',  'Iw',    'CA',    '',    SYSTEM_RET_FAR),
  performed('ret_far',  '',      'CB',    '',    SYSTEM_RET_FAR),
  performed('iret',     '',      'CF',    '',    SYSTEM_IRET),

  performed('mov',      'Ev,Sw', '8C /r', '',    SYSTEM_MOV_FROM_SREG),
  performed('mov',      'Sw,Ew', '8E /r', '',    SYSTEM_MOV_TO_SREG),
  performed('push',     'ES',    '06',    'i64', SYSTEM_PUSH_SREG[ES_INDEX]!),
  performed('push',     'CS',    '0E',    'i64', SYSTEM_PUSH_SREG[CS_INDEX]!),
  performed('push',     'SS',    '16',    'i64', SYSTEM_PUSH_SREG[SS_INDEX]!),
  performed('push',     'DS',    '1E',    'i64', SYSTEM_PUSH_SREG[DS_INDEX]!),
  performed('push',     'FS',    '0F A0', 'd64', SYSTEM_PUSH_SREG[FS_INDEX]!),
  performed('push',     'GS',    '0F A8', 'd64', SYSTEM_PUSH_SREG[GS_INDEX]!),
  performed('pop',      'ES',    '07',    'i64', SYSTEM_POP_SREG[ES_INDEX]!),
  performed('pop',      'SS',    '17',    'i64', SYSTEM_POP_SREG[SS_INDEX]!),
  performed('pop',      'DS',    '1F',    'i64', SYSTEM_POP_SREG[DS_INDEX]!),
  performed('pop',      'FS',    '0F A1', 'd64', SYSTEM_POP_SREG[FS_INDEX]!),
  performed('pop',      'GS',    '0F A9', 'd64', SYSTEM_POP_SREG[GS_INDEX]!),
  performed('les',      'Gv,Mp', 'C4 /r', 'i64', SYSTEM_LOAD_FAR[ES_INDEX]!),
  performed('lds',      'Gv,Mp', 'C5 /r', 'i64', SYSTEM_LOAD_FAR[DS_INDEX]!),
  performed('lss',      'Gv,Mp', '0F B2 /r', '', SYSTEM_LOAD_FAR[SS_INDEX]!),
  performed('lfs',      'Gv,Mp', '0F B4 /r', '', SYSTEM_LOAD_FAR[FS_INDEX]!),
  performed('lgs',      'Gv,Mp', '0F B5 /r', '', SYSTEM_LOAD_FAR[GS_INDEX]!),

  performed('sldt',     'Ev',    '0F 00 /0', 'pe', SYSTEM_SLDT),
  performed('str',      'Ev',    '0F 00 /1', 'pe', SYSTEM_STR),
  performed('lldt',     'Ew',    '0F 00 /2', 'pe cpl0', SYSTEM_LLDT),
  performed('ltr',      'Ew',    '0F 00 /3', 'pe cpl0', SYSTEM_LTR),
  performed('verr',     'Ew',    '0F 00 /4', 'pe', SYSTEM_VERR),
  performed('verw',     'Ew',    '0F 00 /5', 'pe', SYSTEM_VERW),
  performed('lar',      'Gv,Ew', '0F 02 /r', 'pe', SYSTEM_LAR),
  performed('lsl',      'Gv,Ew', '0F 03 /r', 'pe', SYSTEM_LSL),
  row('arpl',           'Ew,Gw', '63 /r', 'i64 pe', arpl),
];
