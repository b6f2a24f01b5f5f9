/**
 * The back end's half of a blkif ring: takes requests out of the page that the guest shares, puts a response in each one's
 * place. xen:public/io/ring.h. The guest can write anything there: its index is read once and believed only if it can be,
 * and a request is a copy before it is looked at.
 */
import { type MachineMemory, PAGE_SIZE } from '../../emulator/memory/machine_memory.ts';
import * as abi from '../abi/blkif.ts';

const SRING = abi.blkif_sring.offset;

/** The entries of a ring as a front end of that kind lays them out. */
export interface RingLayout {
  readonly request: typeof abi.blkif_request;
  readonly discard: typeof abi.blkif_request_discard;
  readonly response: typeof abi.blkif_response;
}

/** By the front end's `protocol` node. */
export const ringLayouts: Readonly<Record<string, RingLayout>> = {
  [abi.XEN_IO_PROTO_ABI_X86_64]: { request: abi.blkif_request, discard: abi.blkif_request_discard, response: abi.blkif_response },
  [abi.XEN_IO_PROTO_ABI_X86_32]: {
    request: abi.blkif_request_x86_32,
    discard: abi.blkif_request_discard_x86_32,
    response: abi.blkif_response_x86_32,
  },
};

/** What the guest asks for; `nr_sectors` counts for a discard only. */
export type Request = ReturnType<RingLayout['request']['read']> & { readonly nr_sectors: bigint };

export class BlockRing {
  readonly #memory: MachineMemory;
  readonly #base: number;
  readonly #layout: RingLayout;
  readonly #count: number;
  #consumed: number;
  #produced: number;

  /** A ring that has been in use goes on where its responses end. */
  constructor(memory: MachineMemory, maddr: number, layout: RingLayout) {
    this.#memory = memory;
    this.#base = maddr;
    this.#layout = layout;
    this.#count = 2 ** Math.floor(Math.log2((PAGE_SIZE - SRING.ring) / layout.request.size));
    this.#produced = this.#get(SRING.rsp_prod);
    this.#consumed = this.#produced;
  }

  /** Answers every request with the status that `perform` gives it. 'impossible': so many cannot be there; 'notify': the guest waits. */
  serve(perform: (request: Request) => number): 'impossible' | 'notify' | 'quiet' {
    const before = this.#produced;
    const asked = this.#get(SRING.req_prod);
    if ((asked - before) >>> 0 > this.#count) return 'impossible';
    while (this.#consumed !== asked) {
      const request = this.#take();
      this.#respond(request, perform(request));
    }
    this.#set(SRING.req_event, (this.#consumed + 1) >>> 0);
    this.#set(SRING.rsp_prod, this.#produced);
    const answered = (this.#produced - before) >>> 0;
    return (this.#produced - this.#get(SRING.rsp_event)) >>> 0 < answered ? 'notify' : 'quiet';
  }

  #take(): Request {
    const { view } = this.#memory;
    const maddr = this.#entry(this.#consumed);
    const { nr_sectors } = this.#layout.discard.read(view, maddr);
    this.#consumed = (this.#consumed + 1) >>> 0;
    return { ...this.#layout.request.read(view, maddr), nr_sectors };
  }

  #respond({ id, operation }: Request, status: number): void {
    const maddr = this.#entry(this.#produced);
    this.#layout.response.write(this.#memory.view, maddr, { id, operation, status });
    this.#memory.written(maddr, this.#layout.response.size);
    this.#produced = (this.#produced + 1) >>> 0;
  }

  #entry(index: number): number {
    return this.#base + SRING.ring + (index % this.#count) * this.#layout.request.size;
  }

  #get(field: number): number {
    return this.#memory.view.getUint32(this.#base + field, true);
  }

  #set(field: number, value: number): void {
    this.#memory.view.setUint32(this.#base + field, value, true);
    this.#memory.written(this.#base + field, 4);
  }
}
