/** What a guest sends: its packets become frames, of bytes copied out of what it grants, and each slot gets its answer. */
import { joined } from '../../emulator/bytes.ts';
import type { Domain } from '../../emulator/domain.ts';
import type { Host } from '../../emulator/host.ts';
import { GNTST } from '../abi/grant_table.ts';
import * as abi from '../abi/netif.ts';
import { copyFromGrant } from '../grant_table/toolstack.ts';
import type { BackRing } from '../xenbus/back_ring.ts';
import { findChecksum } from './checksum.ts';
import type { Frame } from './network.ts';
import { type Packet, type Slot, takePacket } from './packet.ts';

const { NETIF_RSP_ERROR, NETIF_RSP_NULL, NETIF_RSP_OKAY } = abi;

export class Transmitter {
  readonly #host: Host;
  readonly #domain: Domain;
  readonly #ring: BackRing;
  readonly #send: (frame: Frame) => void;

  constructor(host: Host, domain: Domain, ring: BackRing, send: (frame: Frame) => void) {
    this.#host = host;
    this.#domain = domain;
    this.#ring = ring;
    this.#send = send;
  }

  /** Sends and answers what is there; whether the guest wants to be told, and why its ring makes no sense, if it makes none. */
  serve(): { isAwaited: boolean; nonsense: string | undefined } {
    const ring = this.#ring;
    // What comes in meanwhile is another event's: a frame may even be received into this ring.
    let left = ring.waiting;
    let nonsense = left > ring.count ? `Impossible number of requests, ${left} of ${ring.count}` : undefined;
    while (left > 0 && nonsense === undefined) {
      const packet = takePacket(ring, left);
      if (typeof packet === 'string') nonsense = packet;
      else {
        left -= packet.slots.length + packet.extras;
        this.#perform(packet);
      }
    }
    return { isAwaited: ring.push(), nonsense };
  }

  #perform({ slots, extras, kind }: Packet): void {
    const parts = kind === 'frame' ? slots.map((slot) => this.#copy(slot)) : [];
    for (const [i, { id }] of slots.entries()) {
      const isWrong = kind === 'refused' || (kind === 'frame' && parts[i] === undefined);
      this.#answer(id, isWrong ? NETIF_RSP_ERROR : NETIF_RSP_OKAY);
      if (i === 0) for (let extra = 0; extra < extras; extra++) this.#answer(undefined, NETIF_RSP_NULL);
    }
    const isWhole = (all: readonly (Uint8Array | undefined)[]): all is Uint8Array[] => !all.includes(undefined);
    if (kind === 'frame' && isWhole(parts)) this.#pass(joined(parts), slots[0]!.flags);
  }

  #pass(bytes: Uint8Array, flags: number): void {
    const isChecksumBlank = (flags & abi.NETTXF_csum_blank) !== 0;
    if (isChecksumBlank && findChecksum(bytes) === undefined) return;
    this.#send({ bytes, isChecksumBlank, isValidated: isChecksumBlank || (flags & abi.NETTXF_data_validated) !== 0 });
  }

  /** undefined: the guest does not let it be read. */
  #copy({ gref, offset, size }: Slot): Uint8Array | undefined {
    const bytes = new Uint8Array(size);
    if (size === 0) return bytes;
    return copyFromGrant(this.#host, this.#domain, gref, offset, bytes) === GNTST.okay ? bytes : undefined;
  }

  /** A slot that was no request gets a status alone. */
  #answer(id: number | undefined, status: number): void {
    const { offset, size } = abi.netif_tx_response;
    this.#ring.respond(size, (maddr) => {
      const { view } = this.#ring.memory;
      if (id !== undefined) view.setUint16(maddr + offset.id, id, true);
      view.setInt16(maddr + offset.status, status, true);
    });
  }
}
