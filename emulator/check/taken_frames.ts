/**
 * Frames that a guest got by hypercall. At its end each is either given back or of use: a frame of its own that no page
 * table maps and nothing holds is leaked. A frame it had from the start is leaked if it also took its pfn from the M2P.
 */
import { xen_memory_exchange, xen_memory_reservation } from '../../hypercalls/abi/memory.ts';
import type { CallRecord } from '../../hypercalls/call.ts';
import type { Domain } from '../domain.ts';
import type { Host } from '../host.ts';
import { FRAME_ALLOCATED, FRAME_XEN_HEAP, INVALID_M2P_ENTRY } from '../memory/machine_memory.ts';
import { peek, peekNumber } from './peek.ts';

export class TakenFrames {
  /** The place of the call that got it. */
  readonly #takenAt = new Map<number, bigint>();

  /** After operation `op` of memory_op, called at `rip`, succeeded. */
  changed(host: Host, record: CallRecord, op: string, rip: bigint): void {
    if (op === 'memory_op.exchange') {
      const { out } = xen_memory_exchange.read(record.view, 0);
      this.#take(host, out.extent_start, Number(out.nr_extents), out.extent_order, rip);
    } else if (op === 'memory_op.increase_reservation' || op === 'memory_op.populate_physmap') {
      const bytes = peek(host, record.args[1]!, xen_memory_reservation.size);
      if (bytes.length < xen_memory_reservation.size) return;
      const { extent_start, extent_order } = xen_memory_reservation.read(new DataView(bytes.buffer), 0);
      this.#take(host, extent_start, Number(record.result), extent_order, rip);
    }
  }

  #take(host: Host, list: bigint, extents: number, order: number, rip: bigint): void {
    for (let i = 0; i < extents && list !== 0n; i++) {
      const first = peekNumber(host, list + BigInt(i * 8), 8);
      if (first === undefined || first >= BigInt(host.memory.frameCount)) return;
      for (let k = 0; k < 2 ** order; k++) this.#takenAt.set(Number(first) + k, rip);
    }
  }

  /** For each leaked frame the place where it was got, or `rip`, where the domain ends. */
  *leaked({ memory }: Host, domain: Domain, rip: bigint): Generator<{ readonly rip: bigint; readonly what: string }> {
    for (let mfn = 0; mfn < memory.frameCount; mfn++) {
      if (memory.owner[mfn] !== domain.id || memory.references[mfn] !== 1) continue;
      if ((memory.flags[mfn]! & (FRAME_ALLOCATED | FRAME_XEN_HEAP)) !== FRAME_ALLOCATED) continue;
      const takenAt = this.#takenAt.get(mfn);
      if (takenAt !== undefined) yield { rip: takenAt, what: 'a frame got here was neither given back nor mapped at the end' };
      else if (memory.getM2p(mfn) === INVALID_M2P_ENTRY) yield { rip, what: 'a frame ended without pfn, unmapped and not given back' };
    }
  }
}
