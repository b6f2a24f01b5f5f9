/** The front end of a virtual network interface, written into a guest that does not run. */
import { GTF_permit_access, GTF_readonly, grant_entry_v1 } from '../../hypercalls/abi/grant_table.ts';
import { netif_rx_request, netif_rx_response, netif_tx_request, netif_tx_response } from '../../hypercalls/abi/netif.ts';
import { grantTable } from '../../hypercalls/grant_table/table.ts';
import { type Capture, NetBackend } from '../../hypercalls/net/backend.ts';
import { populateInterface } from '../../hypercalls/net/device_tree.ts';
import { Loop, type Network } from '../../hypercalls/net/network.ts';
import type { DevicePaths } from '../../hypercalls/xenbus/device_nodes.ts';
import { XenStore } from '../../hypercalls/xenstore/store.ts';
import { FakeHost } from './fake_host.ts';

/** A request, or the bytes of a descriptor in its place. */
export type TxSlot =
  | { readonly size: number; readonly offset?: number; readonly flags?: number; readonly gref?: number }
  | readonly number[];

/** Scratch pages of the guest. */
const TX = 0x210;
const RX = 0x211;
const DATA = 0x220;
export const TX_REF = 8;
export const RX_REF = 9;
/** Grants a page to be sent from, and one to be received into. */
export const OUT_REF = 16;
export const IN_REF = 17;
const ENTRIES = 256;

export class NetFront {
  readonly machine = new FakeHost();
  readonly store = new XenStore();
  readonly paths: DevicePaths;
  readonly backend: NetBackend;
  port = 0;
  #sent = 0;
  #answered = 0;
  #posted = 0;
  #received = 0;

  constructor(network: Network = new Loop(), capture?: Capture) {
    const { id } = this.machine.domain;
    this.store.introduce(id);
    this.paths = populateInterface(this.store, id, { handle: 0, mac: '00:16:3e:00:00:01', bridge: 'xenbr0' });
    for (const [ref, pfn] of [
      [TX_REF, TX],
      [RX_REF, RX],
      [IN_REF, DATA + 1],
    ] as const)
      this.grant(ref, pfn, GTF_permit_access);
    this.grant(OUT_REF, DATA, GTF_permit_access | GTF_readonly);
    this.backend = new NetBackend(this.machine.host, this.machine.domain, { network, capture }, this.store, this.paths);
  }

  get state(): string | undefined {
    return this.store.read(`${this.paths.backend}/state`);
  }

  get error(): string | undefined {
    return this.store.read('/local/domain/0/error/backend/vif/1/0/error');
  }

  get view(): DataView {
    return this.machine.memory.view;
  }

  /** The page to be sent from. */
  get out(): Uint8Array {
    return this.machine.memory.frameBytes(this.machine.p2m[DATA]!);
  }

  /** The page that is received into. */
  get in(): Uint8Array {
    return this.machine.memory.frameBytes(this.machine.p2m[DATA + 1]!);
  }

  get tx(): number {
    return this.machine.p2m[TX]! * 4096;
  }

  get rx(): number {
    return this.machine.p2m[RX]! * 4096;
  }

  grant(ref: number, pfn: number, flags: number): void {
    const { host, domain, p2m } = this.machine;
    grant_entry_v1.write(this.view, grantTable(host, domain).entry(ref), { flags, domid: 0, frame: p2m[pfn]! });
  }

  put(nodes: Readonly<Record<string, string | number>>): void {
    for (const [key, value] of Object.entries(nodes)) this.store.write(`${this.paths.frontend}/${key}`, String(value));
  }

  offer(more: Readonly<Record<string, string | number>> = {}): void {
    for (const ring of [this.tx, this.rx]) {
      this.machine.memory.bytes.fill(0, ring, ring + 4096);
      this.view.setUint32(ring + 4, 1, true);
      this.view.setUint32(ring + 12, 1, true);
    }
    this.#sent = this.#answered = this.#posted = this.#received = 0;
    this.machine.call(32, 6, this.machine.poke(0x200, 0x7ff0n));
    this.port = this.view.getUint32(this.machine.p2m[0x200]! * 4096 + 4, true);
    this.put({ 'tx-ring-ref': TX_REF, 'rx-ring-ref': RX_REF, 'event-channel': this.port, 'request-rx-copy': 1, ...more });
  }

  connect(): this {
    this.offer();
    this.put({ state: 4 });
    return this;
  }

  /** Puts slots, tells of them, and takes the statuses of the answers. */
  send(...slots: readonly TxSlot[]): number[] {
    for (const slot of slots) {
      const maddr = this.tx + 64 + (this.#sent % ENTRIES) * netif_tx_request.size;
      const id = this.#sent++;
      if (Array.isArray(slot)) this.machine.memory.bytes.set(slot as number[], maddr);
      else netif_tx_request.write(this.view, maddr, { gref: OUT_REF, offset: 0, flags: 0, id, ...(slot as { size: number }) });
    }
    this.view.setUint32(this.tx, this.#sent, true);
    this.notify();
    const statuses: number[] = [];
    for (const end = this.view.getUint32(this.tx + 8, true); this.#answered !== end; this.#answered++) {
      statuses.push(netif_tx_response.read(this.view, this.tx + 64 + (this.#answered % ENTRIES) * netif_tx_request.size).status);
    }
    this.view.setUint32(this.tx + 12, this.#answered + 1, true);
    return statuses;
  }

  /** Gives pages to receive into. */
  post(count: number, gref = IN_REF): void {
    for (let i = 0; i < count; i++) {
      const maddr = this.rx + 64 + (this.#posted % ENTRIES) * netif_rx_request.size;
      netif_rx_request.write(this.view, maddr, { id: this.#posted++, gref });
    }
    this.view.setUint32(this.rx, this.#posted, true);
    this.notify();
  }

  /** The lengths, or negative statuses, of what has come since the last time. */
  received(): number[] {
    const lengths: number[] = [];
    for (const end = this.view.getUint32(this.rx + 8, true); this.#received !== end; this.#received++) {
      lengths.push(netif_rx_response.read(this.view, this.rx + 64 + (this.#received % ENTRIES) * netif_rx_request.size).status);
    }
    this.view.setUint32(this.rx + 12, this.#received + 1, true);
    return lengths;
  }

  notify(): void {
    this.machine.call(32, 4, this.machine.poke(0x200, this.port));
  }
}
