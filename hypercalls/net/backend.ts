/**
 * The back end of one virtual network interface, as Linux's netback is one: its `state` node follows the front end's, and
 * between the two ends of a connection it serves their rings (transmitter.ts, receiver.ts). What the front end offers
 * wrongly stands in an `error` node, and the state is Connected all the same; who fills a ring with nonsense is served no
 * more, ever. xen:public/io/netif.h, linux:drivers/net/xen-netback/xenbus.c.
 */
import type { Domain } from '../../emulator/domain.ts';
import type { Host } from '../../emulator/host.ts';
import { netif_rx_request, netif_tx_request } from '../abi/netif.ts';
import { XenbusState } from '../abi/xenbus.ts';
import { connectToHost, type HostChannel } from '../event_channel/ports.ts';
import { findHostMapping, type HostMapping, mapToHost } from '../grant_table/toolstack.ts';
import { BackRing } from '../xenbus/back_ring.ts';
import { DeviceNodes, type DevicePaths } from '../xenbus/device_nodes.ts';
import type { XenStore } from '../xenstore/store.ts';
import type { Frame, Network, Port } from './network.ts';
import { Receiver } from './receiver.ts';
import { Transmitter } from './transmitter.ts';

/** What the front end has named. */
interface Offer {
  readonly txRef: number;
  readonly rxRef: number;
  readonly txPort: number;
  /** The same, where one port is for both rings. */
  readonly rxPort: number;
  readonly takesBlankChecksums: boolean;
}

/** As plain data. */
export interface SavedInterface {
  readonly state: number;
  readonly isDisabled: boolean;
  readonly offer: Offer | undefined;
  readonly waiting: readonly Frame[];
}

interface Connection {
  readonly offer: Offer;
  readonly transmitter: Transmitter;
  readonly receiver: Receiver;
  readonly pages: readonly HostMapping[];
  readonly channels: readonly HostChannel[];
}

/** Sees each frame that passes, with the wall clock in nanoseconds. */
export type Capture = (frame: Uint8Array, ns: bigint) => void;

export interface Wiring {
  readonly network: Network;
  readonly capture?: Capture | undefined;
}

export class NetBackend implements Port {
  /** As the guest counts them. */
  readonly statistics = { sentFrames: 0, sentBytes: 0, receivedFrames: 0, receivedBytes: 0 };
  readonly #host: Host;
  readonly #domain: Domain;
  readonly #wiring: Wiring;
  readonly #nodes: DeviceNodes;
  readonly #unwatch: () => void;
  #connection: Connection | undefined;
  #isDisabled = false;
  #isClosed = false;

  /** `saved`: the domain was restored, and its front end goes on with the one that it had. */
  constructor(host: Host, domain: Domain, wiring: Wiring, store: XenStore, paths: DevicePaths, saved?: SavedInterface) {
    this.#host = host;
    this.#domain = domain;
    this.#wiring = wiring;
    this.#nodes = new DeviceNodes(store, paths, saved?.state);
    if (saved) this.#resume(saved);
    else {
      this.#nodes.put({
        'feature-rx-copy': 1,
        'feature-rx-flip': 0,
        'feature-sg': 1,
        'feature-split-event-channels': 1,
        'multi-queue-max-queues': 1,
        'hotplug-status': 'connected',
      });
      this.#nodes.become(XenbusState.InitWait);
    }
    this.#unwatch = this.#nodes.watchState((state) => this.#follow(state));
  }

  save(): SavedInterface {
    const { offer, receiver } = this.#connection ?? {};
    return { state: this.#nodes.state, isDisabled: this.#isDisabled, offer, waiting: receiver?.waiting ?? [] };
  }

  #resume({ isDisabled, offer, waiting }: SavedInterface): void {
    this.#isDisabled = isDisabled;
    if (offer === undefined) return;
    const pages = [offer.txRef, offer.rxRef].map((ref) => findHostMapping(this.#host, this.#domain, ref)!);
    const connection = this.#join(offer, pages, waiting);
    if (connection === undefined) throw new Error('bug: a saved interface has no rings');
    this.#plugIn(connection);
  }

  /** The domain is gone. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#unwatch();
    this.#disconnect();
    this.#nodes.become(XenbusState.Closed);
  }

  /** A frame of the network's. */
  receive(frame: Frame): void {
    const { statistics } = this;
    if (this.#isDisabled || !this.#connection?.receiver.add(frame)) return;
    statistics.receivedFrames++;
    statistics.receivedBytes += frame.bytes.length;
    this.#captureFrame(frame);
    this.#serveReceiver();
  }

  #follow(state: number | undefined): void {
    const nodes = this.#nodes;
    switch (state) {
      case XenbusState.Initialising:
        if (nodes.state === XenbusState.InitWait) return;
        this.#disconnect();
        nodes.become(XenbusState.InitWait);
        return;
      case XenbusState.Connected:
        if (nodes.state === XenbusState.Connected) return;
        this.#connect();
        nodes.become(XenbusState.Connected);
        this.#serveTransmitter();
        return;
      case XenbusState.Closing:
        this.#disconnect();
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
    const connection = this.#open();
    if (typeof connection === 'string') this.#nodes.tellError(connection);
    else this.#plugIn(connection);
  }

  #plugIn(connection: Connection): void {
    this.#connection = connection;
    this.#wiring.network.join(this);
  }

  /** The rings and channels that the front end names; or what is wrong with them. */
  #open(): Connection | string {
    const nodes = this.#nodes;
    const queues = nodes.readNumber('multi-queue-num-queues') ?? 1;
    if (queues !== 1) return `guest requested ${queues} queues, but valid range is 1 - 1.`;
    const txRef = nodes.readNumber('tx-ring-ref');
    const rxRef = nodes.readNumber('rx-ring-ref');
    if (txRef === undefined || rxRef === undefined) return 'reading ring-ref';
    const txPort = nodes.readNumber('event-channel-tx') ?? nodes.readNumber('event-channel');
    const rxPort = nodes.readNumber('event-channel-rx') ?? txPort;
    if (txPort === undefined || rxPort === undefined) return 'reading event-channel(-tx/rx)';
    const takesBlankChecksums = (nodes.readNumber('feature-no-csum-offload') ?? 0) === 0;
    const offer: Offer = { txRef, rxRef, txPort, rxPort, takesBlankChecksums };

    const failure = `mapping shared-frames ${txRef}/${rxRef} port tx ${txPort} rx ${rxPort}`;
    const pages: HostMapping[] = [];
    for (const ref of [txRef, rxRef]) {
      const page = mapToHost(this.#host, this.#domain, ref, false);
      if (page) pages.push(page);
    }
    const connection = pages.length === 2 ? this.#join(offer, pages, []) : undefined;
    if (connection === undefined) for (const page of pages) page.unmap();
    return connection ?? failure;
  }

  #join(offer: Offer, pages: readonly HostMapping[], waiting: readonly Frame[]): Connection | undefined {
    const channels = this.#openChannels(offer);
    if (channels === undefined) return undefined;
    const [tx, rx] = [netif_tx_request, netif_rx_request].map(({ size }, i) => new BackRing(this.#host.memory, pages[i]!.maddr, size));
    const transmitter = new Transmitter(this.#host, this.#domain, tx!, (frame) => this.#send(frame));
    const receiver = new Receiver(this.#host, this.#domain, rx!, offer.takesBlankChecksums, waiting);
    return { offer, transmitter, receiver, pages, channels };
  }

  #openChannels({ txPort, rxPort }: Offer): readonly HostChannel[] | undefined {
    const open = (port: number, onEvent: () => void) => connectToHost(this.#host, this.#domain, onEvent, port);
    const isShared = txPort === rxPort;
    const tx = open(txPort, () => {
      if (isShared) this.#serveReceiver();
      this.#serveTransmitter();
    });
    if (tx === undefined || isShared) return tx && [tx];
    const rx = open(rxPort, () => this.#serveReceiver());
    if (rx === undefined) tx.close();
    return rx && [tx, rx];
  }

  #serveTransmitter(): void {
    if (this.#isDisabled || this.#connection === undefined) return;
    const { transmitter, channels } = this.#connection;
    const { isAwaited, nonsense } = transmitter.serve();
    if (isAwaited) channels[0]!.notify();
    if (nonsense === undefined) return;
    this.#isDisabled = true;
    this.#nodes.tellError(`fatal error; disabling device: ${nonsense}`);
  }

  #serveReceiver(): void {
    if (this.#isDisabled || this.#connection === undefined) return;
    const { receiver, channels } = this.#connection;
    if (receiver.serve()) channels.at(-1)!.notify();
  }

  #send(frame: Frame): void {
    const { statistics } = this;
    statistics.sentFrames++;
    statistics.sentBytes += frame.bytes.length;
    this.#captureFrame(frame);
    this.#wiring.network.send(this, frame);
  }

  #captureFrame({ bytes }: Frame): void {
    const { clock } = this.#host;
    this.#wiring.capture?.(bytes, clock.wallClockAtStart + clock.now());
  }

  #disconnect(): void {
    const connection = this.#connection;
    this.#connection = undefined;
    this.#wiring.network.leave(this);
    for (const channel of connection?.channels ?? []) channel.close();
    for (const page of connection?.pages ?? []) page.unmap();
  }
}
