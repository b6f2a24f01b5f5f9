/**
 * Decoded code: basic blocks of records in linear memory, found by where their bytes lie in RAM. A block is valid for one
 * linear address and one mode; it is dropped when its bytes change, by turning its records into jumps to themselves.
 */
import type { DecodeMode, Decoder, Insn } from './decoder.ts';
import { FIRST_RECORD, LOOKUP_RECORD } from './interpreter.ts';
import { JumpCache } from './jump_cache.ts';
import * as L from './layout.ts';
import type { CodePages } from './mmu.ts';
import type { Region, Regions } from './regions.ts';
import type { Row } from './row.ts';
import type { Templates } from './templates.ts';

/** Everything that decoding a block depends on; `key` is distinct for distinct modes. */
export interface BlockMode extends DecodeMode {
  readonly key: number;
  /** Highest offset of an instruction byte; -1 in 64-bit code, which has none. */
  readonly codeLimit: number;
  /** CPL 3. */
  readonly isUser: boolean;
  /** Pages of RIP are not pages of linear addresses (CS's base), so nobody may link within one. */
  readonly isUnaligned: boolean;
  /** The row to run instead of this one (privilege, absent FPU), or undefined. */
  substitute(row: Row): Row | undefined;
}

/** A basic block as the interpreter has it. */
export interface CodeBlock {
  readonly rip: bigint;
  /** RIP's page number. */
  readonly ripPage: number;
  readonly modeKey: number;
  /** Bytes [start, end) of RAM on the first page, and the count on the second (0: none) at its maddr. */
  readonly start: number;
  end: number;
  secondStart: number;
  secondSize: number;
  readonly record: number;
  /** Records; those of instructions, and the GOTO at the end where it does not fall through into another block. */
  count: number;
  instructions: number;
  /** A branch was seen to go here; otherwise execution was only resumed here, in the middle of something. */
  isTarget: boolean;
  /** Execution was often found here although a region holds the block: it should be one of its entries. */
  isEntry: boolean;
  /** The region that its records enter. */
  region?: Region | undefined;
}

const MAX_BLOCK = 64;
const noBreakpoint = (): boolean => false;

export class CodeCache implements CodePages {
  readonly jumps: JumpCache;
  readonly #view: DataView;
  readonly #ram: Uint8Array;
  readonly #decoder: Decoder;
  readonly #templates: Templates;
  readonly #protect: (frame: number) => void;
  readonly #invalidRow: Row;
  readonly #tooLongRow: Row;
  /** By the maddr of their first byte. */
  #blocks = new Map<number, CodeBlock[]>();
  /** By frame, every block with bytes there. */
  #byFrame = new Map<number, CodeBlock[]>();
  readonly #isCode: Uint8Array;
  /** Instructions that the system unit performs, by record. */
  readonly insns = new Map<number, Insn>();
  #next = FIRST_RECORD;
  /** The second tier, when there is one. */
  regions: Regions | undefined;
  /** Whether the host has a breakpoint at a RIP of the present mode. */
  isBreakpoint: (rip: bigint) => boolean = noBreakpoint;
  decoded = 0;

  get hasBreakpoints(): boolean {
    return this.isBreakpoint !== noBreakpoint;
  }

  constructor(options: {
    view: DataView;
    ram: Uint8Array;
    decoder: Decoder;
    templates: Templates;
    protect: (frame: number) => void;
    invalidRow: Row;
    tooLongRow: Row;
  }) {
    this.#view = options.view;
    this.jumps = new JumpCache(options.view);
    this.#ram = options.ram;
    this.#decoder = options.decoder;
    this.#templates = options.templates;
    this.#protect = options.protect;
    this.#invalidRow = options.invalidRow;
    this.#tooLongRow = options.tooLongRow;
    this.#isCode = new Uint8Array(options.ram.length / 4096);
    this.#view.setUint16(LOOKUP_RECORD + L.R_HANDLER, L.HANDLER_LOOKUP, true);
  }

  isCodePage(frame: number): boolean {
    return this.#isCode[frame] === 1;
  }

  /** Bytes of RAM change: drops the blocks that hold them. */
  invalidate(maddr: number, size: number): void {
    for (let frame = Math.floor(maddr / 4096); frame * 4096 < maddr + size; frame++) {
      const blocks = this.#byFrame.get(frame);
      if (!blocks) continue;
      for (const block of [...blocks]) {
        const hit =
          (block.start < maddr + size && maddr < block.end) ||
          (block.secondSize > 0 && block.secondStart < maddr + size && maddr < block.secondStart + block.secondSize);
        if (hit) this.#drop(block);
      }
    }
  }

  #drop(block: CodeBlock): void {
    const view = this.#view;
    if (block.region) this.regions?.drop(block.region);
    for (let i = 0, record = block.record; i < block.count; i++, record += L.RECORD_SIZE) {
      view.setUint16(record + L.R_HANDLER, L.HANDLER_GOTO, true);
      view.setInt32(record + L.R_LINK, 0, true);
    }
    this.jumps.remove(block.rip, block.record);
    const list = this.#blocks.get(block.start)!;
    list.splice(list.indexOf(block), 1);
    if (list.length === 0) this.#blocks.delete(block.start);
    for (const frame of framesOf(block)) {
      const inFrame = this.#byFrame.get(frame)!;
      inFrame.splice(inFrame.indexOf(block), 1);
      if (inFrame.length > 0) continue;
      this.#byFrame.delete(frame);
      this.#isCode[frame] = 0;
    }
  }

  /** Drops everything; nothing may hold a record pointer now. */
  clear(): void {
    this.regions?.clear();
    this.#blocks.clear();
    this.#byFrame.clear();
    this.#isCode.fill(0);
    this.insns.clear();
    this.#next = FIRST_RECORD;
    this.jumps.forget();
  }

  /**
   * The record for `rip`, whose byte lies at `maddr`; decodes when needed. `secondPage` gives the maddr of the page after
   * rip's, or throws its fetch fault; it is only asked when an instruction crosses into it.
   */
  lookup(rip: bigint, maddr: number, mode: BlockMode, isTarget: boolean, secondPage: () => number): number {
    let block = this.#startingAt(rip, maddr, mode.key);
    // A block that crosses is checked against the mapping of now.
    if (block && block.secondSize > 0 && secondPage() !== block.secondStart) {
      this.#drop(block);
      block = undefined;
    }
    if (!block && !mode.isUnaligned) {
      const around = this.#around(rip, maddr, mode.key);
      if (around && !isTarget) {
        this.#view.setInt32(L.LINK_FROM, 0, true);
        return around.record;
      }
      block = around && this.#split(around.block, around.record, rip, maddr);
    }
    block ??= this.#decode(rip, maddr, mode, secondPage);
    if (isTarget) block.isTarget = true;
    this.#remember(block, mode.isUnaligned);
    return block.record;
  }

  /** Where a record's own handler is, whether or not a region stands in for it. */
  #handlerPlace(record: number): number {
    return this.#view.getUint16(record + L.R_HANDLER, true) === L.HANDLER_ENTER ? sideOf(record) : record + L.R_HANDLER;
  }

  /** Whether a block is still what its bytes say. */
  isAlive(block: CodeBlock): boolean {
    return this.#blocks.get(block.start)?.includes(block) ?? false;
  }

  #startingAt(rip: bigint, maddr: number, modeKey: number): CodeBlock | undefined {
    return this.#blocks.get(maddr)?.find((block) => block.modeKey === modeKey && block.rip === rip);
  }

  /** The block that has the instruction at `rip` behind its first, and the record. */
  #around(rip: bigint, maddr: number, modeKey: number): { block: CodeBlock; record: number } | undefined {
    const low = Number(BigInt.asIntN(32, rip));
    for (const block of this.#byFrame.get(Math.floor(maddr / 4096)) ?? []) {
      if (maddr <= block.start || maddr >= block.end || block.modeKey !== modeKey) continue;
      if (rip - block.rip !== BigInt(maddr - block.start)) continue;
      const end = block.record + block.instructions * L.RECORD_SIZE;
      for (let record = block.record + L.RECORD_SIZE; record < end; record += L.RECORD_SIZE) {
        if (this.#view.getInt32(record + L.R_RIP, true) === low) return { block, record };
      }
    }
    return undefined;
  }

  /** Makes the rest of a block from `record` on one of its own, into which the first part falls through. */
  #split(block: CodeBlock, record: number, rip: bigint, maddr: number): CodeBlock {
    const index = (record - block.record) / L.RECORD_SIZE;
    const tail: CodeBlock = {
      ...block,
      rip,
      start: maddr,
      record,
      count: block.count - index,
      instructions: block.instructions - index,
      isTarget: false,
      isEntry: false,
    };
    // What runs as one with the first record of the tail would outlive it.
    const last = this.#handlerPlace(record - L.RECORD_SIZE);
    this.#view.setUint16(last, this.#templates.first(this.#view.getUint16(last, true)), true);
    block.end = maddr;
    block.count = block.instructions = index;
    this.#register(tail);
    return tail;
  }

  /** Blocks that hold code in a range of RIP are decoded anew: breakpoints there came or went. */
  forgetBetween(first: bigint, last: bigint): void {
    const found = [...this.#blocks.values()].flat().filter((block) => {
      const size = BigInt(block.end - block.start + block.secondSize);
      return block.rip <= last && block.rip + size > first;
    });
    for (const block of found) this.#drop(block);
  }

  /** The blocks of a mode that start in a frame. */
  blocksIn(frame: number, modeKey: number): readonly CodeBlock[] {
    return (this.#byFrame.get(frame) ?? []).filter((block) => block.modeKey === modeKey && Math.floor(block.start / 4096) === frame);
  }

  /** By offset in their page, the record of the instruction of these blocks that starts there, or 0. */
  recordsOf(blocks: readonly CodeBlock[]): Int32Array {
    const records = new Int32Array(4096);
    for (const { record, instructions } of blocks) {
      for (let i = 0, at = record; i < instructions; i++, at += L.RECORD_SIZE)
        records[this.#view.getUint16(at + L.R_RIP, true) & 0xfff] = at;
    }
    return records;
  }

  /** The block at `rip`, decoded when needed; it must not cross its page. */
  blockAt(rip: bigint, maddr: number, mode: BlockMode): CodeBlock {
    const present = this.#startingAt(rip, maddr, mode.key);
    if (present) return present;
    const around = this.#around(rip, maddr, mode.key);
    return around ? this.#split(around.block, around.record, rip, maddr) : this.#decode(rip, maddr, mode, () => 0);
  }

  #remember(block: CodeBlock, isUnaligned: boolean): void {
    const view = this.#view;
    this.jumps.put(block.rip, block.record);
    const from = view.getInt32(L.LINK_FROM, true);
    view.setInt32(L.LINK_FROM, 0, true);
    if (from === 0 || block.secondSize > 0 || isUnaligned) return;
    // RIP may have changed since the branch asked: by the host between runs, or by an exception in between.
    const target = from + (view.getUint16(from + L.R_HANDLER, true) === L.HANDLER_GOTO ? L.R_RIP : L.R_IMM);
    if (view.getBigUint64(target, true) !== block.rip) return;
    if (view.getBigUint64(from + L.R_RIP, true) >> 12n === block.rip >> 12n) view.setInt32(from + L.R_LINK, block.record, true);
  }

  #decode(rip: bigint, maddr: number, mode: BlockMode, secondPage: () => number): CodeBlock {
    if (this.#next + (MAX_BLOCK + 1) * L.RECORD_SIZE > L.RECORDS_END) {
      this.clear();
      this.#view.setInt32(L.LINK_FROM, 0, true);
    }
    const pageEnd = maddr - (maddr % 4096) + 4096;
    const block: CodeBlock = {
      rip,
      ripPage: Number(rip >> 12n),
      modeKey: mode.key,
      start: maddr,
      end: maddr,
      secondStart: -1,
      secondSize: 0,
      record: this.#next,
      count: 0,
      instructions: 0,
      isTarget: false,
      isEntry: false,
    };
    // How many bytes from `rip` on lie within the segment: what needs more of them is a #GP.
    const room = mode.codeLimit < 0 ? Number.MAX_SAFE_INTEGER : mode.codeLimit + 1 - Number(rip);
    const end = Math.min(pageEnd, maddr + room);
    const page = this.#ram.subarray(0, end);
    let at = maddr;
    // Bytes decoded. RIPs are made from it anew, in halves: bigints are slow, and V8 11.3 dies of one that a hot loop carries.
    let decoded = 0;
    const startLow = Number(BigInt.asUintN(32, rip));
    const startHigh = Number(BigInt.asIntN(32, rip >> 32n));
    const { hasBreakpoints } = this;
    while (block.count < MAX_BLOCK && at < end) {
      const low = (startLow + decoded) | 0;
      const high = startLow + decoded >= 2 ** 32 ? (startHigh + 1) | 0 : startHigh;
      if (hasBreakpoints && this.isBreakpoint(BigInt.asUintN(64, rip + BigInt(decoded)))) {
        if (block.count > 0) break;
        this.#appendPseudo(block, L.HANDLER_BREAKPOINT, low, high);
      }
      if (block.count > 0 && this.#blocks.has(at) && this.#startingAt(BigInt.asUintN(64, rip + BigInt(decoded)), at, mode.key)) break;
      let insn = this.#decoder.decodeAt(page, at, low, high, mode);
      if (insn === 'needsMore') {
        if (block.count > 0) break;
        if (end === pageEnd) {
          const second = secondPage();
          const bytes = new Uint8Array(15);
          const firstSize = pageEnd - at;
          bytes.set(this.#ram.subarray(at, pageEnd));
          if (second + 4096 <= this.#ram.length) bytes.set(this.#ram.subarray(second, second + 15 - firstSize), firstSize);
          insn = this.#decoder.decodeAt(bytes.subarray(0, Math.min(15, room)), 0, low, high, mode);
          const length = typeof insn === 'string' ? 15 : insn.length;
          if (length > firstSize) {
            block.secondStart = second;
            block.secondSize = length - firstSize;
          }
        }
      }
      const length = typeof insn === 'string' ? 15 : insn.length;
      const ends = this.#append(block, insn, low, high, mode);
      at = Math.min(at + length, pageEnd);
      block.end = at;
      decoded += length;
      if (ends || block.secondSize > 0) break;
    }
    block.instructions = block.count;
    const next = BigInt.asUintN(mode.code === 64 ? 64 : 32, rip + BigInt(decoded));
    this.#appendPseudo(block, L.HANDLER_GOTO, Number(BigInt.asIntN(32, next)), Number(BigInt.asIntN(32, next >> 32n)));
    if (block.secondSize > 0 || mode.isUnaligned) this.#view.setUint8(block.record + L.R_FLAGS, L.RECORD_NO_LINK);
    this.#templates.compile();
    this.#register(block);
    return block;
  }

  #register(block: CodeBlock): void {
    const list = this.#blocks.get(block.start);
    if (list) list.push(block);
    else this.#blocks.set(block.start, [block]);
    for (const frame of framesOf(block)) {
      const inFrame = this.#byFrame.get(frame);
      if (inFrame) inFrame.push(block);
      else this.#byFrame.set(frame, [block]);
      if (this.#isCode[frame] === 1) continue;
      this.#isCode[frame] = 1;
      this.#protect(frame);
    }
  }

  /** Appends one instruction; true when it ends the block. */
  #append(block: CodeBlock, insn: Insn | 'invalid' | 'tooLong' | 'needsMore', ripLow: number, ripHigh: number, mode: BlockMode): boolean {
    const view = this.#view;
    const record = this.#next;
    this.#next += L.RECORD_SIZE;
    block.count++;
    this.decoded++;
    view.setInt32(record + L.R_RIP, ripLow, true);
    view.setInt32(record + L.R_RIP + 4, ripHigh, true);
    view.setInt32(record + L.R_LINK, 0, true);
    view.setUint8(record + L.R_FLAGS, 0);
    if (typeof insn === 'string') {
      const row = insn === 'invalid' ? this.#invalidRow : this.#tooLongRow;
      view.setUint16(record + L.R_HANDLER, this.#templates.index(faultShape(row, mode)), true);
      return true;
    }
    const substitute = mode.substitute(insn.row);
    const shape = substitute ? faultShape(substitute, mode) : insn.shape;
    const template = this.#templates.index(shape);
    view.setUint16(record + L.R_HANDLER, template, true);
    if (block.count > 1) {
      const before = record - L.RECORD_SIZE + L.R_HANDLER;
      const pair = this.#templates.pair(view.getUint16(before, true), template);
      if (pair !== undefined) view.setUint16(before, pair, true);
    }
    view.setUint8(record + L.R_SEGMENT, insn.segment);
    view.setUint8(record + L.R_REG, insn.reg);
    view.setUint8(record + L.R_RM, insn.rm);
    view.setUint8(record + L.R_BASE, insn.base);
    view.setUint8(record + L.R_INDEX, insn.index);
    view.setInt32(record + L.R_DISP, this.#templates.mask(template) ?? insn.disp, true);
    view.setInt32(record + L.R_IMM, insn.immLow, true);
    view.setInt32(record + L.R_IMM + 4, insn.immHigh, true);
    if (insn.shape.ea !== 'reg') view.setUint8(record + L.R_SCALE, insn.scale);
    const attributes = insn.row.attributes;
    if (attributes.has('system') || attributes.has('x87')) this.insns.set(record, insn);
    return this.#templates.ends(template) || attributes.has('end');
  }

  #appendPseudo(block: CodeBlock, handler: number, ripLow: number, ripHigh: number): void {
    const view = this.#view;
    const record = this.#next;
    this.#next += L.RECORD_SIZE;
    block.count++;
    view.setUint16(record + L.R_HANDLER, handler, true);
    view.setUint8(record + L.R_FLAGS, 0);
    view.setInt32(record + L.R_LINK, 0, true);
    view.setInt32(record + L.R_RIP, ripLow, true);
    view.setInt32(record + L.R_RIP + 4, ripHigh, true);
  }
}

function faultShape(row: Row, mode: DecodeMode): Insn['shape'] {
  return {
    row,
    size: 4,
    ea: 'reg',
    addressSize: 8,
    segment: -1,
    mode: mode.code,
    stackSize: mode.stackSize,
    alignCheck: false,
    cc: 0,
    rep: 'none',
  };
}

/** Where SIDE has what belongs to a record. */
export function sideOf(record: number): number {
  return L.SIDE + ((record - L.RECORDS) >> 2);
}

function framesOf(block: CodeBlock): number[] {
  const first = Math.floor(block.start / 4096);
  if (block.secondSize === 0) return [first];
  const second = Math.floor(block.secondStart / 4096);
  return second === first ? [first] : [first, second];
}
