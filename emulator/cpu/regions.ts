/**
 * The second tier: finds pages where time is spent, translates their code to regions (region_emitter.ts) and lets the
 * interpreter's records enter them. A region dies with the first of its blocks; the interpreter goes on without it.
 */
import type { BlockMode, CodeBlock, CodeCache } from './code_cache.ts';
import type { Decoder, Insn } from './decoder.ts';
import type { Op } from './ir.ts';
import * as L from './layout.ts';
import { emitRegion, type RegionBlock, type RegionInsn, regionImports } from './region_emitter.ts';
import type { Templates } from './templates.ts';
import { buildModule } from './wasm_writer.ts';

/** A translated region: its place in the function table, and the blocks whose records enter it. */
export interface Region {
  readonly functionIndex: number;
  readonly blocks: readonly CodeBlock[];
  /** Of its WebAssembly module. */
  readonly size: number;
}

/** Samples in a page before it is translated, and the instructions between samples while code is cold. */
const HOT = 2;
export const SAMPLE_INSTRUCTIONS = 10_000;
const MAX_INSNS = 800;
const PAGE = 4096n;

export class Regions {
  readonly #view: DataView;
  readonly #ram: Uint8Array;
  readonly #decoder: Decoder;
  readonly #code: CodeCache;
  readonly #templates: Templates;
  readonly #table: WebAssembly.Table;
  readonly #imports: Record<string, unknown>;
  readonly #memoryPages: number;
  /** Samples by linear page, below HOT times the translations that the page has seen. */
  #samples = new Map<bigint, { count: number; wanted: number }>();
  #regions = new Set<Region>();
  /** Places in the function table. */
  readonly #freeIndices = Array.from({ length: L.MAX_REGIONS }, (_, i) => L.FIRST_REGION + L.MAX_REGIONS - 1 - i);
  translations = 0;
  /** Instructions in all translations, and bytes of those that live. */
  instructions = 0;
  codeBytes = 0;

  constructor(options: {
    view: DataView;
    ram: Uint8Array;
    decoder: Decoder;
    code: CodeCache;
    templates: Templates;
    table: WebAssembly.Table;
    imports: Record<string, unknown>;
    memoryPages: number;
  }) {
    this.#view = options.view;
    this.#ram = options.ram;
    this.#decoder = options.decoder;
    this.#code = options.code;
    this.#templates = options.templates;
    this.#table = options.table;
    this.#imports = options.imports;
    this.#memoryPages = options.memoryPages;
  }

  get count(): number {
    return this.#regions.size;
  }

  /** Interpreted code at `rip` (whose byte lies at `maddr`) was found running; translates when that happens often. */
  sample(rip: bigint, maddr: number, mode: BlockMode): void {
    if (mode.code !== 64) return;
    const holders = this.#code.blocksIn(Math.floor(maddr / 4096), mode.key).filter((block) => block.region && holds(block, rip));
    if (holders.length > 0) {
      const unentered = holders.filter((block) => this.#view.getUint16(block.record + L.R_HANDLER, true) !== L.HANDLER_ENTER);
      if (unentered.length < holders.length) return;
      for (const block of unentered) block.isEntry = true;
    }
    const page = rip / PAGE;
    const seen = this.#samples.get(page) ?? { count: 0, wanted: HOT };
    this.#samples.set(page, seen);
    if (++seen.count < seen.wanted) return;
    seen.count = 0;
    seen.wanted *= 2;
    if (this.#regions.size >= L.MAX_REGIONS) this.clear();
    this.#translate(rip, maddr, mode);
  }

  #translate(rip: bigint, maddr: number, mode: BlockMode): void {
    const frame = maddr - (maddr % 4096);
    const page = rip - (rip % PAGE);
    if (!this.#code.hasRoom(MAX_INSNS)) return;
    const targets = this.#code
      .blocksIn(frame / 4096, mode.key)
      .filter((block) => block.isTarget && block.rip / PAGE === page / PAGE && block.secondSize === 0);
    const found = this.#discover(targets.length > 0 ? targets.map((block) => block.rip) : [rip], page, frame, mode);
    const codeBlocks: CodeBlock[] = [];
    const blocks: RegionBlock[] = [];
    for (const { rip: start, insns, next } of found) {
      const codeBlock = this.#code.blockAt(start, frame + Number(start % PAGE), mode);
      // The interpreter's block may end earlier (its records are ours too).
      if (codeBlock.instructions < insns.length) continue;
      codeBlocks.push(codeBlock);
      blocks.push({
        rip: start,
        record: codeBlock.record,
        next,
        isEntry: codeBlock.isEntry,
        insns: insns.map(({ insn, ops }, i): RegionInsn => ({ insn, ops, record: codeBlock.record + i * L.RECORD_SIZE })),
      });
    }
    if (blocks.length === 0) return;
    for (const block of codeBlocks) if (block.region) this.drop(block.region);
    const functionIndex = this.#freeIndices.pop()!;
    const { body, entries } = emitRegion(blocks, functionIndex, mode.isUser);
    const bytes = buildModule({
      imports: regionImports,
      indirect: [],
      memoryPages: this.#memoryPages,
      functions: [{ body, export: 'region' }],
    });
    const { exports } = new WebAssembly.Instance(new WebAssembly.Module(bytes), { e: this.#imports });
    this.#table.set(functionIndex, exports.region);
    const region: Region = { functionIndex, blocks: codeBlocks, size: bytes.length };
    codeBlocks.forEach((block, i) => {
      block.region = region;
      const entry = entries[i];
      if (entry === undefined) return;
      const side = sideOf(block.record);
      this.#view.setUint16(side, this.#view.getUint16(block.record + L.R_HANDLER, true), true);
      this.#view.setUint16(side + 2, entry, true);
      this.#view.setInt32(side + 4, functionIndex, true);
      this.#view.setUint16(block.record + L.R_HANDLER, L.HANDLER_ENTER, true);
    });
    this.#regions.add(region);
    this.translations++;
    this.instructions += blocks.reduce((sum, { insns }) => sum + insns.length, 0);
    this.codeBytes += region.size;
  }

  /** Basic blocks reachable inside the page from executed ones, by address. */
  #discover(
    roots: readonly bigint[],
    page: bigint,
    frame: number,
    mode: BlockMode,
  ): { rip: bigint; insns: { insn: Insn; ops: readonly Op[] }[]; next: bigint }[] {
    const leaders = new Set<bigint>();
    const work = [...roots];
    const insnAt = new Map<bigint, { insn: Insn; ops: readonly Op[]; end: 'no' | 'after' | 'before' } | undefined>();
    const at = (rip: bigint): { insn: Insn; ops: readonly Op[]; end: 'no' | 'after' | 'before' } | undefined => {
      if (!insnAt.has(rip)) insnAt.set(rip, this.#decode(rip, frame + Number(rip - page), frame + 4096, mode));
      return insnAt.get(rip);
    };
    const lead = (rip: bigint): void => {
      if (rip - page >= 0n && rip - page < PAGE && !leaders.has(rip)) work.push(rip);
    };
    for (let rip = work.shift(); rip !== undefined && insnAt.size < MAX_INSNS; rip = work.shift()) {
      if (leaders.has(rip)) continue;
      leaders.add(rip);
      for (let here = rip; here - page < PAGE; ) {
        const found = at(here);
        if (!found || found.end === 'before') break;
        const next = here + BigInt(found.insn.length);
        if (found.end === 'after') {
          for (const target of directTargets(found.insn, found.ops)) lead(target);
          if (comesBack(found.insn, found.ops)) lead(next);
          break;
        }
        const following = at(next);
        if (following && isRepeated(following.ops)) {
          lead(next);
          break;
        }
        here = next;
        if (leaders.has(here)) break;
      }
    }
    const blocks: { rip: bigint; insns: { insn: Insn; ops: readonly Op[] }[]; next: bigint }[] = [];
    for (const rip of [...leaders].sort((a, b) => (a < b ? -1 : 1))) {
      const insns: { insn: Insn; ops: readonly Op[] }[] = [];
      let here = rip;
      for (let found = at(here); found && found.end !== 'before' && insns.length < 60; found = here - page < PAGE ? at(here) : undefined) {
        insns.push(found);
        here += BigInt(found.insn.length);
        if (found.end === 'after' || leaders.has(here)) break;
      }
      if (insns.length > 0) blocks.push({ rip, insns, next: here });
    }
    return blocks;
  }

  /** `end`: a block ends 'after' this instruction, or 'before' it as only the interpreter can run it. */
  #decode(
    rip: bigint,
    maddr: number,
    pageEnd: number,
    mode: BlockMode,
  ): { insn: Insn; ops: readonly Op[]; end: 'no' | 'after' | 'before' } | undefined {
    if (maddr >= pageEnd) return undefined;
    const insn = this.#decoder.decode(this.#ram.subarray(0, pageEnd), maddr, rip, mode);
    if (typeof insn === 'string' || mode.substitute(insn.row) || this.#code.isBreakpoint(rip)) return undefined;
    const ops = this.#templates.ops(insn.shape);
    const last = ops.at(-1);
    const { attributes } = insn.row;
    if (attributes.has('system') || attributes.has('end') || ops.some((op) => op.k === 'system')) return { insn, ops, end: 'before' };
    const isEnd = last?.k === 'jump' || (last?.k === 'fault' && !last.cond) || ops.some((op) => op.k === 'branch') || isRepeated(ops);
    return { insn, ops, end: isEnd ? 'after' : 'no' };
  }

  /** The region's blocks are interpreted again. */
  drop(region: Region): void {
    if (!this.#regions.delete(region)) return;
    this.codeBytes -= region.size;
    for (const block of region.blocks) {
      if (block.region !== region) continue;
      block.region = undefined;
      if (this.#view.getUint16(block.record + L.R_HANDLER, true) === L.HANDLER_ENTER) {
        this.#view.setUint16(block.record + L.R_HANDLER, this.#view.getUint16(sideOf(block.record), true), true);
      }
    }
    this.#table.set(region.functionIndex, null);
    this.#freeIndices.push(region.functionIndex);
  }

  clear(): void {
    for (const region of [...this.#regions]) this.drop(region);
    this.#samples.clear();
  }
}

function holds(block: CodeBlock, rip: bigint): boolean {
  return block.rip <= rip && rip < block.rip + BigInt(block.end - block.start);
}

function sideOf(record: number): number {
  return L.SIDE + ((record - L.RECORDS) >> 2);
}

/** A string instruction that runs itself again. */
function isRepeated(ops: readonly Op[]): boolean {
  return ops.some(
    (op) => (op.k === 'jump' && op.target === 'self') || (op.k === 'if' && (isRepeated(op.ifTrue) || isRepeated(op.ifFalse))),
  );
}

/** Whether execution can reach the following address: behind a conditional branch, a repetition or a call. */
function comesBack(insn: Insn, ops: readonly Op[]): boolean {
  return insn.row.mnemonic === 'call' || isRepeated(ops) || ops.some((op) => op.k === 'branch');
}

function directTargets(insn: Insn, ops: readonly Op[]): bigint[] {
  return ops.some((op) => op.k === 'branch' || (op.k === 'jump' && op.target === 'imm')) ? [insn.imm] : [];
}
