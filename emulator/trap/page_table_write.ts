/**
 * Writable page tables: a PV64 kernel with that vm_assist may write its L1 tables through read-only mappings, and ring -1
 * performs the write after checking the entry (xen:arch/x86/pv/ro-page-fault.c). The instruction itself runs on the CPU, one
 * step on a copy of the table put under the same vaddr; then what it changed is checked and done to the table. Only the
 * instructions that Xen emulates there, and only an aligned access of at most eight bytes: else the fault is the guest's.
 */
import type { Exit } from '../cpu/exit.ts';
import type { DecodedInstruction } from '../cpu/interface.ts';
import { findL1Entry } from '../memory/guest_walk.ts';
import { type MachineMemory, OWNER_RING, PAGE_SIZE } from '../memory/machine_memory.ts';
import { findWritableL1, writeL1Entry } from '../memory/page_table_update.ts';
import { entryOf, PAGE_ACCESSED, PAGE_DIRTY, PAGE_PRESENT, PAGE_RW, PAGE_USER } from '../memory/pte.ts';
import { defineSlot } from '../slot.ts';
import type { Vcpu } from '../vcpu.ts';
import { fetchInstruction } from './privileged.ts';
import { hex, type TrapHost } from './trap_host.ts';

const COPY_FLAGS = PAGE_PRESENT | PAGE_RW | PAGE_USER | PAGE_ACCESSED | PAGE_DIRTY;
const ENTRY_SIZE = 8;

/** They write whatever was there. */
const STORES = new Set(['call', 'enter', 'mov', 'movnti', 'movs', 'pop', 'push', 'pushf', 'set', 'stos']);
/** They read first, and write only a value that differs. */
const UPDATES = new Set(
  'adc add and btc btr bts cmpxchg cmpxchg8b dec inc neg not or rcl rcr rol ror sar sbb shl shld shr shrd sub xadd xchg xor'.split(' '),
);
const MOV_FROM_SEGMENT = '8C /r';

/** The table as it was before the step. */
const original = new Uint8Array(PAGE_SIZE);
const originalView = new DataView(original.buffer);

/** The frame that holds the copy. */
const copyFrame = defineSlot<MachineMemory, { mfn: number }>((memory) => ({ mfn: memory.allocate(OWNER_RING) }), {
  name: 'trap.copy_frame',
  isTransient: true,
});

/**
 * `undefined`: no such write, or one that Xen refuses; nothing has changed. Else the exit of the one step that was run:
 * 'budget' when the instruction is done.
 */
export function writePageTable(host: TrapHost, vcpu: Vcpu, vaddr: bigint): Exit | undefined {
  const { cpu, memory } = host;
  const insn = fetchInstruction(host);
  if (insn === undefined || insn.opcode === MOV_FROM_SEGMENT) return undefined;
  const isStore = STORES.has(insn.mnemonic);
  if (!isStore && !UPDATES.has(insn.mnemonic)) return undefined;
  const isAllowed = isAlignedAccess(insn, Number(vaddr & 0xfffn));
  if (isStore && !isAllowed) return undefined;
  const table = findWritableL1(memory, vcpu, vaddr);
  const mapping = findL1Entry(memory, vcpu, vaddr);
  if (table < 0 || mapping === undefined) return undefined;

  const copy = copyFrame.of(memory).mfn * PAGE_SIZE;
  original.set(memory.bytes.subarray(table, table + PAGE_SIZE));
  memory.bytes.set(original, copy);
  const before = cpu.saveContext();
  setEntry(host, mapping.maddr, vaddr, entryOf(copy / PAGE_SIZE, COPY_FLAGS));
  const exit = cpu.run(1);
  setEntry(host, mapping.maddr, vaddr, mapping.entry);

  const offset = changedEntry(memory, copy);
  if (offset === NO_ENTRY) return exit;
  const value = memory.view.getBigUint64(copy + offset, true);
  if (!isAllowed || offset === SEVERAL_ENTRIES || !writeL1Entry(memory, table + offset, value)) {
    cpu.loadContext(before);
    return undefined;
  }
  host.traceTrap?.(vcpu, `page table write ${hex(value)} at ${hex(table + offset)} by ${insn.mnemonic} at ${hex(cpu.rip)}`);
  return exit;
}

function isAlignedAccess({ mnemonic, size }: DecodedInstruction, offset: number): boolean {
  const width = mnemonic === 'cmpxchg8b' ? size * 2 : size;
  return width <= ENTRY_SIZE && offset % width === 0;
}

const NO_ENTRY = -1;
const SEVERAL_ENTRIES = -2;

/** Offset of the one entry in which the copy differs from what it was; the table itself may have got accessed bits since. */
function changedEntry({ view }: MachineMemory, copy: number): number {
  let changed = NO_ENTRY;
  for (let offset = 0; offset < PAGE_SIZE; offset += 4) {
    if (originalView.getUint32(offset, true) === view.getUint32(copy + offset, true)) continue;
    const entry = offset - (offset % ENTRY_SIZE);
    if (changed !== NO_ENTRY && changed !== entry) return SEVERAL_ENTRIES;
    changed = entry;
  }
  return changed;
}

function setEntry({ cpu, memory }: TrapHost, maddr: number, vaddr: bigint, entry: bigint): void {
  memory.view.setBigUint64(maddr, entry, true);
  memory.written(maddr, ENTRY_SIZE);
  cpu.flushTlbPage(vaddr);
}
