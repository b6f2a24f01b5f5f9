/**
 * Segments: how they are when an engine is made for a mode, and what writing a selector loads. They are flat and lenient,
 * for Unicorn checks no limits: 4 GiB even in real mode.
 */
import { EFER_LMA } from '../cpu/control_registers.ts';
import type { CpuCore, SegmentName } from '../cpu/index.ts';
import * as L from '../cpu/layout.ts';
import { ATTR_L, CS_INDEX } from '../cpu/state.ts';
import { findDescriptor } from '../cpu/system/segments.ts';
import { constants as uc } from './constants.ts';
import { Failure } from './errors.ts';

const CODE64 = 0xa09b,
  CODE32 = 0xc09b,
  CODE16 = 0x9b,
  DATA32 = 0xc093,
  DATA16 = 0x93;
const MAX_LIMIT = 0xffff_ffff;

export function initSegments(cpu: CpuCore, mode: number): void {
  const flat = { selector: 0, base: 0n, limit: MAX_LIMIT };
  cpu.setSegment('cs', { ...flat, attributes: mode === uc.MODE_64 ? CODE64 : mode === uc.MODE_32 ? CODE32 : CODE16 });
  for (const name of ['ss', 'ds', 'es', 'fs', 'gs'] as const)
    cpu.setSegment(name, { ...flat, attributes: mode === uc.MODE_16 ? DATA16 : DATA32 });
  cpu.gdtr = { base: 0n, limit: 0 };
  cpu.idtr = { base: 0n, limit: 0 };
  for (const name of ['ldtr', 'tr'] as const)
    cpu.setSegment(name, { selector: 0, base: 0n, limit: 0, attributes: name === 'tr' ? 0x8b : 0 });
}

const CS_ATTRIBUTES = L.SYSTEM + 8 * (L.SYS_SEGMENT + CS_INDEX) + 2;

/** 64-bit code runs. Asked before every instruction that a hook sees, so it makes no objects. */
export function isLongCode({ state: { view } }: CpuCore): boolean {
  return (view.getInt32(L.SYSTEM + 8 * L.SYS_EFER, true) & EFER_LMA) !== 0 && (view.getUint16(CS_ATTRIBUTES, true) & ATTR_L) !== 0;
}

/** Writing a selector: real mode shifts it; 64-bit code only notes it, but for FS and GS; the rest asks the tables. */
export function loadSelector(cpu: CpuCore, name: SegmentName, selector: number): void {
  const present = cpu.getSegment(name);
  if ((cpu.cr0 & 1n) === 0n) return cpu.setSegment(name, { ...present, selector, base: BigInt(selector * 16) });
  const isNoted = isLongCode(cpu) && name !== 'fs' && name !== 'gs';
  if (isNoted || (selector & 0xfffc) === 0) return cpu.setSegment(name, { ...present, selector, base: isNoted ? present.base : 0n });
  const found = readDescriptor(cpu, selector);
  if (!found?.isPresent || found.isSystem) throw new Failure(uc.ERR_EXCEPTION);
  cpu.setSegment(name, { selector, base: found.base, limit: found.limit, attributes: found.attributes });
}

/** Undefined, too, where the table itself cannot be read. */
function readDescriptor(cpu: CpuCore, selector: number): ReturnType<typeof findDescriptor> {
  try {
    return findDescriptor(cpu, selector);
  } catch {
    return undefined;
  }
}
