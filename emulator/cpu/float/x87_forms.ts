// The x87 opcode maps (SDM 2 appendix A.5): the memory forms of each opcode by the modrm's register field, the register
// forms by the same field and, where they differ, by ST(i)'s number. Encodings that only repeat another instruction are
// here as processors have them; undefined is #UD.

import { TOWARD_ZERO } from './env.ts';
import {
  type ArithmeticOp,
  arithmetic,
  arithmeticOps,
  changeSign,
  compareToConditions,
  compareToEflags,
  fsqrt,
  fxam,
  register,
  unary,
} from './x87_arith.ts';
import { environmentSize, fldenv, fnclex, fnsave, fnstenv, frstor, setControl } from './x87_control.ts';
import { bcd, i16, i32, i64, integerOperand, m32, m64, m80, type OperandKind } from './x87_operand.ts';
import { fxtract, remainder, roundToIntegral, scaleInstruction } from './x87_scale.ts';
import { initX87, pop, type X87State } from './x87_state.ts';
import { binaryPop, f2xm1, fldConstant, patan, trigonometricInstruction, yl2x, yl2xp1 } from './x87_transcendental.ts';
import {
  conditionalMove,
  exchange,
  freeRegister,
  loadMemory,
  loadRegister,
  rotateStack,
  storeMemory,
  storePopUnchecked,
  storeRegister,
} from './x87_transfer.ts';

export type OperandSize = 2 | 4;

interface Traits {
  /** A control instruction: leaves FOP, FIP and FDP alone. */
  readonly control?: true;
  /** Does not raise a pending #MF first. */
  readonly noWait?: true;
}

export interface MemoryForm extends Traits {
  readonly access: 'r' | 'w';
  size(operandSize: OperandSize): number;
  execute(state: X87State, view: DataView, offset: number, operandSize: OperandSize): void;
}

/** The CPU's flags and AX, as far as a register form reads or writes them. */
export interface CpuPorts {
  readonly eflags: number;
  newEflags?: number;
  newAx?: number;
}

export interface RegisterForm extends Traits {
  execute(state: X87State, i: number, cpu: CpuPorts): void;
}

const CONTROL = { control: true } as const;
const NO_WAIT = { control: true, noWait: true } as const;

function memory(kind: OperandKind, access: 'r' | 'w', execute: MemoryForm['execute']): MemoryForm {
  return { access, size: () => kind.size, execute };
}

function load(kind: OperandKind): MemoryForm {
  return memory(kind, 'r', (state, view, offset) => loadMemory(state, kind, view, offset));
}

function store(kind: OperandKind): MemoryForm {
  return memory(kind, 'w', (state, view, offset) => void storeMemory(state, kind, view, offset));
}

function storePop(kind: OperandKind): MemoryForm {
  return memory(kind, 'w', (state, view, offset) => {
    if (storeMemory(state, kind, view, offset)) pop(state);
  });
}

/** FISTTP: rounds toward zero, whatever the control word says. */
function truncatePop(kind: OperandKind): MemoryForm {
  return storePop({ ...kind, encode: (x, env) => kind.encode(x, Object.assign(env, { rounding: TOWARD_ZERO })) });
}

/** FADD FMUL FCOM FCOMP FSUB FSUBR FDIV FDIVR. */
function arithmeticMemory(kind: OperandKind): MemoryForm[] {
  return arithmeticOps.map((operation, group) =>
    memory(kind, 'r', (state, view, offset) => {
      const y = kind.read(view, offset);
      if (operation !== undefined) arithmetic(state, 0, operation, y);
      else if (compareToConditions(state, y, true) && group === 3) pop(state);
    }),
  );
}

function image(access: 'r' | 'w', registers: boolean, execute: MemoryForm['execute']): MemoryForm {
  const size = (operandSize: OperandSize) => environmentSize(operandSize) + (registers ? 80 : 0);
  return { ...(access === 'w' ? NO_WAIT : CONTROL), access, size, execute };
}

function word(access: 'r' | 'w', execute: MemoryForm['execute']): MemoryForm {
  return { ...(access === 'w' ? NO_WAIT : CONTROL), access, size: () => 2, execute };
}

const FLDCW = word('r', (state, view, offset) => setControl(state, view.getUint16(offset, true)));
const FNSTCW = word('w', (state, view, offset) => view.setUint16(offset, state.control, true));
const FNSTSW = word('w', (state, view, offset) => view.setUint16(offset, state.status, true));
const FLDENV = image('r', false, fldenv);
const FNSTENV = image('w', false, fnstenv);
const FRSTOR = image('r', true, frstor);
const FNSAVE = image('w', true, fnsave);

// biome-ignore format: one opcode a line
export const memoryForms: readonly (readonly (MemoryForm | undefined)[])[] = [
  arithmeticMemory(m32),                                                                         // D8
  [load(m32), undefined, store(m32), storePop(m32), FLDENV, FLDCW, FNSTENV, FNSTCW],             // D9
  arithmeticMemory(i32),                                                                         // DA
  [load(i32), truncatePop(i32), store(i32), storePop(i32), undefined, load(m80), undefined, storePop(m80)], // DB
  arithmeticMemory(m64),                                                                         // DC
  [load(m64), truncatePop(i64), store(m64), storePop(m64), FRSTOR, undefined, FNSAVE, FNSTSW],             // DD
  arithmeticMemory(i16),                                                                         // DE
  [load(i16), truncatePop(i16), store(i16), storePop(i16), load(bcd), load(i64), storePop(bcd), storePop(i64)], // DF
];

type Execute = RegisterForm['execute'];

function arithmeticRegister(operation: ArithmeticOp, destination: 'ST(0)' | 'ST(i)', popping = false): RegisterForm {
  return {
    execute: (state, i) => {
      if (arithmetic(state, destination === 'ST(0)' ? 0 : i, operation, register(state, i)) && popping) pop(state);
    },
  };
}

function compareRegister(signalling: boolean, pops: 0 | 1 | 2): RegisterForm {
  return {
    execute: (state, i) => {
      if (compareToConditions(state, register(state, i), signalling)) for (let n = 0; n < pops; n++) pop(state);
    },
  };
}

function compareEflags(signalling: boolean, popping: boolean): RegisterForm {
  return {
    execute: (state, i, cpu) => {
      const { eflags, done } = compareToEflags(state, register(state, i), signalling);
      cpu.newEflags = eflags;
      if (done && popping) pop(state);
    },
  };
}

const CF = 0x01;
const PF = 0x04;
const ZF = 0x40;

function cmov(flags: number, set: boolean): RegisterForm {
  return form((state, i, cpu) => conditionalMove(state, i, ((cpu.eflags & flags) !== 0) === set));
}

function form(execute: Execute): RegisterForm {
  return { execute };
}

const FXCH = form(exchange);
const FST = form((state, i) => void storeRegister(state, i));
const FSTPNCE = form(storePopUnchecked);
const FSTP = form((state, i) => {
  if (storeRegister(state, i)) pop(state);
});
const FCOM = compareRegister(true, 0);
const FCOMP = compareRegister(true, 1);
const FCOMPP = compareRegister(true, 2);
const FUCOM = compareRegister(false, 0);
const FUCOMP = compareRegister(false, 1);
const FUCOMPP = compareRegister(false, 2);
const FCOMI = compareEflags(true, false);
const FCOMIP = compareEflags(true, true);
const FUCOMI = compareEflags(false, false);
const FUCOMIP = compareEflags(false, true);
const FFREE = form((state, i) => freeRegister(state, i, false));
const FFREEP = form((state, i) => freeRegister(state, i, true));
const constants = [0, 1, 2, 3, 4, 5, 6].map((index) => form((state) => fldConstant(state, index)));

const D9_E0: (RegisterForm | undefined)[] = [
  form((state) => changeSign(state, (bits) => bits ^ (1n << 79n))), // FCHS
  form((state) => changeSign(state, (bits) => BigInt.asUintN(79, bits))), // FABS
  undefined,
  undefined,
  form((state) => void compareToConditions(state, integerOperand(0n), true)), // FTST
  form(fxam),
  undefined,
  undefined,
];
const D9_F0: RegisterForm[] = [
  form((state) => unary(state, f2xm1)),
  form((state) => binaryPop(state, yl2x)),
  form((state) => trigonometricInstruction(state, 'tan', 'one')), // FPTAN
  form((state) => binaryPop(state, patan)),
  form(fxtract),
  form((state) => remainder(state, true)), // FPREM1
  form((state) => rotateStack(state, -1)), // FDECSTP
  form((state) => rotateStack(state, 1)), // FINCSTP
];
const D9_F8: RegisterForm[] = [
  form((state) => remainder(state, false)), // FPREM
  form((state) => binaryPop(state, yl2xp1)),
  form(fsqrt),
  form((state) => trigonometricInstruction(state, 'sin', 'cos')), // FSINCOS
  form((state) => unary(state, roundToIntegral)), // FRNDINT
  form(scaleInstruction),
  form((state) => trigonometricInstruction(state, 'sin')),
  form((state) => trigonometricInstruction(state, 'cos')),
];
const FNOP = form(() => {});
/** FENI, FDISI and FSETPM of the 8087 and 80287. */
const FORMER: RegisterForm = { ...NO_WAIT, execute: () => {} };
const FNCLEX: RegisterForm = { ...NO_WAIT, execute: fnclex };
const FNINIT: RegisterForm = { ...NO_WAIT, execute: initX87 };
const FNSTSW_AX: RegisterForm = {
  ...NO_WAIT,
  execute: (state, _, cpu) => {
    cpu.newAx = state.status;
  },
};
const DB_E0 = [FORMER, FORMER, FNCLEX, FNINIT, FORMER];

type Group = RegisterForm | readonly (RegisterForm | undefined)[] | undefined;

/** FADD FMUL, two comparisons, FSUB FSUBR FDIV FDIVR. */
function arithmeticRow(destination: 'ST(0)' | 'ST(i)', popping: boolean, compare: Group, comparePop: Group): Group[] {
  return arithmeticOps.map((operation, group) => {
    if (operation !== undefined) return arithmeticRegister(operation, destination, popping);
    return group === 2 ? compare : comparePop;
  });
}

// biome-ignore format: one opcode a row
export const registerForms: readonly (readonly Group[])[] = [
  arithmeticRow('ST(0)', false, FCOM, FCOMP),                                                                                  // D8
  [form(loadRegister), FXCH, [FNOP], FSTPNCE, D9_E0, constants, D9_F0, D9_F8],                                                    // D9
  [cmov(CF, true), cmov(ZF, true), cmov(CF | ZF, true), cmov(PF, true), undefined, [undefined, FUCOMPP]],                      // DA
  [cmov(CF, false), cmov(ZF, false), cmov(CF | ZF, false), cmov(PF, false), DB_E0, FUCOMI, FCOMI],                             // DB
  arithmeticRow('ST(i)', false, FCOM, FCOMP),                                                                                  // DC
  [FFREE, FXCH, FST, FSTP, FUCOM, FUCOMP],                                                                                     // DD
  arithmeticRow('ST(i)', true, FCOMP, [undefined, FCOMPP]),                                                                    // DE
  [FFREEP, FXCH, FSTP, FSTP, [FNSTSW_AX], FUCOMIP, FCOMIP],                                                                    // DF
];

export function registerForm(opcode: number, modrm: number): RegisterForm | undefined {
  const group = registerForms[opcode & 7]?.[(modrm >> 3) & 7];
  return group !== undefined && 'execute' in group ? group : group?.[modrm & 7];
}

export function memoryForm(opcode: number, modrm: number): MemoryForm | undefined {
  return memoryForms[opcode & 7]?.[(modrm >> 3) & 7];
}
