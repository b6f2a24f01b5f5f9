/**
 * What a guest receives: each frame goes into a page that the guest has put into its rx ring, and waits for one where there
 * is none. A frame of a network fits into a page. xen:public/io/netif.h; the statuses are netback's (xenvif_rx_action).
 */
import type { Domain } from '../../emulator/domain.ts';
import type { Host } from '../../emulator/host.ts';
import { GNTST } from '../abi/grant_table.ts';
import * as abi from '../abi/netif.ts';
import { copyToGrant } from '../grant_table/toolstack.ts';
import type { BackRing } from '../xenbus/back_ring.ts';
import { withChecksum } from './checksum.ts';
import type { Frame } from './network.ts';

/** Beyond, frames are lost. */
const MAX_WAITING = 256;

export class Receiver {
  /** For a guest that puts in no pages. */
  readonly waiting: Frame[];
  readonly #host: Host;
  readonly #domain: Domain;
  readonly #ring: BackRing;
  readonly #takesBlankChecksums: boolean;

  constructor(host: Host, domain: Domain, ring: BackRing, takesBlankChecksums: boolean, waiting: readonly Frame[] = []) {
    this.#host = host;
    this.#domain = domain;
    this.#ring = ring;
    this.#takesBlankChecksums = takesBlankChecksums;
    this.waiting = [...waiting];
  }

  /** Whether there was room for it. */
  add(frame: Frame): boolean {
    if (this.waiting.length >= MAX_WAITING) return false;
    this.waiting.push(frame);
    return true;
  }

  /** Gives the guest what it has pages for; whether it wants to be told. */
  serve(): boolean {
    const ring = this.#ring;
    while (this.waiting.length > 0 && ring.waiting > 0) this.#put(this.waiting.shift()!);
    return ring.push();
  }

  #put({ bytes, isChecksumBlank, isValidated }: Frame): void {
    const { view } = this.#ring.memory;
    const { id, gref } = abi.netif_rx_request.read(view, this.#ring.take());
    const isFinished = isChecksumBlank && !this.#takesBlankChecksums;
    const whole = isFinished ? withChecksum(bytes) : bytes;
    let flags = isValidated && !isFinished ? abi.NETRXF_data_validated : 0;
    if (isChecksumBlank && !isFinished) flags |= abi.NETRXF_csum_blank;
    const status = copyToGrant(this.#host, this.#domain, gref, 0, whole);
    const response = { id, offset: 0, flags, status: status === GNTST.okay ? whole.length : status };
    this.#ring.respond(abi.netif_rx_response.size, (maddr) => abi.netif_rx_response.write(view, maddr, response));
  }
}
