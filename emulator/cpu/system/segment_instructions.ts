/** Instructions on segment registers and descriptors: MOV, PUSH and POP Sreg, LDS and kin, LLDT, LTR, LAR, LSL, VERR, VERW. */

import { CR4_UMIP } from '../control_registers.ts';
import type { CpuCore } from '../cpu.ts';
import type { Insn } from '../decoder.ts';
import { Fault, GP, NP, UD } from '../fault.ts';
import { ZF } from '../flags.ts';
import { CS_INDEX, DS_INDEX, ES_INDEX, FS_INDEX, GS_INDEX, LDTR_INDEX, SS_INDEX, TR_INDEX } from '../state.ts';
import { defineSystem, type SystemFunction, type SystemResult } from './index.ts';
import { moveStack, pushAll, readMemory, readOperand, readStack, setRegister, writeOperand } from './operand.ts';
import {
  codeOf,
  type Descriptor,
  findDescriptor,
  isCode,
  isConforming,
  isLongMode,
  isNull,
  isWritableData,
  loadSegment,
  needDescriptor,
  readUpperHalf,
  TYPE_CALL_GATE,
  TYPE_CALL_GATE16,
  TYPE_LDT,
  TYPE_READABLE,
  TYPE_TASK_GATE,
  TYPE_TSS_AVAILABLE,
  TYPE_TSS_BUSY,
  TYPE_TSS16_AVAILABLE,
  writeType,
} from './segments.ts';

/** Set in the type of a busy TSS. */
const TSS_IS_BUSY = 2;

/** ModRM.reg as a segment register; REX.R does not count. */
function segmentOperand(insn: Insn): number {
  const index = (insn.modrm >> 3) & 7;
  if (index > GS_INDEX) throw new Fault(UD);
  return index;
}

const afterLoad = (index: number): SystemResult => (index === SS_INDEX ? 'stackShadow' : undefined);

export const SYSTEM_MOV_FROM_SREG = defineSystem((cpu, insn) => {
  const { selector } = cpu.state.getSegment(segmentOperand(insn));
  writeOperand(cpu, insn, insn.shape.size, 2, BigInt(selector));
  return undefined;
});

export const SYSTEM_MOV_TO_SREG = defineSystem((cpu, insn) => {
  const index = segmentOperand(insn);
  if (index === CS_INDEX) throw new Fault(UD);
  loadSegment(cpu, index, Number(readOperand(cpu, insn, 2)), insn.shape.mode === 64);
  return afterLoad(index);
});

const pushSegment =
  (index: number): SystemFunction =>
  (cpu, insn) => {
    pushAll(cpu, insn, insn.shape.size, [BigInt(cpu.state.getSegment(index).selector)]);
    return undefined;
  };

const popSegment =
  (index: number): SystemFunction =>
  (cpu, insn) => {
    const { size, mode } = insn.shape;
    loadSegment(cpu, index, Number(readStack(cpu, insn, 0, size) & 0xffffn), mode === 64);
    moveStack(cpu, insn, size);
    return afterLoad(index);
  };

const all = [ES_INDEX, CS_INDEX, SS_INDEX, DS_INDEX, FS_INDEX, GS_INDEX];
export const SYSTEM_PUSH_SREG = all.map((index) => defineSystem(pushSegment(index)));
export const SYSTEM_POP_SREG = all.map((index) => defineSystem(popSegment(index)));

/** A far pointer into a segment register and a general one; REX.W does not widen it in memory, as on AMD. */
const loadFarPointer =
  (index: number): SystemFunction =>
  (cpu, insn) => {
    const size = Math.min(insn.shape.size, 4);
    const offset = readMemory(cpu, insn, size);
    loadSegment(cpu, index, Number(readMemory(cpu, insn, 2, size)), insn.shape.mode === 64);
    setRegister(cpu, insn.regNumber, insn.shape.size, offset);
    return undefined;
  };

export const SYSTEM_LOAD_FAR = all.map((index) => defineSystem(loadFarPointer(index)));

function refuseUmip(cpu: CpuCore): void {
  if (cpu.cr4 & BigInt(CR4_UMIP) && cpu.cpl !== 0) throw new Fault(GP, 0);
}

const storeSelector =
  (index: number): SystemFunction =>
  (cpu, insn) => {
    refuseUmip(cpu);
    writeOperand(cpu, insn, insn.shape.size, 2, BigInt(cpu.state.getSegment(index).selector));
    return undefined;
  };

export const SYSTEM_SLDT = defineSystem(storeSelector(LDTR_INDEX));
export const SYSTEM_STR = defineSystem(storeSelector(TR_INDEX));

/** A system descriptor of the GDT with its base, which has 64 bits in long mode. */
function systemSegment(cpu: CpuCore, selector: number, wanted: readonly number[]): { d: Descriptor; base: bigint } {
  if (selector & 4) throw new Fault(GP, codeOf(selector));
  const d = needDescriptor(cpu, selector);
  if (!d.isSystem || !wanted.includes(d.type)) throw new Fault(GP, codeOf(selector));
  if (!d.isPresent) throw new Fault(NP, codeOf(selector));
  return { d, base: isLongMode(cpu) ? d.base | ((readUpperHalf(cpu, d) & 0xffff_ffffn) << 32n) : d.base };
}

export const SYSTEM_LLDT = defineSystem((cpu, insn) => {
  const selector = Number(readOperand(cpu, insn, 2));
  if (isNull(selector)) {
    cpu.state.setSegment(LDTR_INDEX, { selector, base: 0n, limit: 0, attributes: 0 });
    return undefined;
  }
  const { d, base } = systemSegment(cpu, selector, [TYPE_LDT]);
  cpu.state.setSegment(LDTR_INDEX, { selector, base, limit: d.limit, attributes: d.attributes });
  return undefined;
});

export const SYSTEM_LTR = defineSystem((cpu, insn) => {
  const selector = Number(readOperand(cpu, insn, 2));
  if (isNull(selector)) throw new Fault(GP, 0);
  const { d, base } = systemSegment(cpu, selector, isLongMode(cpu) ? [TYPE_TSS_AVAILABLE] : [TYPE_TSS16_AVAILABLE, TYPE_TSS_AVAILABLE]);
  const busy = d.type | TSS_IS_BUSY;
  writeType(cpu, d, busy);
  cpu.state.setSegment(TR_INDEX, { selector, base, limit: d.limit, attributes: (d.attributes & ~15) | busy });
  return undefined;
});

/** The descriptor that LAR, LSL, VERR and VERW look at, or undefined: ZF is cleared. */
function visible(cpu: CpuCore, insn: Insn, systemTypes: readonly number[]): Descriptor | undefined {
  const selector = Number(readOperand(cpu, insn, 2));
  const d = isNull(selector) ? undefined : findDescriptor(cpu, selector);
  if (!d || (d.isSystem && !systemTypes.includes(d.type))) return undefined;
  return isConforming(d) || Math.max(cpu.cpl, selector & 3) <= d.dpl ? d : undefined;
}

function setZero(cpu: CpuCore, isSet: boolean): void {
  cpu.state.flags = (cpu.state.flags & ~ZF) | (isSet ? ZF : 0);
}

const legacyLdtAndTss = [TYPE_TSS16_AVAILABLE, TYPE_LDT, TYPE_TSS16_AVAILABLE | TSS_IS_BUSY, TYPE_TSS_AVAILABLE, TYPE_TSS_BUSY];
const longLdtAndTss = [TYPE_LDT, TYPE_TSS_AVAILABLE, TYPE_TSS_BUSY];

export const SYSTEM_LAR = defineSystem((cpu, insn) => {
  const types = isLongMode(cpu)
    ? [...longLdtAndTss, TYPE_CALL_GATE]
    : [...legacyLdtAndTss, TYPE_CALL_GATE16, TYPE_TASK_GATE, TYPE_CALL_GATE];
  const d = visible(cpu, insn, types);
  setZero(cpu, d !== undefined);
  if (d) setRegister(cpu, insn.regNumber, insn.shape.size, (d.raw >> 32n) & 0xff_ff00n);
  return undefined;
});

export const SYSTEM_LSL = defineSystem((cpu, insn) => {
  const d = visible(cpu, insn, isLongMode(cpu) ? longLdtAndTss : legacyLdtAndTss);
  setZero(cpu, d !== undefined);
  if (d) setRegister(cpu, insn.regNumber, insn.shape.size, BigInt(d.limit));
  return undefined;
});

export const SYSTEM_VERR = defineSystem((cpu, insn) => {
  const d = visible(cpu, insn, []);
  setZero(cpu, d !== undefined && (!isCode(d) || (d.type & TYPE_READABLE) !== 0));
  return undefined;
});

export const SYSTEM_VERW = defineSystem((cpu, insn) => {
  const d = visible(cpu, insn, []);
  setZero(cpu, d !== undefined && isWritableData(d));
  return undefined;
});
