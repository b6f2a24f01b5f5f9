/** An instruction as a region's writer reads it from the interpreter's record: one object, moved from record to record. */
import * as L from './layout.ts';
import type { Shape } from './shape.ts';

/** What stands in a record where there is no register: reads as zero. */
const NO_REGISTER = 128;

export class RegionInsn {
  readonly #bytes: Uint8Array;
  readonly #words: Int32Array;
  shape!: Shape;
  record = 0;
  /** Offsets in the register file, or numbers of vector registers times 16. */
  reg = 0;
  rm = 0;
  /** Numbers, or -1. */
  baseNumber = -1;
  indexNumber = -1;
  scale = 0;
  disp = 0;
  immLow = 0;
  immHigh = 0;
  ripLow = 0;
  ripHigh = 0;
  length = 0;

  constructor(buffer: ArrayBuffer) {
    this.#bytes = new Uint8Array(buffer);
    this.#words = new Int32Array(buffer);
  }

  moveTo(record: number, shape: Shape): void {
    const bytes = this.#bytes;
    const words = this.#words;
    const word = record >> 2;
    const base = bytes[record + L.R_BASE]!;
    const index = bytes[record + L.R_INDEX]!;
    this.shape = shape;
    this.record = record;
    this.reg = bytes[record + L.R_REG]!;
    this.rm = bytes[record + L.R_RM]!;
    this.baseNumber = base === NO_REGISTER ? -1 : base >> 3;
    this.indexNumber = index === NO_REGISTER ? -1 : index >> 3;
    this.scale = shape.ea === 'reg' ? 0 : bytes[record + L.R_SCALE]!;
    this.disp = words[word + L.R_DISP / 4]!;
    this.immLow = words[word + L.R_IMM / 4]!;
    this.immHigh = words[word + L.R_IMM / 4 + 1]!;
    this.ripLow = words[word + L.R_RIP / 4]!;
    this.ripHigh = words[word + L.R_RIP / 4 + 1]!;
    this.length = (words[word + L.R_RIP_NEXT / 4]! - this.ripLow) | 0;
  }
}
