/**
 * IN, OUT, INS and OUTS: who may use a port (IOPL, then the TSS's I/O permission bitmap, SDM 1 19.5), then the host's
 * intercept. A CPU whose host intercepts no ports has none: reads give ones, writes go nowhere.
 */

import type { CpuCore } from '../cpu.ts';
import type { Insn } from '../decoder.ts';
import type { InterceptedInstruction } from '../exit.ts';
import { Fault, GP } from '../fault.ts';
import { DF, IOPL_SHIFT } from '../flags.ts';
import { RAX, RCX, RDI, RDX, RSI } from '../interface.ts';
import { ATTR_P, ES_INDEX, TR_INDEX } from '../state.ts';
import { defineSystem, intercepted, type SystemFunction, type SystemResult } from './index.ts';
import { getRegister, readAt, setRegister, sizeMask, writeAt } from './operand.ts';
import { isRealMode } from './segments.ts';

const TSS_IO_BASE = 102;
const TSS_IS_32 = 8;

function checkPort(cpu: CpuCore, port: number, size: number): void {
  if (isRealMode(cpu) || cpu.cpl <= ((cpu.state.systemFlags >> IOPL_SHIFT) & 3)) return;
  const tss = cpu.state.getSegment(TR_INDEX);
  // A 16-bit TSS has no map.
  if (!(tss.attributes & ATTR_P) || !(tss.attributes & TSS_IS_32) || tss.limit < TSS_IO_BASE + 1) throw new Fault(GP, 0);
  const at = Number(cpu.mmu.read(tss.base + BigInt(TSS_IO_BASE), 2, false)) + (port >> 3);
  if (at + 1 > tss.limit) throw new Fault(GP, 0);
  const bits = Number(cpu.mmu.read(tss.base + BigInt(at), 2, false)) >> (port & 7);
  if (bits & ((1 << size) - 1)) throw new Fault(GP, 0);
}

/** Ports are at most 4 bytes wide, whatever the prefixes. */
const portSize = (insn: Insn): number => Math.min(insn.shape.size, 4);

const direct =
  (name: 'in' | 'out', isByDx: boolean): SystemFunction =>
  (cpu, insn) => {
    const size = portSize(insn);
    checkPort(cpu, Number(isByDx ? getRegister(cpu, RDX, 2) : insn.imm & 0xffn), size);
    const exit = intercepted(cpu, insn, name);
    if (exit) return exit;
    if (name === 'in') setRegister(cpu, RAX, size, sizeMask(size));
    return undefined;
  };

export const SYSTEM_IN_IMM = defineSystem(direct('in', false));
export const SYSTEM_IN_DX = defineSystem(direct('in', true));
export const SYSTEM_OUT_IMM = defineSystem(direct('out', false));
export const SYSTEM_OUT_DX = defineSystem(direct('out', true));

/** One element; a repeated one stays at its RIP until the count is used up. */
function stringPort(cpu: CpuCore, insn: Insn, name: InterceptedInstruction & ('ins' | 'outs')): SystemResult {
  const size = portSize(insn);
  const { addressSize, rep } = insn.shape;
  checkPort(cpu, Number(getRegister(cpu, RDX, 2)), size);
  const exit = intercepted(cpu, insn, name);
  if (exit) return exit;
  const count = getRegister(cpu, RCX, addressSize);
  if (rep !== 'none' && count === 0n) return undefined;
  const pointer = name === 'ins' ? RDI : RSI;
  const offset = getRegister(cpu, pointer, addressSize);
  if (name === 'ins') writeAt(cpu, insn, ES_INDEX, offset, size, sizeMask(size));
  else readAt(cpu, insn, insn.segment, offset, size);
  setRegister(cpu, pointer, addressSize, offset + BigInt(cpu.state.systemFlags & DF ? -size : size));
  if (rep === 'none') return undefined;
  setRegister(cpu, RCX, addressSize, count - 1n);
  return count === 1n ? undefined : 'jumped';
}

export const SYSTEM_INS = defineSystem((cpu, insn) => stringPort(cpu, insn, 'ins'));
export const SYSTEM_OUTS = defineSystem((cpu, insn) => stringPort(cpu, insn, 'outs'));
