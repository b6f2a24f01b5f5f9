/** The requests of a blkif ring, each of which is answered at once. */
import type { MachineMemory } from '../../emulator/memory/machine_memory.ts';
import * as abi from '../abi/blkif.ts';
import { BackRing } from '../xenbus/back_ring.ts';

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
  readonly #ring: BackRing;
  readonly #layout: RingLayout;

  constructor(memory: MachineMemory, maddr: number, layout: RingLayout) {
    this.#ring = new BackRing(memory, maddr, layout.request.size);
    this.#layout = layout;
  }

  /** Answers every request with the status that `perform` gives it. 'impossible': so many cannot be there; 'notify': the guest waits. */
  serve(perform: (request: Request) => number): 'impossible' | 'notify' | 'quiet' {
    const ring = this.#ring;
    let left = ring.waiting;
    if (left > ring.count) return 'impossible';
    for (; left > 0; left--) {
      const request = this.#take();
      this.#respond(request, perform(request));
    }
    return ring.push() ? 'notify' : 'quiet';
  }

  #take(): Request {
    const { view } = this.#ring.memory;
    const maddr = this.#ring.take();
    const { nr_sectors } = this.#layout.discard.read(view, maddr);
    return { ...this.#layout.request.read(view, maddr), nr_sectors };
  }

  #respond({ id, operation }: Request, status: number): void {
    const { response } = this.#layout;
    this.#ring.respond(response.size, (maddr) => response.write(this.#ring.memory.view, maddr, { id, operation, status }));
  }
}
