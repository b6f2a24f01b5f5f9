/**
 * The second tier: finds pages where time is spent, translates their code to regions (page_code.ts finds them,
 * region_writer.ts writes them) and lets the interpreter's records enter them. A region dies with the first of its blocks;
 * the interpreter goes on without it.
 */
import { type BlockMode, type CodeBlock, sideOf } from './code_block.ts';
import type { CodeCache } from './code_cache.ts';
import type { Decoder } from './decoder.ts';
import * as L from './layout.ts';
import { PAGE_SIZE } from './layout.ts';
import { PageCode } from './page_code.ts';
import { regionImports } from './region_imports.ts';
import { inlineParts } from './region_inline.ts';
import type { RegionBlock } from './region_shape.ts';
import { RegionTemplate } from './region_template.ts';
import { type RegionPage, RegionWriter } from './region_writer.ts';
import type { Templates } from './templates.ts';
import { ModuleWriter, type Signature } from './wasm_writer.ts';

/** A translated region: its place in the function table, and the blocks whose records enter it. */
export interface Region {
  readonly functionIndex: number;
  readonly blocks: readonly CodeBlock[];
  readonly module: RegionModule;
  readonly instructions: number;
}

/** A page of code in one mode, and the interpreter's blocks there. */
interface CodePage extends RegionPage {
  /** RIP and maddr of its first byte. */
  readonly rip: bigint;
  readonly maddr: number;
  /** RIP's page number. */
  readonly number: number;
  readonly mode: BlockMode;
}

/** What is to become a region, and the interpreter's blocks that hold its code. */
interface Part {
  readonly members: readonly CodeBlock[];
  readonly blocks: readonly RegionBlock[];
}

interface EmittedPart extends Part {
  readonly functionIndex: number;
  readonly exportName: string;
}

/** By place in a module: the same names make V8 know what the exports look like. */
const exportNames: string[] = [];

/** A WebAssembly module, which lives as long as one of its regions does. */
interface RegionModule {
  /** Bytes. */
  readonly size: number;
  regions: number;
}

/** Bounds of what lives at once: V8 wants some 60 KiB for a module, and several bytes for each of WebAssembly's. */
const MAX_MODULES = 512;
const MAX_BYTES = 12 << 20;
/** Instructions of a function and of those that it calls, when they are made one region. */
const SMALL = 200;

/**
 * Samples in a page before it is translated, one more for so many instructions that are known there, and all that doubled
 * for every translation that the page has seen: what is spent on translating stays in proportion to what was interpreted.
 * Samples lose half their weight after so many others of a processor: where hundreds of pages share the time, none is hot.
 */
const HOT = 2,
  INSTRUCTIONS_PER_SAMPLE = 12,
  MAX_DOUBLINGS = 6,
  HALF_LIFE = 256;
/** Pages whose samples are counted. */
const MAX_PAGES = 1 << 16;
/** Instructions between samples while code is cold. */
export const SAMPLE_INSTRUCTIONS = 10_000;
const MAX_INSNS = 800;
/** By how many. */
const importsBy = Array.from({ length: regionImports.length + 1 }, (_, count) => regionImports.slice(0, count));
const NO_SIGNATURES: readonly Signature[] = [];

/** Of all CPUs with the same shapes. */
const regionTemplates = new WeakMap<Decoder, (RegionTemplate | undefined)[]>();

export class Regions {
  readonly #view: DataView;
  readonly #decoder: Decoder;
  readonly #code: CodeCache;
  readonly #templates: Templates;
  readonly #table: WebAssembly.Table;
  readonly #imports: Record<string, unknown>;
  readonly #memoryPages: number;
  /** By frame, as guests of one kernel share linear pages: samples since it was last translated, and the number of the last. */
  #samples = new Map<number, { count: number; last: number; translations: number }>();
  /** Counts samples, as those that each processor has had if several take turns. */
  #sampled = 0;
  /** Periods of HALF_LIFE samples; the processors that have come on in this one, and those of the last. */
  period = 0;
  processors = 0;
  #lastProcessors = 1;
  #inPeriod = 0;
  #regions = new Set<Region>();
  readonly #pageCode: PageCode;
  /** By offset in a page, which of its blocks lies there, or -1. */
  readonly #holder = new Int16Array(PAGE_SIZE);
  readonly #writer: RegionWriter;
  readonly #modules = new ModuleWriter();
  /** By the id of the shape: its template, once it was asked for. */
  readonly #regionTemplates: (RegionTemplate | undefined)[];
  /** Places in the function table. */
  readonly #freeIndices = Array.from({ length: L.MAX_REGIONS }, (_, i) => L.FIRST_REGION + L.MAX_REGIONS - 1 - i);
  translations = 0;
  /** Instructions in all translations, and bytes of those that live. */
  instructions = 0;
  codeBytes = 0;
  #liveModules = 0;
  /** Modules that are asked for in one are of no use in the next. */
  #epoch = 0;
  readonly #isAsync: boolean;

  constructor(options: {
    view: DataView;
    decoder: Decoder;
    code: CodeCache;
    templates: Templates;
    table: WebAssembly.Table;
    imports: Record<string, unknown>;
    memoryPages: number;
    isAsync: boolean;
  }) {
    this.#view = options.view;
    this.#decoder = options.decoder;
    this.#code = options.code;
    this.#templates = options.templates;
    this.#table = options.table;
    this.#imports = options.imports;
    this.#memoryPages = options.memoryPages;
    this.#isAsync = options.isAsync;
    this.#regionTemplates = regionTemplates.get(options.decoder) ?? [undefined];
    regionTemplates.set(options.decoder, this.#regionTemplates);
    const { buffer } = options.view;
    this.#pageCode = new PageCode(buffer as ArrayBuffer, (record) => this.#templateOf(record));
    const words = new Int32Array(buffer);
    const templateOf = (record: number): RegionTemplate | undefined => this.#templateOf(record);
    this.#writer = new RegionWriter(this.#pageCode, buffer as ArrayBuffer, (low, high) => {
      const record = this.#code.jumps.recordAt(low, high);
      return record === 0 ? undefined : inlineParts(words, record, templateOf);
    });
  }

  get count(): number {
    return this.#regions.size;
  }

  #advance(): number {
    if (++this.#inPeriod > HALF_LIFE) {
      this.#lastProcessors = Math.max(1, this.processors);
      this.#inPeriod = this.processors = 0;
      this.period++;
      this.#code.changes.count++;
    }
    this.#sampled += 1 / this.#lastProcessors;
    return this.#sampled;
  }

  /** Interpreted code at `rip` (whose byte lies at `maddr`) was found running; translates when that happens often. */
  sample(rip: bigint, maddr: number, mode: BlockMode): void {
    if (!isTranslatable(rip, maddr, mode)) return;
    const offset = maddr % PAGE_SIZE;
    const low = Number(BigInt.asIntN(32, rip)) & -PAGE_SIZE;
    const high = Number(BigInt.asIntN(32, rip >> 32n));
    const number = (high >>> 0) * 2 ** 20 + (low >>> 12);
    const page: CodePage = { rip: rip - BigInt(offset), number, maddr: maddr - offset, low, high, isUser: mode.isUser, mode };
    const frame = page.maddr / PAGE_SIZE;
    let instructions = 0;
    const unentered: CodeBlock[] = [];
    for (const block of this.#code.blocksIn(frame)) {
      if (!isOf(page, block)) continue;
      instructions += block.instructions;
      const { region } = block;
      if (region === undefined || maddr < block.start || maddr >= block.end || !this.#regions.has(region)) continue;
      if (this.#isEntered(block.record)) return;
      unentered.push(block);
    }
    for (const block of unentered) block.isEntry = true;
    const now = this.#advance();
    const seen = this.#samples.get(frame) ?? { count: 0, last: now, translations: 0 };
    if (this.#samples.size >= MAX_PAGES) this.#samples.clear();
    this.#samples.set(frame, seen);
    const wanted = (HOT + instructions / INSTRUCTIONS_PER_SAMPLE) * 2 ** Math.min(seen.translations, MAX_DOUBLINGS);
    seen.count = seen.count * 2 ** ((seen.last - now) / HALF_LIFE) + 1;
    seen.last = now;
    if (seen.count < wanted) return;
    seen.count = 0;
    seen.translations++;
    this.#translate(page, this.#known(page), offset);
  }

  /** Translates what the interpreter knows of a page; execution is at an offset in it. */
  #translate(page: CodePage, known: readonly CodeBlock[], at: number): void {
    const { rip, maddr } = page;
    const code = this.#pageCode;
    code.start(page.low, page.high, known);
    if (this.#code.blocks.hasBreakpoints) {
      for (let offset = 0; offset < PAGE_SIZE; offset++) {
        if (code.recordAt(offset) !== 0 && this.#code.blocks.isBreakpoint(rip + BigInt(offset))) code.exclude(offset);
      }
    }
    const roots: number[] = [];
    for (const block of known) if (block.isTarget) roots.push(block.start - maddr);
    const found = code.findBlocks(roots.length > 0 ? roots : [at], MAX_INSNS);
    if (found.length === 0) return;
    this.#startBlocks(page, known, found);
    const groupAt = new Int16Array(PAGE_SIZE).fill(-1);
    const parts = code.group(found, SMALL).map((blocks, i): { members: CodeBlock[]; blocks: RegionBlock[] } => {
      for (const { offset, next } of blocks) groupAt.fill(i, offset, next);
      return { members: [], blocks };
    });
    for (const block of this.#known(page)) parts[groupAt[block.start - maddr]!]?.members.push(block);
    this.#compile(
      parts.filter((part) => !this.#isThere(part)),
      page,
    );
  }

  /** Every block of a region starts one of the interpreter's. */
  #startBlocks({ rip, maddr, mode }: CodePage, known: readonly CodeBlock[], found: readonly RegionBlock[]): void {
    const blocks = [...known];
    const holder = this.#holder.fill(-1);
    for (let i = 0; i < blocks.length; i++) holder.fill(i, blocks[i]!.start - maddr, blocks[i]!.end - maddr);
    for (const block of found) {
      const { offset } = block;
      const record = this.#pageCode.recordAt(offset);
      const around = holder[offset]! < 0 ? undefined : blocks[holder[offset]!]!;
      let start = around;
      if (around?.record !== record) {
        const isInside = around !== undefined && around.record < record && record < around.record + around.instructions * L.RECORD_SIZE;
        const at = rip + BigInt(offset);
        start = isInside ? this.#code.split(around, record, at, maddr + offset) : this.#code.blockAt(at, maddr + offset, mode);
        if (isInside) {
          holder.fill(blocks.length, offset, start.end - maddr);
          blocks.push(start);
        }
      }
      block.record = start!.record;
      block.isEntry = start!.isEntry;
    }
  }

  /** Whether a live region is just this. */
  #isThere({ members, blocks }: Part): boolean {
    const region = members[0]?.region;
    if (!region || !this.#regions.has(region) || region.instructions !== instructionsOf(blocks)) return false;
    return members.every((block) => block.region === region) && blocks.every(({ record, isEntry }) => !isEntry || this.#isEntered(record));
  }

  /** Makes the parts functions of one module. Where modules must not be compiled at once, they come when they are ready. */
  #compile(parts: readonly Part[], page: RegionPage): void {
    if (parts.length === 0) return;
    this.#makeRoom(parts.length);
    let imports = 0;
    const emitted = parts.map((part, i): EmittedPart => {
      const functionIndex = this.#freeIndices.pop()!;
      exportNames[i] ??= `r${i}`;
      const exportName = exportNames[i];
      this.#writer.write(part.blocks, functionIndex, page);
      imports = Math.max(imports, this.#writer.imports);
      this.#modules.add(this.#writer.body, exportName);
      return { members: part.members, blocks: part.blocks, functionIndex, exportName };
    });
    const bytes = this.#modules.finish({
      imports: importsBy[imports]!,
      indirect: NO_SIGNATURES,
      memoryPages: this.#memoryPages,
    });
    if (!this.#isAsync) return this.#install(emitted, new WebAssembly.Module(bytes), bytes.length);
    const epoch = this.#epoch;
    void WebAssembly.compile(bytes).then((module) => this.#install(emitted, module, bytes.length, epoch === this.#epoch));
  }

  /** Lets the interpreter's records enter the functions of a module, but those of code that has changed meanwhile. */
  #install(emitted: readonly EmittedPart[], compiled: WebAssembly.Module, size: number, isWanted = true): void {
    const { exports } = new WebAssembly.Instance(compiled, { e: this.#imports });
    const module: RegionModule = { size, regions: 0 };
    for (const { members, blocks, functionIndex, exportName } of emitted) {
      if (!isWanted || members.some((block) => !this.#code.isAlive(block))) {
        this.#freeIndices.push(functionIndex);
        continue;
      }
      for (const block of members) if (block.region) this.drop(block.region);
      this.#table.set(functionIndex, exports[exportName]);
      const region: Region = { functionIndex, blocks: members, module, instructions: instructionsOf(blocks) };
      for (const block of members) block.region = region;
      for (const { record, entry } of blocks) if (entry >= 0) this.#enterAt(record, functionIndex, entry);
      this.#regions.add(region);
      module.regions++;
      this.translations++;
      this.instructions += region.instructions;
    }
    if (module.regions === 0) return;
    this.#liveModules++;
    this.codeBytes += size;
  }

  #isEntered(record: number): boolean {
    return this.#view.getUint16(record + L.R_HANDLER, true) === L.HANDLER_ENTER;
  }

  /** The interpreter's record becomes one that runs a region. */
  #enterAt(record: number, functionIndex: number, entry: number): void {
    const side = sideOf(record);
    this.#view.setUint16(side, this.#view.getUint16(record + L.R_HANDLER, true), true);
    this.#view.setUint16(side + 2, entry, true);
    this.#view.setInt32(side + 4, functionIndex, true);
    this.#view.setUint16(record + L.R_HANDLER, L.HANDLER_ENTER, true);
  }

  /** The oldest regions make room for new ones; those that are still hot come back. */
  #makeRoom(count: number): void {
    const isFull = (): boolean => this.#freeIndices.length < count || this.#liveModules >= MAX_MODULES || this.codeBytes >= MAX_BYTES;
    if (!isFull()) return;
    for (const region of this.#regions) {
      if (!isFull()) return;
      this.drop(region);
    }
  }

  /** The interpreter's blocks that lie in one page. */
  #known(page: CodePage): readonly CodeBlock[] {
    return this.#code.blocksIn(page.maddr / PAGE_SIZE).filter((block) => isOf(page, block));
  }

  /** Of the instruction that a record has been made from; undefined where only the interpreter has one. */
  #templateOf(record: number): RegionTemplate | undefined {
    const id = this.#code.blocks.shapeIdOf(record);
    return this.#regionTemplates[id] ?? this.#makeTemplate(id);
  }

  #makeTemplate(id: number): RegionTemplate | undefined {
    const shape = this.#decoder.shapes[id];
    if (!shape) return undefined;
    const template = new RegionTemplate(shape, this.#templates.ops(shape));
    while (this.#regionTemplates.length <= id) this.#regionTemplates.push(undefined);
    this.#regionTemplates[id] = template;
    return template;
  }

  /** The region's blocks are interpreted again. */
  drop(region: Region): void {
    if (!this.#regions.delete(region)) return;
    this.#view.setInt32(L.REGION_DROPS, this.#view.getInt32(L.REGION_DROPS, true) + 1, true);
    if (--region.module.regions === 0) {
      this.#liveModules--;
      this.codeBytes -= region.module.size;
    }
    for (const block of region.blocks) {
      if (block.region !== region) continue;
      block.region = undefined;
      if (this.#isEntered(block.record)) {
        this.#view.setUint16(block.record + L.R_HANDLER, this.#view.getUint16(sideOf(block.record), true), true);
      }
    }
    this.#table.set(region.functionIndex, null);
    this.#freeIndices.push(region.functionIndex);
  }

  clear(): void {
    for (const region of [...this.#regions]) this.drop(region);
    this.#samples.clear();
    this.#epoch++;
  }
}

/** 64-bit code, and 32-bit code of flat segments: RIP and its place agree about pages, and no limit ends a block. */
function isTranslatable(rip: bigint, maddr: number, mode: BlockMode): boolean {
  if (mode.code === 16 || (Number(BigInt.asUintN(32, rip)) - maddr) % PAGE_SIZE !== 0) return false;
  return mode.code === 64 || mode.codeLimit === 0xffff_ffff;
}

/** The interpreter has it for the page's RIP and mode, and it does not go on in another page. */
function isOf({ number, mode }: CodePage, block: CodeBlock): boolean {
  return block.ripPage === number && block.modeKey === mode.key && block.secondSize === 0;
}

function instructionsOf(blocks: readonly RegionBlock[]): number {
  return blocks.reduce((sum, { count }) => sum + count, 0);
}
