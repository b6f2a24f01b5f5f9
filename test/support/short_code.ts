/** A few instructions as bytes, where they lie, and the pages under them. */
import type { CpuCore } from '../../emulator/cpu/index.ts';
import { le } from './random/encode.ts';

/** More instructions than any of it takes. */
export const ENOUGH = 100_000;
export const movEax = (value: number): number[] => [0xb8, ...le(value, 4)];
/** MOV BYTE [absolute], imm8. */
export const storeByte = (address: number, value: number): number[] => [0xc6, 0x04, 0x25, ...le(address, 4), value];
export const NOP = 0x90,
  HALT = [0x0f, 0x0b];
export const PAGE = 0x1000;
export const A = 0x10000;

/** Runs to the UD2 that ends the code; EAX then. */
export function runToHalt(cpu: CpuCore): number {
  const exit = cpu.run(ENOUGH);
  if (exit.kind !== 'exception' || exit.vector !== 6) throw new Error(`${JSON.stringify(exit)} at ${cpu.rip.toString(16)}`);
  return Number(cpu.gpr[0]! & 0xffff_ffffn);
}

/** Makes the 2 MiB that hold [0, 2 MiB) pages of 4 KiB, identical, in a table below the others; returns its address. */
export function splitFirstPages(cpu: CpuCore): number {
  const { view } = cpu.memory;
  const table = 0xe00000;
  const root = Number(cpu.cr3);
  for (let i = 0; i < 512; i++) view.setBigUint64(table + i * 8, (BigInt(i) << 12n) | 7n, true);
  view.setBigUint64(root + 0x2000, BigInt(table) | 7n, true);
  cpu.flushTlb({ global: true });
  return table;
}

export function mapPage(cpu: CpuCore, table: number, vaddr: number, maddr: number): void {
  cpu.memory.view.setBigUint64(table + (vaddr >> 12) * 8, BigInt(maddr) | 7n, true);
  cpu.flushTlbPage(BigInt(vaddr));
}
