/**
 * A domain's handles for what it maps of others. They come from frames of 256, each vCPU with its own queue of free ones,
 * of which the last stays unused; a handle given back is used again last (xen:common/grant_table.c get_maptrack_handle).
 */
import type { Domain } from '../../emulator/domain.ts';
import { defineSlot, NotSavable } from '../../emulator/slot.ts';
import { GNTMAP_device_map, GNTMAP_host_map } from '../abi/grant_table.ts';
import type { ActiveEntry } from './active_entry.ts';

/** xl's and Xen's default. */
const MAX_MAPTRACK_FRAMES = 1024;
const HANDLES_PER_FRAME = 256;
const NONE = -1;
const NOTHING = { ref: 0, active: undefined, flags: 0 };

/** What a handle stands for, as long as it does. */
export interface Mapping {
  readonly granter: Domain;
  readonly ref: number;
  /** The entry that `ref` names, if whoever made the mapping had it at hand. */
  readonly active: ActiveEntry | undefined;
  /** GNTMAP_: which of the mappings are still there, and how they were made. */
  readonly flags: number;
}

/** A handle's entry, made once for all mappings that it will stand for. Where `flags` are 0 it is free. */
interface Entry extends Mapping {
  granter: Domain;
  ref: number;
  active: ActiveEntry | undefined;
  flags: number;
  /** The next free handle behind this one, if it is free. */
  next: number;
  /** Whose queue the handle returns to. */
  vcpuId: number;
}

interface SavedMaptrack {
  readonly mappings: readonly (Pick<Mapping, 'ref' | 'flags'> | undefined)[];
  readonly next: readonly number[];
  readonly vcpus: readonly number[];
  readonly heads: readonly number[];
  readonly tails: readonly number[];
}

export class Maptrack {
  /** Most frames of handles. */
  maxFrames: number = MAX_MAPTRACK_FRAMES;
  readonly #domain: Domain;
  /** By handle. */
  readonly #entries: Entry[] = [];
  /** First and last of each vCPU's queue. */
  readonly #heads: number[] = [];
  readonly #tails: number[] = [];

  constructor(domain: Domain) {
    this.#domain = domain;
  }

  get frameCount(): number {
    return this.#entries.length / HANDLES_PER_FRAME;
  }

  /** undefined: the handle stands for nothing. */
  get(handle: number): Mapping | undefined {
    if (handle < 0 || handle >= this.#entries.length) return undefined;
    const entry = this.#entries[handle]!;
    return entry.flags !== 0 ? entry : undefined;
  }

  /** What the handle stands for from now on: something with `flags`. */
  set(handle: number, granter: Domain, ref: number, flags: number, active?: ActiveEntry): void {
    const entry = this.#entries[handle]!;
    entry.granter = granter;
    entry.ref = ref;
    entry.active = active;
    entry.flags = flags;
  }

  /** One of its mappings is gone, or both (GNTMAP_): without any, the handle is free. */
  remove(handle: number, kinds: number): void {
    const entry = this.#entries[handle]!;
    entry.flags &= ~kinds;
    if ((entry.flags & (GNTMAP_device_map | GNTMAP_host_map)) === 0) this.put(handle);
  }

  /** The highest first, as Xen goes through them at a domain's end. */
  *[Symbol.iterator](): Generator<[number, Mapping]> {
    for (let handle = this.#entries.length - 1; handle >= 0; handle--) {
      const mapping = this.get(handle);
      if (mapping !== undefined) yield [handle, mapping];
    }
  }

  /** Plain data; only what the domain maps of its own can be among it. */
  save(): SavedMaptrack {
    const mappings = this.#entries.map(({ granter, ref, flags }) => {
      if (flags === 0) return undefined;
      if (granter !== this.#domain) throw new NotSavable(`it has mapped frames of domain ${granter.id} (${granter.name})`);
      return { ref, flags };
    });
    const next = this.#entries.map((entry) => entry.next);
    const vcpus = this.#entries.map(({ vcpuId }) => vcpuId);
    return { mappings, next, vcpus, heads: this.#heads, tails: this.#tails };
  }

  load({ mappings, next, vcpus, heads, tails }: SavedMaptrack): void {
    for (const [handle, vcpuId] of vcpus.entries()) {
      const { ref, flags } = mappings[handle] ?? NOTHING;
      this.#entries.push({ granter: this.#domain, ref, active: undefined, flags, next: next[handle]!, vcpuId });
    }
    this.#heads.push(...heads);
    this.#tails.push(...tails);
  }

  /** A handle for the vCPU; -1: there is none left. */
  take(vcpuId: number): number {
    const handle = this.#takeFrom(vcpuId);
    if (handle !== NONE) return handle;
    if (this.#entries.length < this.maxFrames * HANDLES_PER_FRAME) return this.#addFrame(vcpuId);
    if ((this.#tails[vcpuId] ?? NONE) === NONE) {
      const first = this.#steal(vcpuId);
      if (first === NONE) return NONE;
      this.#entries[first]!.next = NONE;
      this.#heads[vcpuId] = first;
      this.#tails[vcpuId] = first;
    }
    return this.#steal(vcpuId);
  }

  put(handle: number): void {
    const entry = this.#entries[handle]!;
    entry.granter = this.#domain;
    entry.active = undefined;
    entry.flags = 0;
    entry.next = NONE;
    this.#entries[this.#tails[entry.vcpuId]!]!.next = handle;
    this.#tails[entry.vcpuId] = handle;
  }

  #takeFrom(vcpuId: number): number {
    const head = this.#heads[vcpuId] ?? NONE;
    if (head === NONE) return NONE;
    const { next } = this.#entries[head]!;
    if (next === NONE) return NONE;
    this.#heads[vcpuId] = next;
    return head;
  }

  #addFrame(vcpuId: number): number {
    const first = this.#entries.length;
    const last = first + HANDLES_PER_FRAME - 1;
    for (let handle = first; handle <= last; handle++) {
      const next = handle < last ? handle + 1 : (this.#heads[vcpuId] ?? NONE);
      this.#entries.push({ granter: this.#domain, ...NOTHING, next, vcpuId });
    }
    this.#tails[vcpuId] ??= last;
    this.#heads[vcpuId] = first + 1;
    return first;
  }

  /** A handle out of another vCPU's queue. */
  #steal(vcpuId: number): number {
    for (let victim = 0; victim < this.#heads.length; victim++) {
      const handle = this.#takeFrom(victim);
      if (handle === NONE) continue;
      this.#entries[handle]!.vcpuId = vcpuId;
      return handle;
    }
    return NONE;
  }
}

export const maptrack = defineSlot<Domain, Maptrack>((domain) => new Maptrack(domain), {
  name: 'grant_table.maptrack',
  save: (mappings) => mappings.save(),
  load(saved, domain) {
    const mappings = new Maptrack(domain);
    mappings.load(saved as SavedMaptrack);
    return mappings;
  },
});
