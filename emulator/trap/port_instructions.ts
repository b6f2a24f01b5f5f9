/** IN, OUT, INS and OUTS of a PV64 guest, as the CPU would do them with the ports of ports.ts. */
import { copyFromGuest, copyToGuest } from '../../hypercalls/guest_memory.ts';
import { isCanonical } from '../../hypercalls/pv_cpu/canonical.ts';
import { SEGMENT_L } from '../../hypercalls/pv_cpu/selectors.ts';
import { RAX, RCX, RDI, RDX, RSI, type SegmentName } from '../cpu/interface.ts';
import { isHypervisorAddress } from '../memory/guest_walk.ts';
import { injectPageFault, PFEC_WRITE, RFLAGS_RF } from './bounce.ts';
import { type Emulation, faultWith, isIoplEnough, type Outcome } from './emulation.ts';
import { ioBreakpoints, isKeptPort, mayUsePort, type PortSize, readPort, writePort } from './ports.ts';

const VECTOR_SS = 12;
const VECTOR_GP = 13;
const RFLAGS_DF = 0x400n;
/** Elements that one INS or OUTS with REP moves before pending events get their turn. */
const REP_SLICE = 4096n;

function mayUse(emulation: Emulation, port: number, size: PortSize): boolean {
  const { host, vcpu } = emulation;
  if (!mayUsePort(host, vcpu, isIoplEnough(emulation), port, size)) return false;
  emulation.breakpoints |= ioBreakpoints(host, vcpu, port, size);
  return true;
}

export function emulateInOut(emulation: Emulation): Outcome {
  const { insn, gpr, vcpu } = emulation;
  const isInDx = (Number.parseInt(insn.opcode, 16) & 8) !== 0;
  const port = Number((isInDx ? gpr[RDX]! : insn.imm) & 0xffffn);
  const size = Math.min(insn.size, 4) as PortSize;
  if (!mayUse(emulation, port, size)) return 'refused';
  const outcome = vcpu.domain.isInitial && !isKeptPort(port, size) ? 'unstepped' : 'done';
  if (insn.mnemonic === 'out') {
    writePort(vcpu.domain, port, size, Number(gpr[RAX]! & 0xffff_ffffn));
    return outcome;
  }
  const value = BigInt(readPort(vcpu.domain, port, size));
  gpr[RAX] = size === 4 ? value : insertLow(gpr[RAX]!, value, size);
  return outcome;
}

export function emulateInOutString(emulation: Emulation): Outcome {
  const { host, vcpu, gpr, insn } = emulation;
  const { addressSize, rep, segment } = insn;
  const isInput = insn.mnemonic === 'ins';
  const size = Math.min(insn.size, 4) as PortSize;
  const port = Number(gpr[RDX]! & 0xffffn);
  const addressMask = (1n << BigInt(addressSize * 8)) - 1n;
  const count = rep === 'none' ? 1n : gpr[RCX]! & addressMask;
  if (count === 0n) return 'done';
  if (!mayUse(emulation, port, size)) return 'refused';
  const pointer = isInput ? RDI : RSI;
  const base = segmentBase(emulation, isInput ? 'es' : segment);
  const step = host.cpu.rflags & RFLAGS_DF ? -BigInt(size) : BigInt(size);
  const bytes = new Uint8Array(4);
  const view = new DataView(bytes.buffer);
  for (let done = 1n; ; done++) {
    const vaddr = BigInt.asUintN(64, base + (gpr[pointer]! & addressMask));
    if (!isCanonical(vaddr) || isHypervisorAddress(vaddr))
      return faultWith(emulation, !isInput && segment === 'ss' ? VECTOR_SS : VECTOR_GP, 0);
    if (isInput) view.setUint32(0, readPort(vcpu.domain, port, size), true);
    const isDone = isInput ? copyToGuest(host, vaddr, bytes, 0, size) : copyFromGuest(host, vaddr, bytes, 0, size);
    if (!isDone) {
      if (rep !== 'none') host.cpu.rflags &= ~RFLAGS_RF;
      const isBegun = host.cpu.translate(vaddr, isInput ? 'write' : 'read').ok;
      injectPageFault(host, vcpu, isInput ? PFEC_WRITE : 0, isBegun ? (vaddr | 0xfffn) + 1n : vaddr);
      return 'faulted';
    }
    if (!isInput) writePort(vcpu.domain, port, size, view.getUint32(0, true));
    setAddress(gpr, pointer, gpr[pointer]! + step, addressSize);
    if (rep !== 'none') setAddress(gpr, RCX, gpr[RCX]! - 1n, addressSize);
    if (done === count) return 'done';
    if (done === REP_SLICE || emulation.breakpoints !== 0) return 'repeat';
  }
}

/** `value` in the low `size` bytes of `old`. */
function insertLow(old: bigint, value: bigint, size: number): bigint {
  const mask = (1n << BigInt(size * 8)) - 1n;
  return (old & ~mask) | (value & mask);
}

/** Writes a pointer or counter of the address size: 32 bits clear the upper half, 16 keep the rest. */
function setAddress(gpr: BigUint64Array, register: number, value: bigint, addressSize: 2 | 4 | 8): void {
  if (addressSize === 2) gpr[register] = insertLow(gpr[register]!, value, 2);
  else gpr[register] = BigInt.asUintN(addressSize * 8, value);
}

function segmentBase({ host }: Emulation, name: SegmentName): bigint {
  const is64 = (host.cpu.getSegment('cs').attributes & SEGMENT_L) !== 0;
  return is64 && name !== 'fs' && name !== 'gs' ? 0n : host.cpu.getSegment(name).base;
}
