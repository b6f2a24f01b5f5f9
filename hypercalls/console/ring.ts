/**
 * The far end of a PV console: struct xencons_interface, the page that a domain shares with its console daemon. Takes what
 * the guest prints off `out` and puts what is typed into `in`, as xenconsoled does. xen:public/io/console.h.
 * The guest can write anything there, so every index is read once and believed only if it can be.
 */
import type { PhysicalMemory } from '../../emulator/cpu/interface.ts';
import { PAGE_SIZE } from '../../emulator/memory/machine_memory.ts';

/** struct xencons_interface. */
// biome-ignore format: a table
const xencons_interface = {
  in: 0,           // [console]
  out: 1024,       // [guest]
  in_cons: 3072,   // [guest]
  in_prod: 3076,   // [console]
  out_cons: 3080,  // [console]
  out_prod: 3084,  // [guest]
} as const;
const IN_SIZE = 1024;
const OUT_SIZE = 2048;
export class ConsoleRing {
  readonly #memory: PhysicalMemory;
  readonly #base: number;
  readonly #write: (bytes: Uint8Array) => void;
  readonly #notify: () => void;
  #typed: Uint8Array[] = [];

  /** `write` gets what the guest prints; `notify` signals the guest. */
  constructor(memory: PhysicalMemory, mfn: number, write: (bytes: Uint8Array) => void, notify: () => void) {
    this.#memory = memory;
    this.#base = mfn * PAGE_SIZE;
    this.#write = write;
    this.#notify = notify;
  }

  /** Bytes typed for which `in` had no room yet. */
  get pendingInput(): number {
    return this.#typed.reduce((sum, bytes) => sum + bytes.length, 0);
  }

  /** The bytes that wait. */
  save(): Uint8Array {
    return Uint8Array.from(this.#typed.flatMap((bytes) => [...bytes]));
  }

  load(typed: Uint8Array): void {
    if (typed.length > 0) this.#typed.push(typed);
  }

  /** The guest signalled: it printed, or made room for input. Harmless at any other time. */
  onEvent(): void {
    const printed = this.#drain();
    const typed = this.#fill();
    if (printed || typed) this.#notify();
  }

  /** Somebody typed. What does not fit waits until the guest has read. */
  input(bytes: Uint8Array): void {
    if (bytes.length > 0) this.#typed.push(bytes.slice());
    if (this.#fill()) this.#notify();
  }

  #drain(): boolean {
    const { bytes } = this.#memory;
    const consumed = this.#get(xencons_interface.out_cons);
    const size = (this.#get(xencons_interface.out_prod) - consumed) >>> 0;
    if (size === 0 || size > OUT_SIZE) return false;
    const printed = new Uint8Array(size);
    for (let i = 0; i < size; i++) printed[i] = bytes[this.#base + xencons_interface.out + ((consumed + i) % OUT_SIZE)]!;
    this.#set(xencons_interface.out_cons, consumed + size);
    this.#write(printed);
    return true;
  }

  #fill(): boolean {
    const { bytes } = this.#memory;
    const start = this.#get(xencons_interface.in_prod);
    const used = (start - this.#get(xencons_interface.in_cons)) >>> 0;
    let room = used > IN_SIZE ? 0 : IN_SIZE - used;
    let produced = start;
    for (let next = this.#typed[0]; next !== undefined && room > 0; next = this.#typed[0]) {
      const size = Math.min(next.length, room);
      for (let i = 0; i < size; i++) bytes[this.#base + xencons_interface.in + (produced++ % IN_SIZE)] = next[i]!;
      room -= size;
      if (size === next.length) this.#typed.shift();
      else this.#typed[0] = next.subarray(size);
    }
    if (produced === start) return false;
    this.#memory.written(this.#base + xencons_interface.in, IN_SIZE);
    this.#set(xencons_interface.in_prod, produced);
    return true;
  }

  #get(field: number): number {
    return this.#memory.view.getUint32(this.#base + field, true);
  }

  #set(field: number, value: number): void {
    this.#memory.view.setUint32(this.#base + field, value, true);
    this.#memory.written(this.#base + field, 4);
  }
}
