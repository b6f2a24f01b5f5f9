/**
 * System instructions (SDM 2A-2C, APM3): privileged ones, control and descriptor registers, system calls, interrupts, port
 * I/O. Nearly all are performed by the system unit (system/); a few that kernels run often stay in the loop.
 */
import type { Builder } from '../builder.ts';
import { GP, UD } from '../fault.ts';
import { AC, DF, ID, IF, IOPL_SHIFT, NT, RF, TF } from '../flags.ts';
import type { Value } from '../ir.ts';
import { CPL, FLAGS_REST, TLB_SET, TLB_STAC, TLB_SUPERVISOR } from '../layout.ts';
import { type Attribute, type RowSource, row } from '../row.ts';
import {
  SYSTEM_CLTS,
  SYSTEM_INVLPG,
  SYSTEM_INVPCID,
  SYSTEM_LGDT,
  SYSTEM_LIDT,
  SYSTEM_LMSW,
  SYSTEM_MOV_FROM_CR,
  SYSTEM_MOV_FROM_DR,
  SYSTEM_MOV_TO_CR,
  SYSTEM_MOV_TO_DR,
  SYSTEM_SGDT,
  SYSTEM_SIDT,
  SYSTEM_SMSW,
  SYSTEM_WBINVD,
} from '../system/control.ts';
import {
  SYSTEM_HLT,
  SYSTEM_INT,
  SYSTEM_INT1,
  SYSTEM_INT3,
  SYSTEM_INTO,
  SYSTEM_POPF,
  SYSTEM_STI,
  SYSTEM_VMCALL,
  SYSTEM_VMMCALL,
} from '../system/flags.ts';
import { SYSTEM_IN_DX, SYSTEM_IN_IMM, SYSTEM_INS, SYSTEM_OUT_DX, SYSTEM_OUT_IMM, SYSTEM_OUTS } from '../system/io.ts';
import { SYSTEM_CPUID, SYSTEM_RDMSR, SYSTEM_RDPMC, SYSTEM_RDTSC, SYSTEM_RDTSCP, SYSTEM_WRMSR } from '../system/msr.ts';
import {
  SYSTEM_RDFSBASE,
  SYSTEM_RDGSBASE,
  SYSTEM_SWAPGS,
  SYSTEM_SYSCALL,
  SYSTEM_SYSENTER,
  SYSTEM_SYSEXIT,
  SYSTEM_SYSRET,
  SYSTEM_WRFSBASE,
  SYSTEM_WRGSBASE,
} from '../system/syscall.ts';
import { push, setStackPointer, stackOffset, stackPointer, stackPtr } from './stack.ts';

const VM = 1 << 17;

/** A row that the system unit performs. */
export function performed(
  mnemonic: string,
  operands: string,
  opcode: string,
  attributes: Attribute | '' | `${Attribute} ${Attribute}`,
  name: number,
): RowSource {
  return row(mnemonic, operands, opcode, `system ${attributes}`, (q) => q.system(name));
}

const invalid = (q: Builder): void => q.fault(undefined, UD);

function pushf(q: Builder): void {
  const rest = q.and(q.getState('i64.load32_u', FLAGS_REST), q.con(0xffff_ffffn & ~BigInt(RF | VM)));
  push(q, q.or(q.or(q.getFlagsImage(), rest), q.con(2)));
}

/** In the loop as long as no flag changes that the loop depends on. */
function popf(q: Builder): void {
  const image = q.load(stackPtr(q, stackPointer(q), q.size, 'r'), q.size);
  const watched = TF | IF | DF | NT | (3 << IOPL_SHIFT) | (q.size > 2 ? AC | ID : 0);
  const changes = q.and(q.xor(image, q.getState('i64.load32_u', FLAGS_REST)), q.con(watched));
  q.if(q.op('i64.ne', changes, q.con(0)), () => q.system(SYSTEM_POPF));
  q.flagsImage(image);
  setStackPointer(q, stackOffset(q, q.size));
}

/** #GP(0) above IOPL; RFLAGS without the arithmetic flags. */
function interruptFlag(q: Builder): Value {
  const rest = q.getState('i32.load', FLAGS_REST);
  const iopl = q.op('i32.and', q.op('i32.shr_u', rest, q.con32(IOPL_SHIFT)), q.con32(3));
  q.fault(q.op('i32.gt_u', q.getState('i32.load', CPL), iopl), GP);
  return rest;
}

function cli(q: Builder): void {
  q.setState('i32.store', FLAGS_REST, q.op('i32.and', interruptFlag(q), q.con32(~IF)));
}

function sti(q: Builder): void {
  q.if(q.isZero(q.op('i32.and', interruptFlag(q), q.con32(IF))), () => q.system(SYSTEM_STI));
}

/** RFLAGS.AC opens user pages to a supervisor under CR4.SMAP, which is a TLB set of its own. */
function setAccess(q: Builder, isOpen: boolean): void {
  q.fault(q.op('i32.ne', q.getState('i32.load', CPL), q.con32(0)), UD);
  const rest = q.getState('i32.load', FLAGS_REST);
  q.setState('i32.store', FLAGS_REST, isOpen ? q.op('i32.or', rest, q.con32(AC)) : q.op('i32.and', rest, q.con32(~AC)));
  q.setState('i32.store', TLB_SET, isOpen ? q.getState('i32.load', TLB_STAC) : q.con32(TLB_SUPERVISOR));
}

// biome-ignore format: one row a line
export const systemRows: RowSource[] = [
  row('pushf',       '',       '9C', 'd64', pushf),
  row('popf',        '',       '9D', 'd64 system', popf),
  row('cli',         '',       'FA', '', cli),
  row('sti',         '',       'FB', 'system', sti),
  performed('hlt',      '',    'F4', 'cpl0', SYSTEM_HLT),

  performed('int3',     '',    'CC', '', SYSTEM_INT3),
  performed('int',      'Ib',  'CD', '', SYSTEM_INT),
  performed('into',     '',    'CE', 'i64', SYSTEM_INTO),
  performed('int1',     '',    'F1', '', SYSTEM_INT1),
  row('ud2',         '',       '0F 0B', '', invalid),
  row('ud1',         '',       '0F B9', '', invalid),
  row('ud0',         '',       '0F FF', '', invalid),

  performed('syscall',  '',    '0F 05', '', SYSTEM_SYSCALL),
  performed('sysret',   '',    '0F 07', '', SYSTEM_SYSRET),
  performed('sysenter', '',    '0F 34', '', SYSTEM_SYSENTER),
  performed('sysexit',  '',    '0F 35', 'cpl0', SYSTEM_SYSEXIT),
  performed('vmcall',   '',    '0F 01 =C1', '', SYSTEM_VMCALL),
  performed('vmmcall',  '',    '0F 01 =D9', '', SYSTEM_VMMCALL),
  performed('swapgs',   '',    '0F 01 =F8', 'cpl0 o64', SYSTEM_SWAPGS),
  performed('rdfsbase', 'Ry',  'F3 0F AE /0', 'o64', SYSTEM_RDFSBASE),
  performed('rdgsbase', 'Ry',  'F3 0F AE /1', 'o64', SYSTEM_RDGSBASE),
  performed('wrfsbase', 'Ry',  'F3 0F AE /2', 'o64', SYSTEM_WRFSBASE),
  performed('wrgsbase', 'Ry',  'F3 0F AE /3', 'o64', SYSTEM_WRGSBASE),

  performed('cpuid',    '',    '0F A2', '', SYSTEM_CPUID),
  performed('rdtsc',    '',    '0F 31', '', SYSTEM_RDTSC),
  performed('rdtscp',   '',    '0F 01 =F9', '', SYSTEM_RDTSCP),
  performed('rdpmc',    '',    '0F 33', '', SYSTEM_RDPMC),
  performed('rdmsr',    '',    '0F 32', 'cpl0', SYSTEM_RDMSR),
  performed('wrmsr',    '',    '0F 30', 'cpl0', SYSTEM_WRMSR),

  performed('mov_cr',   'Rq,Cq', '0F 20 /r', 'f64', SYSTEM_MOV_FROM_CR),
  performed('mov_dr',   'Rq,Dq', '0F 21 /r', 'f64', SYSTEM_MOV_FROM_DR),
  performed('mov_cr',   'Cq,Rq', '0F 22 /r', 'f64', SYSTEM_MOV_TO_CR),
  performed('mov_dr',   'Dq,Rq', '0F 23 /r', 'f64', SYSTEM_MOV_TO_DR),
  performed('clts',     '',    '0F 06', 'cpl0', SYSTEM_CLTS),
  performed('invd',     '',    '0F 08', 'cpl0', SYSTEM_WBINVD),
  performed('wbinvd',   '',    '0F 09', 'cpl0', SYSTEM_WBINVD),
  performed('sgdt',     'Ms',  '0F 01 /0', '', SYSTEM_SGDT),
  performed('sidt',     'Ms',  '0F 01 /1', '', SYSTEM_SIDT),
  performed('lgdt',     'Ms',  '0F 01 /2', 'cpl0', SYSTEM_LGDT),
  performed('lidt',     'Ms',  '0F 01 /3', 'cpl0', SYSTEM_LIDT),
  performed('smsw',     'Ev',  '0F 01 /4', '', SYSTEM_SMSW),
  performed('lmsw',     'Ew',  '0F 01 /6', 'cpl0', SYSTEM_LMSW),
  performed('invlpg',   'Mb',  '0F 01 /7', 'cpl0', SYSTEM_INVLPG),
  performed('invpcid',  'Gy,Mx', '66 0F 38 82 /r', 'cpl0', SYSTEM_INVPCID),
  row('clac',        '',       '0F 01 =CA', 'end', (q) => setAccess(q, false)),
  row('stac',        '',       '0F 01 =CB', 'end', (q) => setAccess(q, true)),

  // Not offered: CPUID tells of none of them.
  row('xgetbv',      '',       '0F 01 =D0', '', invalid),
  row('xsetbv',      '',       '0F 01 =D1', '', invalid),
  row('monitor',     '',       '0F 01 =C8', '', invalid),
  row('mwait',       '',       '0F 01 =C9', '', invalid),
  row('rsm',         '',       '0F AA', '', invalid),

  performed('in',       'AL,Ib',   'E4', '', SYSTEM_IN_IMM),
  performed('in',       'eAX,Ib',  'E5', '', SYSTEM_IN_IMM),
  performed('out',      'Ib,AL',   'E6', '', SYSTEM_OUT_IMM),
  performed('out',      'Ib,eAX',  'E7', '', SYSTEM_OUT_IMM),
  performed('in',       'AL,DX',   'EC', '', SYSTEM_IN_DX),
  performed('in',       'eAX,DX',  'ED', '', SYSTEM_IN_DX),
  performed('out',      'DX,AL',   'EE', '', SYSTEM_OUT_DX),
  performed('out',      'DX,eAX',  'EF', '', SYSTEM_OUT_DX),
  performed('ins',      'Yb,DX',   '6C', 'rep', SYSTEM_INS),
  performed('ins',      'Yv,DX',   '6D', 'rep', SYSTEM_INS),
  performed('outs',     'DX,Xb',   '6E', 'rep', SYSTEM_OUTS),
  performed('outs',     'DX,Xv',   '6F', 'rep', SYSTEM_OUTS),
];
