/**
 * The back end's half of a ring: takes requests out of the page that the guest shares, puts responses in their places.
 * xen:public/io/ring.h. The guest can write anything there, and its indices need not be possible: who reads an entry makes
 * a copy of it before looking at it, and asks `waiting` whether so many can be there.
 */
import { type MachineMemory, PAGE_SIZE } from '../../emulator/memory/machine_memory.ts';
import { sring_offset } from '../abi/ring.ts';

const { req_prod, req_event, rsp_prod, rsp_event, ring } = sring_offset;

export class BackRing {
  readonly memory: MachineMemory;
  /** How many entries it has. */
  readonly count: number;
  readonly #base: number;
  readonly #entrySize: number;
  #consumed: number;
  #produced: number;

  /** A ring that has been in use goes on where its responses end. */
  constructor(memory: MachineMemory, maddr: number, entrySize: number) {
    this.memory = memory;
    this.count = 2 ** Math.floor(Math.log2((PAGE_SIZE - ring) / entrySize));
    this.#base = maddr;
    this.#entrySize = entrySize;
    this.#produced = this.#get(rsp_prod);
    this.#consumed = this.#produced;
  }

  /** How many requests the guest has put there beyond those that were taken, if its word can be believed. */
  get waiting(): number {
    return (this.#get(req_prod) - this.#consumed) >>> 0;
  }

  /** The maddr of the next request, which is taken by that. */
  take(): number {
    const maddr = this.#entry(this.#consumed);
    this.#consumed = (this.#consumed + 1) >>> 0;
    return maddr;
  }

  /** Puts the next response, of `size` bytes. */
  respond(size: number, write: (maddr: number) => void): void {
    const maddr = this.#entry(this.#produced);
    write(maddr);
    this.memory.written(maddr, size);
    this.#produced = (this.#produced + 1) >>> 0;
  }

  /** Shows the guest what has been put there, and asks to be told of the next request. Whether the guest wants to be told. */
  push(): boolean {
    const shown = this.#get(rsp_prod);
    this.#set(req_event, (this.#consumed + 1) >>> 0);
    this.#set(rsp_prod, this.#produced);
    return (this.#produced - this.#get(rsp_event)) >>> 0 < (this.#produced - shown) >>> 0;
  }

  #entry(index: number): number {
    return this.#base + ring + (index % this.count) * this.#entrySize;
  }

  #get(field: number): number {
    return this.memory.view.getUint32(this.#base + field, true);
  }

  #set(field: number, value: number): void {
    this.memory.view.setUint32(this.#base + field, value, true);
    this.memory.written(this.#base + field, 4);
  }
}
