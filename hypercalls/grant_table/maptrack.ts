/**
 * A domain's handles for what it maps of others. They come from frames of 256, each vCPU with its own queue of free ones,
 * of which the last stays unused; a handle given back is used again last (xen:common/grant_table.c get_maptrack_handle).
 */
import type { Domain } from '../../emulator/domain.ts';
import { defineSlot, NotSavable } from '../../emulator/slot.ts';

/** xl's and Xen's default. */
const MAX_MAPTRACK_FRAMES = 1024;
const HANDLES_PER_FRAME = 256;
const NONE = -1;

/** What a handle stands for. */
export interface Mapping {
  readonly granter: Domain;
  readonly ref: number;
  /** GNTMAP_: which of the mappings are still there, and how they were made. */
  flags: number;
}

interface SavedMaptrack {
  readonly mappings: readonly (Omit<Mapping, 'granter'> | undefined)[];
  readonly next: readonly number[];
  readonly vcpus: readonly number[];
  readonly heads: readonly number[];
  readonly tails: readonly number[];
}

export class Maptrack {
  /** Most frames of handles. */
  maxFrames: number = MAX_MAPTRACK_FRAMES;
  /** By handle. */
  readonly #mappings: (Mapping | undefined)[] = [];
  /** The next free handle behind a free one, and the vCPU whose queue a handle returns to. */
  readonly #next: number[] = [];
  readonly #vcpus: number[] = [];
  /** First and last of each vCPU's queue. */
  readonly #heads: number[] = [];
  readonly #tails: number[] = [];

  get frameCount(): number {
    return this.#next.length / HANDLES_PER_FRAME;
  }

  get(handle: number): Mapping | undefined {
    return this.#mappings[handle];
  }

  set(handle: number, mapping: Mapping): void {
    this.#mappings[handle] = mapping;
  }

  /** The highest first, as Xen goes through them at a domain's end. */
  *[Symbol.iterator](): Generator<[number, Mapping]> {
    for (let handle = this.#mappings.length - 1; handle >= 0; handle--) {
      const mapping = this.#mappings[handle];
      if (mapping !== undefined) yield [handle, mapping];
    }
  }

  /** Plain data; only what a domain maps of its own can be among it. */
  save(domain: Domain): SavedMaptrack {
    const mappings = this.#mappings.map((mapping) => {
      if (mapping === undefined) return undefined;
      const { granter, ref, flags } = mapping;
      if (granter !== domain) throw new NotSavable(`it has mapped frames of domain ${granter.id} (${granter.name})`);
      return { ref, flags };
    });
    return { mappings, next: this.#next, vcpus: this.#vcpus, heads: this.#heads, tails: this.#tails };
  }

  load({ mappings, next, vcpus, heads, tails }: SavedMaptrack, granter: Domain): void {
    this.#mappings.push(...mappings.map((mapping) => mapping && { ...mapping, granter }));
    this.#next.push(...next);
    this.#vcpus.push(...vcpus);
    this.#heads.push(...heads);
    this.#tails.push(...tails);
  }

  /** A handle for the vCPU; -1: there is none left. */
  take(vcpuId: number): number {
    const handle = this.#takeFrom(vcpuId);
    if (handle !== NONE) return handle;
    if (this.#next.length < this.maxFrames * HANDLES_PER_FRAME) return this.#addFrame(vcpuId);
    if ((this.#tails[vcpuId] ?? NONE) === NONE) {
      const first = this.#steal(vcpuId);
      if (first === NONE) return NONE;
      this.#next[first] = NONE;
      this.#heads[vcpuId] = first;
      this.#tails[vcpuId] = first;
    }
    return this.#steal(vcpuId);
  }

  put(handle: number): void {
    this.#mappings[handle] = undefined;
    const vcpuId = this.#vcpus[handle]!;
    this.#next[handle] = NONE;
    this.#next[this.#tails[vcpuId]!] = handle;
    this.#tails[vcpuId] = handle;
  }

  #takeFrom(vcpuId: number): number {
    const head = this.#heads[vcpuId] ?? NONE;
    if (head === NONE || this.#next[head] === NONE) return NONE;
    this.#heads[vcpuId] = this.#next[head]!;
    return head;
  }

  #addFrame(vcpuId: number): number {
    const first = this.#next.length;
    const last = first + HANDLES_PER_FRAME - 1;
    for (let handle = first; handle <= last; handle++) {
      this.#next.push(handle + 1);
      this.#vcpus.push(vcpuId);
    }
    this.#next[last] = this.#heads[vcpuId] ?? NONE;
    this.#tails[vcpuId] ??= last;
    this.#heads[vcpuId] = first + 1;
    return first;
  }

  /** A handle out of another vCPU's queue. */
  #steal(vcpuId: number): number {
    for (let victim = 0; victim < this.#heads.length; victim++) {
      const handle = this.#takeFrom(victim);
      if (handle === NONE) continue;
      this.#vcpus[handle] = vcpuId;
      return handle;
    }
    return NONE;
  }
}

export const maptrack = defineSlot<Domain, Maptrack>(() => new Maptrack(), {
  name: 'grant_table.maptrack',
  save: (mappings, domain) => mappings.save(domain),
  load(saved, domain) {
    const mappings = new Maptrack();
    mappings.load(saved as SavedMaptrack, domain);
    return mappings;
  },
});
