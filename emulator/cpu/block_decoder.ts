/**
 * Decodes basic blocks: instructions from a RIP on, to the first that goes elsewhere, become records one behind another in
 * linear memory (layout.ts), with the templates that run them. Records are handed out until there are no more; then
 * code_cache.ts starts anew.
 */
import { type BlockMode, CodeBlock } from './code_block.ts';
import type { DecodeMode, Decoder, Insn } from './decoder.ts';
import { FIRST_RECORD, LOOKUP_RECORD } from './interpreter.ts';
import * as L from './layout.ts';
import { PAGE_SIZE } from './layout.ts';
import type { Row } from './row.ts';
import type { Templates } from './templates.ts';

/** Instructions of a block, bytes of an instruction. */
const MAX_BLOCK = 64,
  MAX_LENGTH = 15;
const noBreakpoint = (): boolean => false;

export interface BlockDecoderOptions {
  readonly view: DataView;
  readonly ram: Uint8Array;
  readonly decoder: Decoder;
  readonly templates: Templates;
  /** What runs instead of bytes that are no instruction, and of more than there may be. */
  readonly invalidRow: Row;
  readonly tooLongRow: Row;
}

export class BlockDecoder {
  readonly #view: DataView;
  readonly #ram: Uint8Array;
  readonly #decoder: Decoder;
  readonly #templates: Templates;
  readonly #invalidRow: Row;
  readonly #tooLongRow: Row;
  #next = FIRST_RECORD;
  /** Instructions that the system unit performs, by record. */
  readonly insns = new Map<number, Insn>();
  /** Ids of shapes (decoder.ts) by the number of the record; 0: another instruction than its bytes say runs there, or none. */
  readonly #shapeIds = new Int32Array((L.RECORDS_END - L.RECORDS) / L.RECORD_SIZE);
  /** Whether the host has a breakpoint at a RIP of the present mode. */
  isBreakpoint: (rip: bigint) => boolean = noBreakpoint;
  /** Instructions, ever. */
  decoded = 0;

  constructor({ view, ram, decoder, templates, invalidRow, tooLongRow }: BlockDecoderOptions) {
    this.#view = view;
    this.#ram = ram;
    this.#decoder = decoder;
    this.#templates = templates;
    this.#invalidRow = invalidRow;
    this.#tooLongRow = tooLongRow;
    view.setUint16(LOOKUP_RECORD + L.R_HANDLER, L.HANDLER_LOOKUP, true);
  }

  get hasBreakpoints(): boolean {
    return this.isBreakpoint !== noBreakpoint;
  }

  /** Whether any block fits. */
  get hasRoom(): boolean {
    return this.#next + (MAX_BLOCK + 1) * L.RECORD_SIZE <= L.RECORDS_END;
  }

  /** The id of the shape of the instruction that a record has been made from, or 0. */
  shapeIdOf(record: number): number {
    return this.#shapeIds[numberOf(record)]!;
  }

  /** All records are free again. */
  clear(): void {
    this.insns.clear();
    this.#next = FIRST_RECORD;
  }

  /**
   * The block at `rip`, whose byte lies at `maddr`. `secondPage` gives the maddr of the page after rip's, or throws its fetch
   * fault; it is only asked when an instruction crosses into it. `known`: blocks by the maddr of their first byte; the new
   * one goes on in them.
   */
  decode(
    rip: bigint,
    maddr: number,
    mode: BlockMode,
    known: ReadonlyMap<number, readonly CodeBlock[]>,
    secondPage: () => number,
  ): CodeBlock {
    const pageEnd = maddr - (maddr % PAGE_SIZE) + PAGE_SIZE;
    const block = new CodeBlock(rip, mode.key, maddr, this.#next);
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
    const ripNow = (): bigint => BigInt.asUintN(64, rip + BigInt(decoded));
    while (block.count < MAX_BLOCK && at < end) {
      const low = (startLow + decoded) | 0;
      const high = startLow + decoded >= 2 ** 32 ? (startHigh + 1) | 0 : startHigh;
      if (hasBreakpoints && this.isBreakpoint(ripNow())) {
        if (block.count > 0) break;
        this.#appendPseudo(block, L.HANDLER_BREAKPOINT, low, high);
      }
      if (block.count > 0 && known.get(at)?.some((other) => other.modeKey === mode.key && other.rip === ripNow())) break;
      let insn = this.#decoder.decodeAt(page, at, low, high, mode);
      if (insn === 'needsMore') {
        if (block.count > 0) break;
        if (end === pageEnd) {
          const second = secondPage();
          const bytes = new Uint8Array(MAX_LENGTH);
          const firstSize = pageEnd - at;
          bytes.set(this.#ram.subarray(at, pageEnd));
          if (second + PAGE_SIZE <= this.#ram.length) bytes.set(this.#ram.subarray(second, second + MAX_LENGTH - firstSize), firstSize);
          insn = this.#decoder.decodeAt(bytes.subarray(0, Math.min(MAX_LENGTH, room)), 0, low, high, mode);
          const length = typeof insn === 'string' ? MAX_LENGTH : insn.length;
          if (length > firstSize) {
            block.secondStart = second;
            block.secondSize = length - firstSize;
          }
        }
      }
      const length = typeof insn === 'string' ? MAX_LENGTH : insn.length;
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
    return block;
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
      this.#shapeIds[numberOf(record)] = 0;
      const row = insn === 'invalid' ? this.#invalidRow : this.#tooLongRow;
      view.setUint16(record + L.R_HANDLER, this.#templates.index(faultShape(row, mode)), true);
      return true;
    }
    const substitute = mode.substitute(insn.row);
    const shape = substitute ? faultShape(substitute, mode) : insn.shape;
    this.#shapeIds[numberOf(record)] = shape.id;
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
    this.#shapeIds[numberOf(record)] = 0;
    view.setUint16(record + L.R_HANDLER, handler, true);
    view.setUint8(record + L.R_FLAGS, 0);
    view.setInt32(record + L.R_LINK, 0, true);
    view.setInt32(record + L.R_RIP, ripLow, true);
    view.setInt32(record + L.R_RIP + 4, ripHigh, true);
  }
}

const numberOf = (record: number): number => (record - L.RECORDS) / L.RECORD_SIZE;

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
    id: 0,
  };
}
