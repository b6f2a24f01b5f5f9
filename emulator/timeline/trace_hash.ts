/** FNV-1a of 64 bits over a trace's text: two runs with the same hash did the same at the same times. */

/** 2^64's FNV prime is 2^40 + 0x1b3. */
const PRIME_LOW = 0x1b3;
const TWO_32 = 0x1_0000_0000;

export class TraceHash {
  #high = 0xcbf2_9ce4;
  #low = 0x8422_2325;

  /** ASCII, as a trace's text is. */
  readonly add = (text: string): void => {
    let high = this.#high;
    let low = this.#low;
    for (let i = 0; i < text.length; i++) {
      const mixed = (low ^ text.charCodeAt(i)) >>> 0;
      const product = mixed * PRIME_LOW;
      high = (high * PRIME_LOW + Math.floor(product / TWO_32) + ((mixed << 8) >>> 0)) % TWO_32;
      low = product >>> 0;
    }
    this.#high = high;
    this.#low = low;
  };

  /** 16 hexadecimal digits. */
  get text(): string {
    return [this.#high, this.#low].map((half) => half.toString(16).padStart(8, '0')).join('');
  }
}
