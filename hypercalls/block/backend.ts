/**
 * The back end of one virtual disk, as blkback is one: its `state` node follows the front end's through a connection to its
 * end and to the next one (GRUB's, then Linux's). In between it serves the ring (ring.ts, perform.ts). A front end that
 * gives what cannot be is told so in an `error` node and cut off; the machine goes on. xen:public/io/blkif.h, xenbus.h.
 */
import type { Domain } from '../../emulator/domain.ts';
import type { Host } from '../../emulator/host.ts';
import * as abi from '../abi/blkif.ts';
import { XenbusState } from '../abi/xenbus.ts';
import { connectToHost, type HostChannel } from '../event_channel/ports.ts';
import { findHostMapping, type HostMapping, mapToHost } from '../grant_table/toolstack.ts';
import { DeviceNodes, type DevicePaths } from '../xenbus/device_nodes.ts';
import type { XenStore } from '../xenstore/store.ts';
import { type Disk, SECTOR_SIZE } from './disk.ts';
import { type BlockDevice, perform } from './perform.ts';
import { BlockRing, type Request, ringLayouts } from './ring.ts';

/** What the front end has named. */
interface Offer {
  readonly ref: number;
  readonly port: number;
  readonly protocol: string;
}

/** As plain data. */
export interface SavedBackend {
  readonly name: string;
  readonly path: string;
  readonly sectors: number;
  readonly state: number;
  readonly offer: Offer | undefined;
}

interface Connection {
  readonly offer: Offer;
  readonly page: HostMapping;
  readonly ring: BlockRing;
  readonly channel: HostChannel;
}

export class BlockBackend {
  /** Requests, and the sectors of their segments, as blkback counts them. */
  readonly statistics = { readRequests: 0, writeRequests: 0, readSectors: 0, writtenSectors: 0 };
  readonly #device: BlockDevice;
  readonly #nodes: DeviceNodes;
  readonly #unwatch: () => void;
  #connection: Connection | undefined;
  #isClosed = false;

  /** `saved`: the domain was restored, and its front end goes on with the one that it had. */
  constructor(host: Host, domain: Domain, disk: Disk, store: XenStore, paths: DevicePaths, saved?: SavedBackend) {
    this.#device = { host, domain, disk };
    this.#nodes = new DeviceNodes(store, paths, saved?.state);
    if (saved) this.#resume(saved);
    else {
      this.#putFeatures();
      this.#nodes.become(XenbusState.InitWait);
    }
    this.#unwatch = this.#nodes.watchState((state) => this.#follow(state));
  }

  save(): Pick<SavedBackend, 'sectors' | 'state' | 'offer'> {
    return { sectors: this.#device.disk.sectors, state: this.#nodes.state, offer: this.#connection?.offer };
  }

  #resume({ offer }: SavedBackend): void {
    const { host, domain } = this.#device;
    if (offer === undefined) return;
    const page = findHostMapping(host, domain, offer.ref);
    const connection = page && this.#join(offer, page);
    if (connection === undefined || typeof connection === 'string') throw new Error('bug: a saved disk has no ring');
    this.#connection = connection;
  }

  /** The domain is gone. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#unwatch();
    this.#disconnect();
    this.#nodes.become(XenbusState.Closed);
    this.#device.disk.flush();
  }

  #follow(state: number | undefined): void {
    const nodes = this.#nodes;
    switch (state) {
      case XenbusState.Initialising:
        if (nodes.state === XenbusState.Closed) nodes.become(XenbusState.InitWait);
        return;
      case XenbusState.Initialised:
      case XenbusState.Connected:
        if (nodes.state !== XenbusState.Connected) this.#connect();
        return;
      case XenbusState.Closing:
        nodes.become(XenbusState.Closing);
        return;
      case XenbusState.Closed:
      case undefined:
        this.#disconnect();
        nodes.become(XenbusState.Closed);
        return;
      default:
    }
  }

  #connect(): void {
    this.#disconnect();
    const connection = this.#open();
    if (typeof connection === 'string') {
      this.#fail(connection);
      return;
    }
    this.#connection = connection;
    this.#putGeometry();
    this.#nodes.become(XenbusState.Connected);
    this.#serve();
  }

  /** The ring and the channel that the front end names; or what is wrong with them. */
  #open(): Connection | string {
    const { host, domain } = this.#device;
    const nodes = this.#nodes;
    const protocol = nodes.read('protocol') ?? abi.XEN_IO_PROTO_ABI_NATIVE;
    if (!Object.hasOwn(ringLayouts, protocol)) return `unknown fe protocol ${protocol}`;
    if ((nodes.readNumber('multi-queue-num-queues') ?? 1) > 1) return 'there is one queue';
    if ((nodes.readNumber('ring-page-order') ?? 0) > 0) return 'the ring has one page';
    const ref = nodes.readNumber('ring-ref');
    if (ref === undefined) return 'reading ring-ref';
    const port = nodes.readNumber('event-channel');
    if (port === undefined) return 'reading event-channel';
    const page = mapToHost(host, domain, ref, false);
    if (page === undefined) return `mapping ring-ref ${ref}`;
    const connection = this.#join({ ref, port, protocol }, page);
    if (typeof connection === 'string') page.unmap();
    return connection;
  }

  #join(offer: Offer, page: HostMapping): Connection | string {
    const { host, domain } = this.#device;
    const channel = connectToHost(host, domain, () => this.#serve(), offer.port);
    if (channel === undefined) return `binding event-channel ${offer.port}`;
    return { offer, page, ring: new BlockRing(host.memory, page.maddr, ringLayouts[offer.protocol]!), channel };
  }

  #serve(): void {
    const { ring, channel } = this.#connection ?? {};
    switch (ring?.serve((request) => this.#perform(request))) {
      case 'notify':
        channel?.notify();
        return;
      case 'impossible':
        this.#fail('bogus ring requests');
        return;
      default:
    }
  }

  #perform(request: Request): number {
    const { statistics } = this;
    const { operation, nr_segments, seg } = request;
    const status = perform(this.#device, request);
    if (operation === abi.BLKIF_OP_READ) statistics.readRequests++;
    if (operation === abi.BLKIF_OP_WRITE) statistics.writeRequests++;
    if (status !== abi.BLKIF_RSP_OKAY || operation === abi.BLKIF_OP_DISCARD) return status;
    const sectors = seg.slice(0, nr_segments).reduce((sum, { first_sect, last_sect }) => sum + last_sect - first_sect + 1, 0);
    if (operation === abi.BLKIF_OP_READ) statistics.readSectors += sectors;
    else statistics.writtenSectors += sectors;
    return status;
  }

  #disconnect(): void {
    const connection = this.#connection;
    this.#connection = undefined;
    connection?.channel.close();
    connection?.page.unmap();
  }

  #fail(why: string): void {
    this.#disconnect();
    this.#nodes.tellError(why);
    this.#nodes.become(XenbusState.Closing);
  }

  #putFeatures(): void {
    this.#nodes.put({
      'feature-flush-cache': 1,
      'feature-barrier': 1,
      'feature-discard': 1,
      'discard-granularity': SECTOR_SIZE,
      'discard-secure': 0,
    });
  }

  #putGeometry(): void {
    const { sectors, isReadonly } = this.#device.disk;
    this.#nodes.put({
      sectors,
      info: isReadonly ? abi.VDISK_READONLY : 0,
      'sector-size': SECTOR_SIZE,
      'physical-sector-size': SECTOR_SIZE,
    });
  }
}
