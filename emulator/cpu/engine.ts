/**
 * The machinery of generated code in one WebAssembly memory: the loop, its templates, the decoded code and, when asked
 * for, the second tier with its sampling of what runs. `Cpu` drives it and answers its calls.
 */
import type { BlockMode } from './code_block.ts';
import { CodeCache } from './code_cache.ts';
import { Decoder } from './decoder.ts';
import { type Exchange, makeExchange } from './exchange.ts';
import { hotTemplates } from './hot.ts';
import { type Loop, makeDispatcher, makeLoop } from './interpreter.ts';
import * as L from './layout.ts';
import { type MemoryCopy, makeMemoryCopy } from './memory_copy.ts';
import { Place } from './parked.ts';
import { Regions, SAMPLE_INSTRUCTIONS } from './regions.ts';
import { rowByName, rows } from './rows/index.ts';
import type { EngineClock } from './statistics.ts';
import { Templates } from './templates.ts';

/** What generated code asks of its CPU (emitter.ts has the signatures). */
export interface EngineCalls {
  miss(low: number, high: number, descriptor: number, record: number): number;
  split(): void;
  helper(helper: number, record: number): number;
  /** The host performs a SYSCALL of so many bytes, RIP is behind it: not 0 if the loop may go on. */
  syscall(length: number): number;
  /** A frame holds decoded code from now on. */
  protectFrame(frame: number): void;
}

/** CpuOptions has their meaning. */
export interface EngineTuning {
  readonly hotness: number | undefined;
  readonly clock: EngineClock | undefined;
  readonly asyncCompilation: boolean | undefined;
}

/** 'translate': hot code becomes WebAssembly, the rest is interpreted. 'interpret': all of it is. */
export const engineKinds = ['interpret', 'translate'] as const;
export type EngineKind = (typeof engineKinds)[number];

/** Drifts between samples are 0 to 63, in an order that repeats after all of them. */
const DRIFTS = 64;
const DRIFT_STEP = 23;
/** V8 changes a WebAssembly function's tier on entry only, so the loop returns now and then. */
const SLICE = 1_000_000;

/** Of all CPUs: decoding leaves nothing in it but shapes. */
let decoder: Decoder | undefined;

export class Engine {
  readonly buffer: ArrayBuffer;
  readonly view: DataView;
  readonly ram: Uint8Array;
  readonly decoder: Decoder;
  readonly code: CodeCache;
  readonly #loop: Loop;
  readonly exchange: Exchange;
  readonly copy: MemoryCopy;
  /** Of the processor that is on at first. */
  readonly home: Place;
  readonly regions: Regions;
  readonly #clock: EngineClock | undefined;
  #kind: EngineKind;
  readonly #hotness: number;
  /** Instructions between samples of what runs, few while that is interpreted. */
  #slice = SLICE;
  /**
   * So many more, another number each time: a guest that leaves the loop at the same places (system calls, exceptions) must
   * not be found there alone.
   */
  #drift = 0;
  /** Instructions that may run, or have run, since `run` began. */
  granted = 0;
  /** Retired since the last sample, and those of them that were interpreted. */
  #sinceSample = 0;
  #interpreted = 0;
  /** Instructions that ran as translated code, ever. */
  #translated = 0;

  constructor(memorySize: number, kind: EngineKind, calls: EngineCalls, { hotness, clock, asyncCompilation }: EngineTuning) {
    this.#hotness = hotness ?? SAMPLE_INSTRUCTIONS;
    this.#kind = kind;
    this.#clock = clock;
    decoder ??= new Decoder(rows);
    this.decoder = decoder;
    const memoryPages = Math.ceil(L.RAM / L.WASM_PAGE) + memorySize / L.WASM_PAGE;
    const memory = new WebAssembly.Memory({ initial: memoryPages, maximum: memoryPages });
    this.buffer = memory.buffer;
    this.view = new DataView(this.buffer);
    this.ram = new Uint8Array(this.buffer, L.RAM, memorySize);
    const table = new WebAssembly.Table({ element: 'anyfunc', initial: L.TABLE_SIZE });
    this.exchange = makeExchange(memory, memoryPages);
    this.copy = makeMemoryCopy(memory, memoryPages);
    this.home = new Place(new Int32Array(this.buffer), 0);
    const { dispatch } = makeDispatcher(memory, memoryPages, table);
    const { miss, split, helper, syscall, protectFrame } = calls;
    const imports = { memory, table, dispatch, miss, split, helper };
    const hot = hotTemplates();
    const templates = new Templates(table, memoryPages, imports, hot);
    this.#loop = makeLoop(memoryPages, { ...imports, syscall }, hot);
    const { view, ram } = this;
    this.code = new CodeCache({
      view,
      ram,
      decoder,
      templates,
      home: this.home,
      protect: protectFrame,
      invalidRow: rowByName('#UD'),
      tooLongRow: rowByName('#GP'),
    });
    this.regions = new Regions({
      view,
      decoder,
      code: this.code,
      templates,
      table,
      imports: { ...imports, saveFlags: this.#loop.saveFlags, regionSyscall: this.#loop.regionSyscall },
      memoryPages,
      isAsync: asyncCompilation ?? false,
    });
    this.code.regions = this.regions;
    this.#restartSampling();
  }

  get kind(): EngineKind {
    return this.#kind;
  }
  /** Between runs. What has been translated is forgotten. */
  set kind(kind: EngineKind) {
    if (kind === this.#kind) return;
    this.#kind = kind;
    this.regions.clear();
    this.#restartSampling();
  }

  /** Forgets all code, and when to look for hot code: what follows runs as in a new engine. */
  reset(): void {
    this.code.clear();
    this.#restartSampling();
  }

  #restartSampling(): void {
    this.#slice = this.#kind === 'translate' ? this.#hotness : SLICE;
    this.#sinceSample = 0;
    this.#interpreted = 0;
  }

  /** Most instructions to run at once. */
  get slice(): number {
    return this.#kind === 'translate' ? this.#slice + this.#drift - this.#sinceSample : SLICE;
  }

  /** Instructions that ran as translated code. */
  get translated(): bigint {
    return BigInt(this.#translated);
  }

  /** Runs from a record; what `Loop.run` returns. REMAINING holds what is left of `granted`. */
  run(record: number, count: number): number {
    const { view } = this;
    const start = this.#clock?.now();
    this.granted = count;
    const next = this.#loop.run(record, count);
    const retired = this.granted - view.getInt32(L.REMAINING, true);
    const interpreted = view.getInt32(L.INTERPRETED, true);
    if (start !== undefined) this.#clock!.slice(start, interpreted, retired - interpreted);
    this.#sinceSample += retired;
    this.#interpreted += interpreted;
    this.#translated += retired - interpreted;
    return next;
  }

  /** Whether it is time for `sample`. */
  get wantsSample(): boolean {
    return this.#sinceSample >= this.#slice + this.#drift && this.#kind === 'translate';
  }

  /** Interpreted code where execution is found again and again is hot: records what runs at RIP now. */
  sample(mode: BlockMode, locate: () => { rip: bigint; maddr: number } | undefined): void {
    const isCold = this.#interpreted * 8 > this.#sinceSample;
    if (this.#hotness > DRIFTS) this.#drift = (this.#drift + DRIFT_STEP) % DRIFTS;
    this.#slice = isCold ? this.#hotness : Math.min(this.#slice * 2, SLICE);
    this.#sinceSample = 0;
    this.#interpreted = 0;
    const at = isCold ? locate() : undefined;
    if (at === undefined) return;
    if (this.#clock) this.#clock.translating(() => this.regions.sample(at.rip, at.maddr, mode));
    else this.regions.sample(at.rip, at.maddr, mode);
  }
}
