/**
 * Registers by Unicorn's numbers: where each lives, how wide it is, and what writing it does. Numbers that a mode does not
 * have read as nothing and take no writes, as in Unicorn.
 */
import type { CpuCore, SegmentName } from '../cpu/index.ts';
import * as L from '../cpu/layout.ts';
import { constants as uc } from './constants.ts';
import { Failure } from './errors.ts';
import { loadSelector } from './segments.ts';

/** A register of up to 32 bytes: its image in memory order. */
export interface Register {
  readonly size: number;
  read(cpu: CpuCore): Uint8Array;
  write(cpu: CpuCore, bytes: Uint8Array): void;
}

const EFER_LME = 0x100n,
  EFER_LMA = 0x400n,
  CR0_PG = 1n << 31n;

export function toBytes(value: bigint, size: number): Uint8Array {
  const bytes = new Uint8Array(size);
  for (let i = 0, rest = value; i < size; i++, rest >>= 8n) bytes[i] = Number(rest & 0xffn);
  return bytes;
}

export function fromBytes(bytes: Uint8Array, size = bytes.length): bigint {
  let value = 0n;
  for (let i = Math.min(size, bytes.length) - 1; i >= 0; i--) value = (value << 8n) | BigInt(bytes[i]!);
  return value;
}

function integer(size: number, get: (cpu: CpuCore) => bigint, set: (cpu: CpuCore, value: bigint) => void): Register {
  return {
    size,
    read: (cpu) => toBytes(get(cpu), size),
    write: (cpu, bytes) => set(cpu, fromBytes(bytes, size)),
  };
}

/** `shift` is 8 for AH and its kin. Writes leave the other bits alone, 32-bit ones too unless they are all there is. */
function general(number: number, size: number, shift = 0): Register {
  const mask = ((1n << BigInt(8 * size)) - 1n) << BigInt(shift);
  return integer(
    size,
    (cpu) => (cpu.gpr[number]! & mask) >> BigInt(shift),
    (cpu, value) => {
      cpu.gpr[number] = (cpu.gpr[number]! & ~mask) | (value << BigInt(shift));
    },
  );
}

/** Bytes at a place in the register file. */
function place(at: (view: DataView) => number, size: number): Register {
  const bytesOf = ({ state: { view } }: CpuCore): Uint8Array => new Uint8Array(view.buffer, at(view), size);
  return {
    size,
    read: (cpu) => bytesOf(cpu).slice(),
    write: (cpu, bytes) => bytesOf(cpu).fill(0).set(bytes.subarray(0, size)),
  };
}

const fixed = (offset: number, size: number): Register => place(() => offset, size);
/** ST(i), which FPSW's top says where to find. */
const stack = (i: number): Register => place((view) => L.ST + 16 * (((view.getUint16(L.FSW, true) >> 11) + i) & 7), 10);

function segment(name: SegmentName): Register {
  return integer(
    2,
    (cpu) => BigInt(cpu.getSegment(name).selector),
    (cpu, value) => loadSelector(cpu, name, Number(value)),
  );
}

/** Only 64-bit mode can write it. */
function base(name: 'fs' | 'gs', size: number): Register {
  return integer(
    size,
    (cpu) => cpu.getSegment(name).base,
    (cpu, value) => {
      if (size === 8) cpu.setSegment(name, { ...cpu.getSegment(name), base: value });
    },
  );
}

/** `struct uc_x86_mmr`: selector, base at 8, limit at 16, flags at 20. */
function descriptorTable(name: 'gdtr' | 'idtr'): Register {
  return {
    size: 24,
    read: (cpu) => mmr(0, cpu[name].base, cpu[name].limit, 0),
    write: (cpu, bytes) => {
      cpu[name] = { base: fromBytes(bytes.subarray(8), 8), limit: Number(fromBytes(bytes.subarray(16), 2)) };
    },
  };
}

function systemSegment(name: 'ldtr' | 'tr'): Register {
  return {
    size: 24,
    read: (cpu) => {
      const { selector, base, limit, attributes } = cpu.getSegment(name);
      return mmr(selector, base, limit, (attributes << 8) >>> 0);
    },
    write: (cpu, bytes) => {
      cpu.setSegment(name, {
        selector: Number(fromBytes(bytes, 2)),
        base: fromBytes(bytes.subarray(8), 8),
        limit: Number(fromBytes(bytes.subarray(16), 4)),
        attributes: (Number(fromBytes(bytes.subarray(20), 4)) >> 8) & 0xf0ff,
      });
    },
  };
}

function mmr(selector: number, base: bigint, limit: number, flags: number): Uint8Array {
  const bytes = new Uint8Array(24);
  bytes.set(toBytes(BigInt(selector), 2));
  bytes.set(toBytes(base, 8), 8);
  bytes.set(toBytes(BigInt(limit), 4), 16);
  bytes.set(toBytes(BigInt(flags), 4), 20);
  return bytes;
}

/** `struct uc_x86_msr`: the number, at 8 the value. A read cannot say which: its buffer begins as zeros. */
const msr: Register = {
  size: 16,
  read: () => new Uint8Array(16),
  write: (cpu, bytes) => {
    cpu.writeMsr(Number(fromBytes(bytes, 4)), fromBytes(bytes.subarray(8), 8));
  },
};

/** There is no AVX: the upper half reads as zero and takes nothing else. */
function ymm(i: number): Register {
  const low = fixed(L.XMM + 16 * i, 16);
  return {
    size: 32,
    read: (cpu) => {
      const bytes = new Uint8Array(32);
      bytes.set(low.read(cpu));
      return bytes;
    },
    write: (cpu, bytes) => {
      if (bytes.subarray(16, 32).some((byte) => byte !== 0)) throw new Failure(uc.ERR_ARG);
      low.write(cpu, bytes);
    },
  };
}

/** Paging that begins with EFER.LME set begins long mode. */
function writeCr0(cpu: CpuCore, value: bigint): void {
  const begins = (value & ~cpu.cr0 & CR0_PG) !== 0n;
  if (begins && cpu.efer & EFER_LME) cpu.efer |= EFER_LMA;
  cpu.cr0 = value;
  if (begins && !(cpu.efer & EFER_LMA)) cpu.mmu.loadPdptes(cpu.cr3);
}

function flags(size: number): Register {
  return integer(
    size,
    (cpu) => cpu.rflags & ((1n << BigInt(8 * size)) - 1n),
    (cpu, value) => {
      const kept = size === 2 ? cpu.rflags & ~0xffffn : 0n;
      cpu.rflags = (kept | value) & 0x3f_7fd5n;
    },
  );
}

type Rows = [name: string, register: Register][];

const GENERAL = 'AX CX DX BX SP BP SI DI'.split(' ');
const SEGMENTS = ['ES', 'CS', 'SS', 'DS', 'FS', 'GS'];

function rowsOf(is64: boolean): Rows {
  const width = is64 ? 8 : 4;
  const rows: Rows = [];
  const counted = (count: number, name: string, make: (i: number) => Register): void => {
    for (let i = 0; i < count; i++) rows.push([`${name}${i}`, make(i)]);
  };
  GENERAL.forEach((name, i) => {
    rows.push([name, general(i, 2)], [`E${name}`, general(i, 4)]);
    if (i < 4) rows.push([`${name[0]}L`, general(i, 1)], [`${name[0]}H`, general(i, 1, 8)]);
    if (is64) rows.push([`R${name}`, general(i, 8)]);
    if (is64 && i >= 4) rows.push([`${name}L`, general(i, 1)]);
  });
  if (is64) {
    for (let i = 8; i < 16; i++)
      rows.push([`R${i}`, general(i, 8)], [`R${i}D`, general(i, 4)], [`R${i}W`, general(i, 2)], [`R${i}B`, general(i, 1)]);
    rows.push(['RFLAGS', flags(8)]);
  }
  for (const name of SEGMENTS) rows.push([name, segment(name.toLowerCase() as SegmentName)]);
  // biome-ignore format: a table
  rows.push(
    ['EFLAGS', flags(4)], ['FLAGS', flags(2)],
    ['FS_BASE', base('fs', width)], ['GS_BASE', base('gs', width)],
    ['CR0', integer(width, (cpu) => cpu.cr0, writeCr0)],
    ['CR1', integer(width, () => 0n, () => {})],
    ['CR2', integer(width, (cpu) => cpu.cr2, (cpu, value) => { cpu.cr2 = value; })],
    ['CR3', integer(width, (cpu) => cpu.cr3, (cpu, value) => { cpu.cr3 = value; })],
    ['CR4', integer(width, (cpu) => cpu.cr4, (cpu, value) => { cpu.cr4 = value; })],
    ['GDTR', descriptorTable('gdtr')], ['IDTR', descriptorTable('idtr')], ['LDTR', systemSegment('ldtr')], ['TR', systemSegment('tr')],
    ['MSR', msr], ['MXCSR', fixed(L.MXCSR, 4)],
    ['FPCW', fixed(L.FCW, 2)], ['FPSW', fixed(L.FSW, 2)], ['FPTAG', fixed(L.FTW, 2)], ['FOP', fixed(L.FOP, 2)],
    ['FIP', fixed(L.FIP, 8)], ['FDP', fixed(L.FDP, 8)], ['FCS', fixed(L.FIP_SELECTOR, 2)], ['FDS', fixed(L.FDP_SELECTOR, 2)],
  );
  if (is64)
    rows.push([
      'CR8',
      integer(
        8,
        (cpu) => cpu.cr8,
        (cpu, value) => {
          cpu.cr8 = value & 15n;
        },
      ),
    ]);
  counted(8, 'DR', (i) =>
    integer(
      width,
      (cpu) => cpu.getDr(i === 4 || i === 5 ? i + 2 : i),
      (cpu, value) => cpu.setDr(i === 4 || i === 5 ? i + 2 : i, value),
    ),
  );
  counted(8, 'ST', stack);
  counted(8, 'FP', (i) => fixed(L.ST + 16 * i, 10));
  counted(8, 'MM', (i) => fixed(L.ST + 16 * i, 8));
  counted(is64 ? 16 : 8, 'XMM', (i) => fixed(L.XMM + 16 * i, 16));
  counted(is64 ? 16 : 8, 'YMM', ymm);
  return rows;
}

/** All but the instruction pointers, which belong to the run (emulation.ts). */
export function registerTable(is64: boolean): ReadonlyMap<number, Register> {
  const numbers = uc as unknown as Readonly<Record<string, number>>;
  return new Map(rowsOf(is64).map(([name, register]) => [numbers[`X86_REG_${name}`]!, register]));
}
