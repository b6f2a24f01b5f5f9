/**
 * Instructions and basic blocks as CODE and BLOCK hooks report them: sizes by decoding what lies in memory, remembered as
 * long as the bytes are the same.
 */
import type { CpuCore, DecodedInstruction } from '../cpu/index.ts';
import { PAGE_SIZE } from '../cpu/layout.ts';

export interface Block {
  readonly size: number;
  /** Instructions. */
  readonly count: number;
  /** The next block is one instruction: this one ended by holding off interrupts. */
  readonly shadows: boolean;
}

/** What Unicorn gives for an instruction that does not decode. */
export const UNKNOWN_SIZE = 0xf1f1_f1f1;
const MAX_LENGTH = 15;
const MAX_COUNT = 512;

/** Instructions after which a translation ends. */
const ENDERS = new Set(
  `j jmp jmp_far jrcxz loop loope loopne call call_far ret ret_far iret int int1 int3 into syscall sysret sysenter sysexit
  hlt ud0 ud1 ud2 popf sti clts lmsw pause invlpg swapgs lss lds les`.split(/\s+/),
);

interface Instruction {
  readonly bytes: Uint8Array;
  readonly ends: boolean;
  readonly shadows: boolean;
}

export class Blocks {
  readonly #cpu: CpuCore;
  readonly #known = new Map<bigint, Instruction>();

  constructor(cpu: CpuCore) {
    this.#cpu = cpu;
  }

  clear(): void {
    this.#known.clear();
  }

  /** Size of the instruction at a linear address; 0 when it cannot be fetched. */
  instructionSize(address: bigint): number {
    return this.#at(address)?.bytes.length ?? (this.#bytes(address, MAX_LENGTH).length < MAX_LENGTH ? 0 : UNKNOWN_SIZE);
  }

  /** The block that begins at a linear address behind another; an exit ends it. */
  block(address: bigint, exits: ReadonlySet<bigint>, before: Block | undefined): Block {
    let size = 0;
    let count = 0;
    let shadows = false;
    const max = before?.shadows ? 1 : MAX_COUNT;
    for (let isLast = false; !isLast && count < max; ) {
      const at = address + BigInt(size);
      const instruction = count > 0 && exits.has(at) ? undefined : this.#at(at);
      if (!instruction) break;
      size += instruction.bytes.length;
      count++;
      isLast = instruction.ends;
      shadows = instruction.shadows;
    }
    if (count === 0) size = this.instructionSize(address);
    return { size, count: Math.max(count, 1), shadows };
  }

  #at(address: bigint): Instruction | undefined {
    const known = this.#known.get(address);
    const bytes = this.#bytes(address, known?.bytes.length ?? MAX_LENGTH);
    if (known && isSame(known.bytes, bytes)) return known;
    const decoded = this.#cpu.decode(known ? this.#bytes(address, MAX_LENGTH) : bytes);
    if (!decoded) return undefined;
    const instruction = {
      bytes: this.#bytes(address, decoded.length).slice(),
      ends: endsBlock(decoded),
      shadows: holdsInterrupts(decoded),
    };
    this.#known.set(address, instruction);
    return instruction;
  }

  /** What can be fetched of `size` bytes. */
  #bytes(address: bigint, size: number): Uint8Array {
    const { bytes } = this.#cpu.memory;
    const found = this.#cpu.translate(address, 'execute');
    if (!found.ok) return new Uint8Array();
    const room = PAGE_SIZE - (found.maddr % PAGE_SIZE);
    const first = bytes.subarray(found.maddr, found.maddr + Math.min(size, room));
    if (size <= room) return first;
    return Uint8Array.of(...first, ...this.#bytes(address + BigInt(room), size - room));
  }
}

function isSame(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

function endsBlock({ mnemonic, rep, opcode }: DecodedInstruction): boolean {
  if (ENDERS.has(mnemonic)) return true;
  if (rep !== 'none' && /^(?:movs|stos|lods|cmps|scas|ins|outs)$/.test(mnemonic)) return true;
  // Writes to control, debug and segment registers.
  return /^(?:0F 22|0F 23|8E)\b/.test(opcode) || (mnemonic === 'pop' && /^(?:07|17|1F|0F A1|0F A9)$/.test(opcode));
}

const SS_NUMBER = 2;

function holdsInterrupts({ mnemonic, opcode, reg }: DecodedInstruction): boolean {
  return mnemonic === 'sti' || mnemonic === 'lss' || opcode === '17' || (opcode === '8E /r' && reg === SS_NUMBER);
}
