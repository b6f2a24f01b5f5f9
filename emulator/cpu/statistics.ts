/**
 * What the engine has done, and, when its user passes a clock, how long. Generated code of both tiers runs mixed, so their
 * times are told apart by the rates that fit the slices best (least squares); the sum is what was measured.
 */

/** Counts since the CPU was made. */
export interface EngineStatistics {
  readonly instructions: bigint;
  /** Those that ran as translated code. */
  readonly translatedInstructions: bigint;
  /** Instructions decoded for the interpreter. */
  readonly decoded: number;
  /** Regions translated, and the instructions in them. */
  readonly translations: number;
  readonly instructionsInTranslations: number;
  readonly liveRegions: number;
  /** Size of the live regions' WebAssembly modules. */
  readonly codeBytes: number;
  /** Accesses that found no entry in the TLB, or needed more than one. */
  readonly tlbMisses: number;
  /** Milliseconds; only with `CpuOptions.clock`. */
  readonly times: EngineTimes | undefined;
}

export interface EngineTimes {
  /** In `run`, all told. */
  readonly run: number;
  readonly interpreted: number;
  readonly translated: number;
  /** Making translated code. */
  readonly translating: number;
}

export class EngineClock {
  readonly #now: () => number;
  #run = 0;
  #translating = 0;
  #generated = 0;
  /** Sums of products over slices: interpreted and translated instructions, and milliseconds. */
  #ii = 0;
  #it = 0;
  #tt = 0;
  #ims = 0;
  #tms = 0;
  #interpreted = 0;
  #translated = 0;

  /** `now`: milliseconds. */
  constructor(now: () => number) {
    this.#now = now;
  }

  run<T>(work: () => T): T {
    const start = this.#now();
    try {
      return work();
    } finally {
      this.#run += this.#now() - start;
    }
  }

  translating(work: () => void): void {
    const start = this.#now();
    work();
    this.#translating += this.#now() - start;
  }

  now(): number {
    return this.#now();
  }

  /** A slice of generated code that began at `start` is over. */
  slice(start: number, interpreted: number, translated: number): void {
    const ms = this.#now() - start;
    this.#generated += ms;
    this.#interpreted += interpreted;
    this.#translated += translated;
    this.#ii += interpreted * interpreted;
    this.#it += interpreted * translated;
    this.#tt += translated * translated;
    this.#ims += interpreted * ms;
    this.#tms += translated * ms;
  }

  get times(): EngineTimes {
    const translated = this.#generated * this.#translatedShare();
    return { run: this.#run, interpreted: this.#generated - translated, translated, translating: this.#translating };
  }

  #translatedShare(): number {
    if (this.#translated === 0 || this.#interpreted === 0) return this.#interpreted === 0 ? 1 : 0;
    const determinant = this.#ii * this.#tt - this.#it * this.#it;
    const perInterpreted = Math.max(0, (this.#ims * this.#tt - this.#tms * this.#it) / determinant);
    const perTranslated = Math.max(0, (this.#tms * this.#ii - this.#ims * this.#it) / determinant);
    const share = (perTranslated * this.#translated) / (perTranslated * this.#translated + perInterpreted * this.#interpreted);
    return Number.isFinite(share) ? share : this.#translated / (this.#translated + this.#interpreted);
  }
}
