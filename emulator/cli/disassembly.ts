/** The code around RIP as text. The disassembler is large and only loaded when a report needs it. */
import type { Cpu } from '../cpu/interface.ts';

const BYTES_BEFORE = 24;
const BYTES_AFTER = 32;
const INSTRUCTIONS_BEFORE = 4;
const INSTRUCTIONS_AFTER = 6;
const CODE_64 = 0x2000;

/** Lines with address, bytes and instruction, RIP's marked; one line that says so when the code cannot be read. */
export async function disassembleAround(cpu: Cpu, ram: Uint8Array): Promise<string[]> {
  const cs = cpu.getSegment('cs');
  const is64 = (cs.attributes & CODE_64) !== 0;
  const rip = is64 ? cpu.rip : BigInt.asUintN(32, cs.base + cpu.rip);
  const at = readBytes(cpu, ram, rip, BYTES_AFTER);
  if (at.length === 0) return [`${rip.toString(16)} is not mapped`];
  const before = readBefore(cpu, ram, rip);

  const { Capstone, Const, loadCapstone } = await import('capstone-wasm');
  await loadCapstone();
  const engine = new Capstone(Const.CS_ARCH_X86, is64 ? Const.CS_MODE_64 : Const.CS_MODE_32);
  try {
    type Insn = ReturnType<typeof engine.disasm>[number];
    const decode = (bytes: Uint8Array, address: bigint, count?: number): Insn[] => {
      try {
        return engine.disasm(bytes, { address, ...(count !== undefined && { count }) });
      } catch {
        return [];
      }
    };
    const format = (insn: Insn, mark: string): string =>
      `${mark} ${BigInt.asUintN(64, BigInt(insn.address)).toString(16).padStart(16, '0')}  ${toHex(insn.bytes).padEnd(30)} ${insn.mnemonic} ${insn.opStr}`.trimEnd();

    // Instructions have no fixed size: of all places to start, take the first from which decoding arrives at RIP exactly.
    let earlier: Insn[] = [];
    for (let skip = 0; skip < before.length && earlier.length === 0; skip++) {
      const insns = decode(before.subarray(skip), rip - BigInt(before.length - skip));
      if (insns.reduce((size, { size: own }) => size + own, skip) === before.length) earlier = insns;
    }
    const later = decode(at, rip, INSTRUCTIONS_AFTER);
    const lines = earlier.slice(-INSTRUCTIONS_BEFORE).map((insn) => format(insn, '  '));
    if (later.length === 0) lines.push(`=> ${rip.toString(16).padStart(16, '0')}  ${toHex(at.subarray(0, 8))} (no valid instruction)`);
    lines.push(...later.map((insn, i) => format(insn, i === 0 ? '=>' : '  ')));
    return lines;
  } finally {
    engine.close();
  }
}

const toHex = (bytes: Uint8Array): string => Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join(' ');

/** Up to `size` bytes from `vaddr`, as far as they are mapped. */
function readBytes(cpu: Cpu, ram: Uint8Array, vaddr: bigint, size: number): Uint8Array {
  const bytes = new Uint8Array(size);
  for (let i = 0; i < size; i++) {
    const translation = cpu.translate(BigInt.asUintN(64, vaddr + BigInt(i)), 'read');
    if (!translation.ok) return bytes.subarray(0, i);
    bytes[i] = ram[translation.maddr]!;
  }
  return bytes;
}

/** The mapped bytes that end at `rip`. */
function readBefore(cpu: Cpu, ram: Uint8Array, rip: bigint): Uint8Array {
  const inPage = Number(rip & 0xfffn);
  const previous = cpu.translate(BigInt.asUintN(64, rip - BigInt(BYTES_BEFORE)), 'read').ok;
  const size = previous ? BYTES_BEFORE : Math.min(BYTES_BEFORE, inPage);
  return readBytes(cpu, ram, rip - BigInt(size), size);
}
