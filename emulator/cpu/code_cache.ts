/**
 * Decoded code: basic blocks of records in linear memory, found by where their bytes lie in RAM. A block is valid for one
 * linear address and one mode; it is dropped when its bytes change, by turning its records into jumps to themselves.
 */
import { BlockDecoder, type BlockDecoderOptions } from './block_decoder.ts';
import { type BlockMode, CodeBlock, framesOf, pageNumberOf, sideOf } from './code_block.ts';
import { JumpCache } from './jump_cache.ts';
import * as L from './layout.ts';
import { PAGE_SIZE } from './layout.ts';
import type { CodePages } from './mmu.ts';
import type { Changes, Place } from './parked.ts';
import type { Regions } from './regions.ts';
import type { Templates } from './templates.ts';

const NO_BLOCKS: readonly CodeBlock[] = [];

export class CodeCache implements CodePages {
  readonly jumps: JumpCache;
  readonly blocks: BlockDecoder;
  readonly #view: DataView;
  readonly #templates: Templates;
  readonly #protect: (frame: number) => void;
  /** By the maddr of their first byte. */
  #byStart = new Map<number, CodeBlock[]>();
  /** By frame, every block with bytes there. */
  #byFrame = new Map<number, CodeBlock[]>();
  /** By frame: 1 where there is decoded code. */
  readonly isCode: Uint8Array;
  /** Counts frames that began to hold code. */
  protections = 0;
  readonly changes: Changes = { count: 0 };
  /** The second tier, when there is one. */
  regions: Regions | undefined;

  constructor(options: BlockDecoderOptions & { readonly home: Place; readonly protect: (frame: number) => void }) {
    this.jumps = new JumpCache(options.view, options.home, this.changes);
    this.blocks = new BlockDecoder(options);
    this.#view = options.view;
    this.#templates = options.templates;
    this.#protect = options.protect;
    this.isCode = new Uint8Array(options.ram.length / PAGE_SIZE);
  }

  get frameCount(): number {
    return this.isCode.length;
  }

  isCodePage(frame: number): boolean {
    return this.isCode[frame] === 1;
  }

  /** Bytes of RAM change: drops the blocks that hold them. */
  invalidate(maddr: number, size: number): void {
    for (let frame = Math.floor(maddr / PAGE_SIZE); frame * PAGE_SIZE < maddr + size; frame++) {
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
    const list = this.#byStart.get(block.start)!;
    list.splice(list.indexOf(block), 1);
    if (list.length === 0) this.#byStart.delete(block.start);
    for (const frame of framesOf(block)) {
      const inFrame = this.#byFrame.get(frame)!;
      inFrame.splice(inFrame.indexOf(block), 1);
      if (inFrame.length > 0) continue;
      this.#byFrame.delete(frame);
      this.isCode[frame] = 0;
    }
  }

  /** Drops everything; nothing may hold a record pointer now. */
  clear(): void {
    this.regions?.clear();
    this.#byStart.clear();
    this.#byFrame.clear();
    this.isCode.fill(0);
    this.blocks.clear();
    this.jumps.forgetAll();
  }

  /**
   * The record for `rip`, whose byte lies at `maddr`; decodes when needed (block_decoder.ts has `secondPage`). `isTarget`: a
   * branch goes there.
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
      block = around && this.split(around.block, around.record, rip, maddr);
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
    return this.#byStart.get(block.start)?.includes(block) ?? false;
  }

  #startingAt(rip: bigint, maddr: number, modeKey: number): CodeBlock | undefined {
    const blocks = this.#byStart.get(maddr);
    if (blocks === undefined) return undefined;
    for (const block of blocks) if (block.modeKey === modeKey && block.rip === rip) return block;
    return undefined;
  }

  /** The block that has the instruction at `rip` behind its first, and the record. */
  #around(rip: bigint, maddr: number, modeKey: number): { block: CodeBlock; record: number } | undefined {
    const low = Number(BigInt.asIntN(32, rip));
    const ripPage = pageNumberOf(rip);
    for (const block of this.blocksIn(Math.floor(maddr / PAGE_SIZE))) {
      if (maddr <= block.start || maddr >= block.end || block.modeKey !== modeKey || block.ripPage !== ripPage) continue;
      const end = block.record + block.instructions * L.RECORD_SIZE;
      for (let record = block.record + L.RECORD_SIZE; record < end; record += L.RECORD_SIZE) {
        if (this.#view.getInt32(record + L.R_RIP, true) === low) return { block, record };
      }
    }
    return undefined;
  }

  /** Makes the rest of a block from `record` on one of its own, into which the first part falls through. */
  split(block: CodeBlock, record: number, rip: bigint, maddr: number): CodeBlock {
    const index = (record - block.record) / L.RECORD_SIZE;
    const tail = new CodeBlock(rip, block.modeKey, maddr, record);
    tail.end = block.end;
    tail.secondStart = block.secondStart;
    tail.secondSize = block.secondSize;
    tail.region = block.region;
    tail.count = block.count - index;
    tail.instructions = block.instructions - index;
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
    const found = [...this.#byStart.values()].flat().filter((block) => {
      const size = BigInt(block.end - block.start + block.secondSize);
      return block.rip <= last && block.rip + size > first;
    });
    for (const block of found) this.#drop(block);
  }

  /** All blocks that have bytes in a frame. */
  blocksIn(frame: number): readonly CodeBlock[] {
    return this.#byFrame.get(frame) ?? NO_BLOCKS;
  }

  /** The block at `rip`, decoded when needed; it must not cross its page. */
  blockAt(rip: bigint, maddr: number, mode: BlockMode): CodeBlock {
    const present = this.#startingAt(rip, maddr, mode.key);
    if (present) return present;
    const around = this.#around(rip, maddr, mode.key);
    return around ? this.split(around.block, around.record, rip, maddr) : this.#decode(rip, maddr, mode, () => 0);
  }

  /** The next jump to a block finds it; so does the branch that asked for it, if it may have a link. */
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
    if (!this.blocks.hasRoom) {
      this.clear();
      this.#view.setInt32(L.LINK_FROM, 0, true);
    }
    const block = this.blocks.decode(rip, maddr, mode, this.#byStart, secondPage);
    this.#register(block);
    return block;
  }

  #register(block: CodeBlock): void {
    const list = this.#byStart.get(block.start);
    if (list) list.push(block);
    else this.#byStart.set(block.start, [block]);
    for (const frame of framesOf(block)) {
      const inFrame = this.#byFrame.get(frame);
      if (inFrame) inFrame.push(block);
      else this.#byFrame.set(frame, [block]);
      if (this.isCode[frame] === 1) continue;
      this.isCode[frame] = 1;
      this.protections++;
      this.changes.count++;
      this.#protect(frame);
    }
  }
}
