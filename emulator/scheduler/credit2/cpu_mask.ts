/**
 * A set of cpus, one bit each, as Xen's cpumask: operations write into an existing mask, so that the scheduler's paths
 * allocate nothing. A cpu is one hardware thread, what the host file calls a core.
 */
export class CpuMask {
  /** How many cpus there are. */
  readonly size: number;
  readonly #words: Int32Array;

  constructor(size: number, cpus: Iterable<number> = []) {
    this.size = size;
    this.#words = new Int32Array((size + 31) >> 5);
    for (const cpu of cpus) this.add(cpu);
  }

  static all(size: number): CpuMask {
    return new CpuMask(size, Array(size).keys());
  }

  clone(): CpuMask {
    return new CpuMask(this.size).copy(this);
  }

  has(cpu: number): boolean {
    return ((this.#words[cpu >> 5]! >>> (cpu & 31)) & 1) !== 0;
  }

  add(cpu: number): void {
    this.#words[cpu >> 5]! |= 1 << (cpu & 31);
  }

  delete(cpu: number): void {
    this.#words[cpu >> 5]! &= ~(1 << (cpu & 31));
  }

  copy(other: CpuMask): this {
    for (let i = 0; i < this.#words.length; i++) this.#words[i] = other.#words[i]!;
    return this;
  }

  /** Those of `all` that are in neither of two sets, but in `affinity`. */
  select(all: CpuMask, without: CpuMask, norIn: CpuMask, affinity: CpuMask): this {
    for (let i = 0; i < this.#words.length; i++) {
      this.#words[i] = all.#words[i]! & ~(without.#words[i]! | norIn.#words[i]!) & affinity.#words[i]!;
    }
    return this;
  }

  and(other: CpuMask): this {
    for (let i = 0; i < this.#words.length; i++) this.#words[i]! &= other.#words[i]!;
    return this;
  }

  or(other: CpuMask): this {
    for (let i = 0; i < this.#words.length; i++) this.#words[i]! |= other.#words[i]!;
    return this;
  }

  andNot(other: CpuMask): this {
    for (let i = 0; i < this.#words.length; i++) this.#words[i]! &= ~other.#words[i]!;
    return this;
  }

  intersects(other: CpuMask): boolean {
    for (let i = 0; i < this.#words.length; i++) if ((this.#words[i]! & other.#words[i]!) !== 0) return true;
    return false;
  }

  isSubsetOf(other: CpuMask): boolean {
    for (let i = 0; i < this.#words.length; i++) if ((this.#words[i]! & ~other.#words[i]!) !== 0) return false;
    return true;
  }

  get isEmpty(): boolean {
    for (let i = 0; i < this.#words.length; i++) if (this.#words[i] !== 0) return false;
    return true;
  }

  get count(): number {
    let count = 0;
    for (let cpu = this.next(-1); cpu >= 0; cpu = this.next(cpu)) count++;
    return count;
  }

  /** The lowest cpu above `after`, -1: none. */
  next(after: number): number {
    const start = after + 1;
    let word = start >> 5;
    if (word >= this.#words.length) return -1;
    let bits = this.#words[word]! & (-1 << (start & 31));
    while (bits === 0) {
      if (++word >= this.#words.length) return -1;
      bits = this.#words[word]!;
    }
    return (word << 5) + 31 - Math.clz32(bits & -bits);
  }

  /** The next cpu after `after`, from the start again when there is none above; -1: empty. */
  cycle(after: number): number {
    const above = this.next(after);
    return above >= 0 ? above : this.next(-1);
  }

  /** `cpu` itself if it is in, else the next one round; -1: empty. */
  testOrCycle(cpu: number): number {
    return this.has(cpu) ? cpu : this.cycle(cpu);
  }

  *[Symbol.iterator](): Generator<number> {
    for (let cpu = this.next(-1); cpu >= 0; cpu = this.next(cpu)) yield cpu;
  }

  /** `0-3,8`, as Xen's %*pbl. */
  toList(): string {
    const ranges: string[] = [];
    for (let cpu = this.next(-1); cpu >= 0; cpu = this.next(cpu)) {
      const first = cpu;
      while (this.next(cpu) === cpu + 1) cpu++;
      ranges.push(first === cpu ? `${first}` : `${first}-${cpu}`);
    }
    return ranges.join(',');
  }

  /** Hexadecimal, highest 32 bits first, commas between, as Xen's %*pb. */
  toHex(): string {
    const topBits = ((this.size + 31) & 31) + 1;
    return Array.from(this.#words)
      .map((word, i, all) => (word >>> 0).toString(16).padStart(i === all.length - 1 ? Math.ceil(topBits / 4) : 8, '0'))
      .reverse()
      .join(',');
  }
}
