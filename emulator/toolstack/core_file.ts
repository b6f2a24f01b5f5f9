/**
 * A domain's memory and registers as an ELF core that gdb reads beside the kernel's file: a PT_LOAD for each run of pages that
 * the kernel has mapped, by its own addresses, and a thread for each vCPU. Each frame is in the file once, however often it is
 * mapped. (xl's own format keeps frames in a section of its own, which gdb does not look at.)
 */
import type { Cpu } from '../cpu/interface.ts';
import type { Domain } from '../domain.ts';
import type { Machine } from '../machine.ts';
import { type MachineMemory, PAGE_SIZE } from '../memory/machine_memory.ts';
import { ToolstackError } from './toolstack_error.ts';

const EHDR_SIZE = 64;
const PHDR_SIZE = 56;
const SHDR_SIZE = 64;
const PT_LOAD = 1;
const PT_NOTE = 4;
const PF_RWX = 7;
const ET_CORE = 4;
const EM_X86_64 = 62;
const NT_PRSTATUS = 1;
/** More program headers than this are counted in a section header (elf(5)). */
const PN_XNUM = 0xffff;

/** struct elf_prstatus. */
const PRSTATUS_SIZE = 336;
const PR_CURSIG = 12;
const PR_PID = 32;
const PR_REG = 112;
const SIGTRAP = 5;

/** Slots of a top-level table that are Xen's own. */
const FIRST_XEN_SLOT = 256;
const LAST_XEN_SLOT = 271;

interface Run {
  readonly vaddr: bigint;
  readonly offset: number;
  pages: number;
}

/** The file, piece by piece: what is yielded is the machine's memory itself, not to be kept. */
export function* writeCore(machine: Machine, domain: Domain): Generator<Uint8Array> {
  const { memory } = machine;
  const threads = domain.vcpus.filter(({ isInitialised }) => isInitialised);
  let tables = 0n;
  const notes = threads.map((vcpu) => {
    let note = new Uint8Array(0);
    machine.withRegisters(vcpu, () => {
      if (vcpu === threads[0]) tables = machine.cpu.cr3;
      note = statusNote(machine.cpu, vcpu.id + 1);
    });
    return note;
  });
  if (tables === 0n) throw new ToolstackError(`${domain.name} has no vCPU that has ever run, so nothing is mapped`);

  const frames: number[] = [];
  for (let mfn = 0; mfn < memory.frameCount; mfn++) if (memory.owner[mfn] === domain.id) frames.push(mfn);
  const indexOf = new Map(frames.map((mfn, index) => [mfn, index]));
  const notesSize = notes.reduce((sum, note) => sum + note.length, 0);
  // How far the headers reach depends on their number, which needs the runs; these count from the first frame on.
  const runs = mappedRuns(memory, Number(tables / 4096n), indexOf);
  const headersSize = EHDR_SIZE + (runs.length + 1) * PHDR_SIZE + SHDR_SIZE;
  const framesOffset = Math.ceil((headersSize + notesSize) / PAGE_SIZE) * PAGE_SIZE;
  yield header(runs, headersSize, notesSize, framesOffset);
  yield* notes;
  yield new Uint8Array(framesOffset - headersSize - notesSize);
  for (let i = 0, end = 0; i < frames.length; i = end) {
    for (end = i + 1; frames[end] === frames[i]! + end - i; ) end++;
    yield memory.bytes.subarray(frames[i]! * PAGE_SIZE, (frames[end - 1]! + 1) * PAGE_SIZE);
  }
}

/** What the tables map of the domain's own frames; offsets from the first frame in the file. */
function mappedRuns(memory: MachineMemory, l4Mfn: number, indexOf: ReadonlyMap<number, number>): Run[] {
  const runs: Run[] = [];
  const visit = (mfn: number, level: number, base: bigint): void => {
    for (let slot = 0; slot < 512; slot++) {
      if (level === 4 && slot >= FIRST_XEN_SLOT && slot <= LAST_XEN_SLOT) continue;
      const entry = memory.view.getBigUint64(mfn * PAGE_SIZE + slot * 8, true);
      if ((entry & 1n) === 0n) continue;
      const target = Number((entry >> 12n) & 0xff_ffff_ffffn);
      const index = indexOf.get(target);
      if (index === undefined) continue;
      const vaddr = base | (BigInt(slot) << BigInt(12 + 9 * (level - 1)));
      if (level > 1) visit(target, level - 1, vaddr);
      else add(runs, BigInt.asUintN(64, BigInt.asIntN(48, vaddr)), index * PAGE_SIZE);
    }
  };
  visit(l4Mfn, 4, 0n);
  return runs;
}

function add(runs: Run[], vaddr: bigint, offset: number): void {
  const last = runs.at(-1);
  const size = (last?.pages ?? 0) * PAGE_SIZE;
  if (last !== undefined && last.vaddr + BigInt(size) === vaddr && last.offset + size === offset) last.pages++;
  else runs.push({ vaddr, offset, pages: 1 });
}

function header(runs: readonly Run[], headersSize: number, notesSize: number, framesOffset: number): Uint8Array {
  const bytes = new Uint8Array(headersSize);
  const view = new DataView(bytes.buffer);
  const count = runs.length + 1;
  const sections = headersSize - SHDR_SIZE;
  bytes.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  view.setUint16(16, ET_CORE, true);
  view.setUint16(18, EM_X86_64, true);
  view.setUint32(20, 1, true);
  view.setBigUint64(32, BigInt(EHDR_SIZE), true);
  view.setBigUint64(40, BigInt(sections), true);
  view.setUint16(52, EHDR_SIZE, true);
  view.setUint16(54, PHDR_SIZE, true);
  view.setUint16(56, Math.min(count, PN_XNUM), true);
  view.setUint16(58, SHDR_SIZE, true);
  view.setUint16(60, 1, true);
  if (count >= PN_XNUM) view.setUint32(sections + 44, count, true);

  const segment = (index: number, type: number, offset: number, vaddr: bigint, size: number): void => {
    const at = EHDR_SIZE + index * PHDR_SIZE;
    view.setUint32(at, type, true);
    view.setUint32(at + 4, type === PT_LOAD ? PF_RWX : 0, true);
    view.setBigUint64(at + 8, BigInt(offset), true);
    view.setBigUint64(at + 16, vaddr, true);
    view.setBigUint64(at + 32, BigInt(size), true);
    view.setBigUint64(at + 40, BigInt(type === PT_LOAD ? size : 0), true);
    view.setBigUint64(at + 48, BigInt(type === PT_LOAD ? PAGE_SIZE : 4), true);
  };
  segment(0, PT_NOTE, headersSize, 0n, notesSize);
  for (const [i, { vaddr, offset, pages }] of runs.entries()) segment(i + 1, PT_LOAD, framesOffset + offset, vaddr, pages * PAGE_SIZE);
  return bytes;
}

/** The registers of the vCPU that is on the core, as Linux's struct user_regs_struct in a note of its own. */
function statusNote(cpu: Cpu, thread: number): Uint8Array<ArrayBuffer> {
  const name = 'CORE\0\0\0\0';
  const bytes = new Uint8Array(12 + name.length + PRSTATUS_SIZE);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, 5, true);
  view.setUint32(4, PRSTATUS_SIZE, true);
  view.setUint32(8, NT_PRSTATUS, true);
  for (let i = 0; i < name.length; i++) bytes[12 + i] = name.charCodeAt(i);
  const at = 12 + name.length;
  view.setUint16(at + PR_CURSIG, SIGTRAP, true);
  view.setUint32(at + PR_PID, thread, true);
  const [rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, ...high] = cpu.gpr;
  const [r8, r9, r10, r11, r12, r13, r14, r15] = high;
  const selector = (segment: 'cs' | 'ss' | 'ds' | 'es' | 'fs' | 'gs'): bigint => BigInt(cpu.getSelector(segment));
  // biome-ignore format: in their order
  const registers = [
    r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8, rax, rcx, rdx, rsi, rdi, -1n,
    cpu.rip, selector('cs'), cpu.rflags, rsp, selector('ss'), cpu.getSegment('fs').base, cpu.getSegment('gs').base,
    selector('ds'), selector('es'), selector('fs'), selector('gs'),
  ];
  for (const [i, value] of registers.entries()) view.setBigUint64(at + PR_REG + i * 8, BigInt.asUintN(64, value!), true);
  return bytes;
}
