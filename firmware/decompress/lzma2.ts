/**
 * LZMA2: chunks of LZMA or of plain bytes (the xz format's one compression). LZMA is literals, matches and repeats of one of
 * the last four distances, each decision a bit of a range coder with an adaptive probability (7-Zip's LZMA specification).
 */

/** What a probability of 11 bits begins with. */
const EVEN = 1024;
const PROBABILITY_BITS = 11;
const ADAPTATION = 5;
const RANGE_BITS = 24;
const STATES = 12;
const POSITION_STATES = 16;
const LENGTH_LOW = 8;
/** Choices between low, middle and high lengths, trees for these. */
const LENGTH_SIZE = 2 + 2 * POSITION_STATES * LENGTH_LOW + 256;
const LITERAL_SIZE = 0x300;
const MATCH_MIN = 2;
/** Lengths that choose among trees of distance slots. */
const LENGTH_TO_SLOT = 4;
const ALIGN_BITS = 4;

// Where each kind of probability begins.
const IS_MATCH = 0;
const IS_REPEAT = IS_MATCH + STATES * POSITION_STATES;
const IS_NOT_LAST = IS_REPEAT + STATES;
const IS_NOT_SECOND = IS_NOT_LAST + STATES;
const IS_NOT_THIRD = IS_NOT_SECOND + STATES;
const IS_LONG_LAST = IS_NOT_THIRD + STATES;
const SLOT = IS_LONG_LAST + STATES * POSITION_STATES;
const SPECIAL = SLOT + LENGTH_TO_SLOT * 64;
const ALIGN = SPECIAL + 128;
const MATCH_LENGTH = ALIGN + (1 << ALIGN_BITS);
const REPEAT_LENGTH = MATCH_LENGTH + LENGTH_SIZE;
const LITERAL = REPEAT_LENGTH + LENGTH_SIZE;

/** Below it the last symbol was a literal. */
const AFTER_LITERALS = 7;

export class CorruptData extends Error {}

const corrupt = (): never => {
  throw new CorruptData('the compressed data is damaged');
};

interface Chunk {
  /** Of its bytes. */
  readonly start: number;
  readonly end: number;
  readonly size: number;
  readonly control: number;
  /** lc, lp and pb, if it says them anew; else -1. */
  readonly properties: number;
}

const isPlain = ({ control }: Chunk): boolean => control < 0x80;

/** The chunks from `at` on, and where the byte behind their end is. */
function findChunks(bytes: Uint8Array, at: number): { chunks: Chunk[]; end: number } {
  const chunks: Chunk[] = [];
  const word = (i: number): number => bytes[i]! * 256 + bytes[i + 1]!;
  for (let i = at; i < bytes.length; ) {
    const control = bytes[i]!;
    if (control === 0) return { chunks, end: i + 1 };
    if (control > 2 && control < 0x80) corrupt();
    const size = (control < 0x80 ? 0 : (control & 0x1f) << 16) + word(i + 1) + 1;
    const hasProperties = control >= 0xc0;
    const start = i + (control < 0x80 ? 3 : hasProperties ? 6 : 5);
    const end = start + (control < 0x80 ? size : word(i + 3) + 1);
    chunks.push({ start, end, size, control, properties: hasProperties ? bytes[i + 5]! : -1 });
    i = end;
  }
  return corrupt();
}

/** What the chunks from `at` on hold, and where they end. */
export function decodeLzma2(bytes: Uint8Array, at: number): { data: Uint8Array; end: number } {
  const { chunks, end } = findChunks(bytes, at);
  const decoder = new Decoder(
    bytes,
    chunks.reduce((total, { size }) => total + size, 0),
  );
  for (const chunk of chunks) decoder.decode(chunk);
  return { data: decoder.data, end };
}

class Decoder {
  readonly data: Uint8Array;
  readonly #bytes: Uint8Array;
  #in = 0;
  #at = 0;
  /** Where the dictionary begins. */
  #start = 0;
  /** Range and code, each 32 bits. */
  readonly #coder = new Uint32Array(2);
  #probabilities = new Uint16Array(LITERAL);
  #state = 0;
  readonly #distances = new Int32Array(4);
  #literalContextBits = 0;
  #literalPositionMask = 0;
  #positionMask = 0;

  constructor(bytes: Uint8Array, size: number) {
    this.#bytes = bytes;
    this.data = new Uint8Array(size);
  }

  decode(chunk: Chunk): void {
    const { control, start, size, properties } = chunk;
    const { data } = this;
    if (chunk.end > this.#bytes.length) corrupt();
    if (control === 1 || control >= 0xe0) this.#start = this.#at;
    if (isPlain(chunk)) {
      data.set(this.#bytes.subarray(start, chunk.end), this.#at);
      this.#at += size;
      return;
    }
    if (properties >= 0) this.#setProperties(properties);
    if (control >= 0xa0) this.#reset();
    const coder = this.#coder;
    coder[0] = 0xffff_ffff;
    coder[1] = 0;
    this.#in = start + 1;
    for (let i = 0; i < 4; i++) coder[1] = (coder[1]! << 8) | this.#bytes[this.#in++]!;
    const end = this.#at + size;
    while (this.#at < end) this.#symbol(end);
  }

  #setProperties(properties: number): void {
    if (properties >= 225) corrupt();
    const literalPositionBits = Math.floor(properties / 9) % 5;
    this.#literalContextBits = properties % 9;
    this.#literalPositionMask = (1 << literalPositionBits) - 1;
    this.#positionMask = (1 << Math.floor(properties / 45)) - 1;
    this.#probabilities = new Uint16Array(LITERAL + (LITERAL_SIZE << (this.#literalContextBits + literalPositionBits)));
  }

  #reset(): void {
    this.#probabilities.fill(EVEN);
    this.#distances.fill(0);
    this.#state = 0;
  }

  #bit(index: number): number {
    const coder = this.#coder;
    const probabilities = this.#probabilities;
    if (coder[0]! < 1 << RANGE_BITS) this.#shift();
    const probability = probabilities[index]!;
    const bound = Math.imul(coder[0]! >>> PROBABILITY_BITS, probability) >>> 0;
    if (coder[1]! < bound) {
      coder[0] = bound;
      probabilities[index] = probability + (((1 << PROBABILITY_BITS) - probability) >> ADAPTATION);
      return 0;
    }
    coder[0]! -= bound;
    coder[1]! -= bound;
    probabilities[index] = probability - (probability >> ADAPTATION);
    return 1;
  }

  #shift(): void {
    const coder = this.#coder;
    coder[0]! <<= 8;
    coder[1] = (coder[1]! << 8) | this.#bytes[this.#in++]!;
  }

  /** `count` bits that are as likely as not, the highest first. */
  #evenBits(count: number): number {
    const coder = this.#coder;
    let value = 0;
    for (let i = 0; i < count; i++) {
      if (coder[0]! < 1 << RANGE_BITS) this.#shift();
      coder[0]! >>>= 1;
      const bit = coder[1]! >= coder[0]! ? 1 : 0;
      if (bit === 1) coder[1]! -= coder[0]!;
      value = value * 2 + bit;
    }
    return value;
  }

  /** A number of `bits` bits, the highest first, of a tree of probabilities. */
  #tree(base: number, bits: number): number {
    const end = 1 << bits;
    let node = 1;
    while (node < end) node = (node << 1) | this.#bit(base + node);
    return node - end;
  }

  /** The same, the lowest first. */
  #reverseTree(base: number, bits: number): number {
    let node = 1;
    let value = 0;
    for (let i = 0; i < bits; i++) {
      const bit = this.#bit(base + node);
      node = (node << 1) | bit;
      value |= bit << i;
    }
    return value;
  }

  #symbol(end: number): void {
    const state = this.#state;
    const position = (this.#at - this.#start) & this.#positionMask;
    if (this.#bit(IS_MATCH + state * POSITION_STATES + position) === 0) this.#literal();
    else if (this.#bit(IS_REPEAT + state) === 0) this.#match(position, end);
    else this.#repeat(position, end);
  }

  #literal(): void {
    const { data } = this;
    const at = this.#at;
    const before = at > this.#start ? data[at - 1]! : 0;
    const context =
      (((at - this.#start) & this.#literalPositionMask) << this.#literalContextBits) + (before >> (8 - this.#literalContextBits));
    const base = LITERAL + LITERAL_SIZE * context;
    const state = this.#state;
    let node = 1;
    if (state >= AFTER_LITERALS) {
      // As long as it is like the byte at the last distance, that is part of the context.
      let expected = data[at - this.#distances[0]! - 1]!;
      while (node < 0x100) {
        const bit = (expected >> 7) & 1;
        expected <<= 1;
        const found = this.#bit(base + ((1 + bit) << 8) + node);
        node = (node << 1) | found;
        if (found !== bit) break;
      }
    }
    while (node < 0x100) node = (node << 1) | this.#bit(base + node);
    data[at] = node;
    this.#at = at + 1;
    this.#state = state < 4 ? 0 : state < 10 ? state - 3 : state - 6;
  }

  #match(position: number, end: number): void {
    const distances = this.#distances;
    const length = this.#length(MATCH_LENGTH, position);
    distances.copyWithin(1, 0, 3);
    distances[0] = this.#distance(Math.min(length - MATCH_MIN, LENGTH_TO_SLOT - 1));
    this.#state = this.#state < AFTER_LITERALS ? 7 : 10;
    this.#copy(length, end);
  }

  #distance(tree: number): number {
    const slot = this.#tree(SLOT + tree * 64, 6);
    if (slot < 4) return slot;
    const bits = (slot >> 1) - 1;
    const base = (2 | (slot & 1)) * 2 ** bits;
    if (slot < 14) return base + this.#reverseTree(SPECIAL + base - slot, bits);
    return base + this.#evenBits(bits - ALIGN_BITS) * 2 ** ALIGN_BITS + this.#reverseTree(ALIGN, ALIGN_BITS);
  }

  #repeat(position: number, end: number): void {
    const distances = this.#distances;
    const state = this.#state;
    let which = 0;
    if (this.#bit(IS_NOT_LAST + state) === 0) {
      if (this.#bit(IS_LONG_LAST + state * POSITION_STATES + position) === 0) {
        this.#state = state < AFTER_LITERALS ? 9 : 11;
        this.#copy(1, end);
        return;
      }
    } else {
      which = this.#bit(IS_NOT_SECOND + state) === 0 ? 1 : 2 + this.#bit(IS_NOT_THIRD + state);
    }
    const distance = distances[which]!;
    distances.copyWithin(1, 0, which);
    distances[0] = distance;
    this.#state = state < AFTER_LITERALS ? 8 : 11;
    this.#copy(this.#length(REPEAT_LENGTH, position), end);
  }

  #length(base: number, position: number): number {
    const trees = base + 2;
    if (this.#bit(base) === 0) return MATCH_MIN + this.#tree(trees + position * LENGTH_LOW, 3);
    const middle = trees + POSITION_STATES * LENGTH_LOW;
    if (this.#bit(base + 1) === 0) return MATCH_MIN + 8 + this.#tree(middle + position * LENGTH_LOW, 3);
    return MATCH_MIN + 16 + this.#tree(middle + POSITION_STATES * LENGTH_LOW, 8);
  }

  /** Bytes from the last distance on; they may overlap what they make. */
  #copy(length: number, end: number): void {
    const { data } = this;
    const at = this.#at;
    const from = at - this.#distances[0]! - 1;
    if (from < this.#start || from >= at || at + length > end) corrupt();
    for (let i = 0; i < length; i++) data[at + i] = data[from + i]!;
    this.#at = at + length;
  }
}
