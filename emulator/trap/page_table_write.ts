/**
 * Writable page tables: a PV64 kernel with that vm_assist may write its L1 tables through read-only mappings, and ring -1
 * performs the write after checking the entry (xen:arch/x86/pv/ro-page-fault.c). The instruction itself runs on the CPU, one
 * step on a copy of the table put under the same vaddr, so that every instruction that can write works; then what it
 * changed is checked and done to the table.
 */
import type { Exit } from '../cpu/exit.ts';
import { findL1Entry } from '../memory/guest_walk.ts';
import { type MachineMemory, OWNER_RING, PAGE_SIZE } from '../memory/machine_memory.ts';
import { findWritableL1, writeL1Entry } from '../memory/page_table_update.ts';
import { entryOf, PAGE_ACCESSED, PAGE_DIRTY, PAGE_PRESENT, PAGE_RW, PAGE_USER } from '../memory/pte.ts';
import { defineSlot } from '../slot.ts';
import type { Vcpu } from '../vcpu.ts';
import { fetchInstruction } from './privileged.ts';
import { hex, type TrapHost } from './trap_host.ts';

const COPY_FLAGS = PAGE_PRESENT | PAGE_RW | PAGE_USER | PAGE_ACCESSED | PAGE_DIRTY;

/** The frame that holds the copy. */
const copyFrame = defineSlot<MachineMemory, { mfn: number }>((memory) => ({ mfn: memory.allocate(OWNER_RING) }));

/**
 * `undefined`: no such write, or one that Xen refuses; nothing has changed. Else the exit of the one step that was run:
 * 'budget' when the instruction is done.
 */
export function writePageTable(host: TrapHost, vcpu: Vcpu, vaddr: bigint): Exit | undefined {
  const { cpu, memory } = host;
  const insn = fetchInstruction(host);
  if (insn === undefined || insn.size > 8) return undefined;
  const target = findWritableL1(memory, vcpu, vaddr, insn.size);
  const mapping = findL1Entry(memory, vcpu, vaddr);
  if (target === undefined || mapping === undefined) return undefined;

  const table = Math.floor(target / PAGE_SIZE) * PAGE_SIZE;
  const copy = copyFrame.of(memory).mfn * PAGE_SIZE;
  memory.bytes.copyWithin(copy, table, table + PAGE_SIZE);
  const before = cpu.saveContext();
  setEntry(host, mapping.maddr, vaddr, entryOf(copy / PAGE_SIZE, COPY_FLAGS));
  const exit = cpu.run(1);
  setEntry(host, mapping.maddr, vaddr, mapping.entry);

  const isString = insn.rep !== 'none';
  let written = 0;
  for (let offset = 0; offset < PAGE_SIZE; offset += 8) {
    const value = memory.view.getBigUint64(copy + offset, true);
    if (value === memory.view.getBigUint64(table + offset, true)) continue;
    if ((written++ > 0 && !isString) || !writeL1Entry(memory, table + offset, 8, value)) {
      cpu.loadContext(before);
      return undefined;
    }
    host.traceTrap?.(vcpu, `page table write ${hex(value)} at ${hex(table + offset)} by ${insn.mnemonic} at ${hex(cpu.rip)}`);
  }
  return exit;
}

function setEntry({ cpu, memory }: TrapHost, maddr: number, vaddr: bigint, entry: bigint): void {
  memory.view.setBigUint64(maddr, entry, true);
  memory.written(maddr, 8);
  cpu.flushTlbPage(vaddr);
}
