/** IN, OUT, INS and OUTS performed for the CPU, with the program's hooks behind the ports. */

import type { CpuCore, DecodedInstruction, SegmentName } from '../cpu/index.ts';
import { RAX, RCX, RDI, RDX, RSI } from '../cpu/interface.ts';
import { fromBytes, toBytes } from './registers.ts';
import { isLongCode } from './segments.ts';

export interface Ports {
  in(port: number, size: number): number;
  out(port: number, size: number, value: number): void;
  /** A hook wrote RIP: the instruction is not behind it. */
  isRedirected(): boolean;
}

const DF = 0x400n;

const mask = (size: number): bigint => (1n << BigInt(8 * size)) - 1n;

function setRegister(cpu: CpuCore, number: number, size: number, value: bigint): void {
  const kept = size >= 4 ? 0n : cpu.gpr[number]! & ~mask(size);
  cpu.gpr[number] = kept | (value & mask(size));
}

export function performPort(cpu: CpuCore, bytes: Uint8Array, length: number, ports: Ports): void {
  const insn = cpu.decode(bytes);
  if (!insn) throw new Error('bug: a port instruction that does not decode');
  const size = Math.min(insn.size, 4);
  const isByDx = !/^E[4-7]$/.test(insn.opcode);
  const port = Number(isByDx ? cpu.gpr[RDX]! & 0xffffn : insn.imm & 0xffn);
  if (insn.mnemonic === 'in') setRegister(cpu, RAX, size, BigInt(ports.in(port, size) >>> 0));
  else if (insn.mnemonic === 'out') ports.out(port, size, Number(cpu.gpr[RAX]! & mask(size)));
  else if (stringPort(cpu, insn, port, size, ports)) {
    if (ports.isRedirected()) return;
    // One more element of a repetition: RIP stays, and it counts as an instruction.
    const { rip } = cpu;
    cpu.advance(length);
    cpu.rip = rip;
    return;
  }
  if (!ports.isRedirected()) cpu.advance(length);
}

/** One element; whether more are to come. */
function stringPort(cpu: CpuCore, insn: DecodedInstruction, port: number, size: number, ports: Ports): boolean {
  const { addressSize, rep } = insn;
  const count = cpu.gpr[RCX]! & mask(addressSize);
  if (rep !== 'none' && count === 0n) return false;
  const pointer = insn.mnemonic === 'ins' ? RDI : RSI;
  const offset = cpu.gpr[pointer]! & mask(addressSize);
  const vaddr = linear(cpu, insn.mnemonic === 'ins' ? 'es' : insn.segment, offset);
  const isUser = cpu.cpl === 3;
  if (insn.mnemonic === 'ins') {
    cpu.mmu.locate(vaddr, 'write', isUser, false, size);
    cpu.mmu.writeBytes(vaddr, toBytes(BigInt(ports.in(port, size) >>> 0), size), isUser);
  } else ports.out(port, size, Number(fromBytes(cpu.mmu.readBytes(vaddr, size, isUser))));
  const step = BigInt(cpu.rflags & DF ? -size : size);
  setRegister(cpu, pointer, addressSize, offset + step);
  if (rep === 'none') return false;
  setRegister(cpu, RCX, addressSize, count - 1n);
  return count > 1n;
}

function linear(cpu: CpuCore, segment: SegmentName, offset: bigint): bigint {
  const { base } = cpu.getSegment(segment);
  if (isLongCode(cpu)) return BigInt.asUintN(64, offset + (segment === 'fs' || segment === 'gs' ? base : 0n));
  return BigInt.asUintN(32, offset + base);
}
