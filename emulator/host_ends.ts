/**
 * The host's ends of a domain: where what the toolstack gave it leads. Its channels come first, because a kernel is told their
 * ports; the rings of its xenstore and its console when their frames are there; its disks and network interfaces in the end.
 * saved_domain.ts takes them along.
 */
import { BlockBackend, type SavedBackend } from '../hypercalls/block/backend.ts';
import { pathsOfDisk, populateDisk } from '../hypercalls/block/device_tree.ts';
import type { Disk } from '../hypercalls/block/disk.ts';
import { ConsoleRing } from '../hypercalls/console/ring.ts';
import { connectToHost, type HostChannel } from '../hypercalls/event_channel/ports.ts';
import { type Capture, NetBackend, type SavedInterface } from '../hypercalls/net/backend.ts';
import { pathsOfInterface, populateInterface } from '../hypercalls/net/device_tree.ts';
import type { Networks } from '../hypercalls/net/network.ts';
import { type SavedRing, XenstoreRing } from '../hypercalls/xenstore/ring.ts';
import type { XenStore } from '../hypercalls/xenstore/store.ts';
import type { Domain } from './domain.ts';
import type { Host } from './host.ts';

export interface DiskSpec {
  /** `xvda` and so on. */
  readonly name: string;
  /** Where it came from, for xenstore. */
  readonly path: string;
  readonly disk: Disk;
}

/** A network interface. */
export interface InterfaceSpec {
  /** `00:16:3e:00:00:01` */
  readonly mac: string;
  /** The name of the network, which all interfaces of the machine with this name share. */
  readonly bridge: string;
  /** Sees what passes. */
  readonly capture?: Capture | undefined;
}

/** What a domain is given beside its rings. */
export interface Devices {
  readonly disks?: readonly DiskSpec[];
  readonly interfaces?: readonly InterfaceSpec[];
}

/** Files and captures are none of a domain: whoever restores it opens them again. */
export interface Media {
  readonly disks: readonly Disk[];
  readonly captures: readonly (Capture | undefined)[];
}

/** What the ends of all domains lead to. */
export interface HostSide {
  readonly host: Host;
  readonly xenstore: XenStore;
  readonly networks: Networks;
  readonly output: (domain: Domain, bytes: Uint8Array) => void;
}

/** Something of the guest's xenstore and of its console. */
interface Ends<T> {
  readonly store: T;
  readonly console: T;
}

/** As plain data. */
export interface SavedEnds {
  readonly uuid: string;
  readonly disks: readonly SavedBackend[];
  readonly interfaces: readonly (SavedInterface & { readonly mac: string; readonly bridge: string })[];
  readonly store: { readonly port: number; readonly mfn: number; readonly ring: SavedRing };
  readonly console: { readonly port: number; readonly mfn: number; readonly typed: Uint8Array };
}

/** The channels of xenstore and console, before there are rings. */
export class HostChannels {
  readonly ports: Ends<number>;
  readonly #side: HostSide;
  readonly #domain: Domain;
  readonly #channels: Ends<HostChannel>;
  #ends: HostEnds | undefined;

  /** New ones, or at the ports that it has. */
  constructor(side: HostSide, domain: Domain, present?: Ends<number>) {
    this.#side = side;
    this.#domain = domain;
    const store = this.#connect(() => this.#ends?.store.onEvent(), present?.store);
    const terminal = this.#connect(() => this.#ends?.console.onEvent(), present?.console);
    this.#channels = { store, console: terminal };
    this.ports = { store: store.port, console: terminal.port };
  }

  #connect(onEvent: () => void, port: number | undefined): HostChannel {
    const channel = connectToHost(this.#side.host, this.#domain, onEvent, port);
    if (channel === undefined) throw new Error(`bug: domain ${this.#domain.id} has no free event channel for the host`);
    return channel;
  }

  open(uuid: string, mfns: Ends<number>): HostEnds {
    this.#ends = new HostEnds(this.#side, this.#domain, uuid, this.#channels, mfns);
    return this.#ends;
  }
}

export class HostEnds {
  readonly uuid: string;
  readonly store: XenstoreRing;
  readonly console: ConsoleRing;
  #disks: readonly { readonly name: string; readonly path: string; readonly backend: BlockBackend }[] = [];
  #interfaces: readonly { readonly mac: string; readonly bridge: string; readonly backend: NetBackend }[] = [];
  readonly #side: HostSide;
  readonly #domain: Domain;
  readonly #channels: Ends<HostChannel>;
  readonly #mfns: Ends<number>;

  constructor(side: HostSide, domain: Domain, uuid: string, channels: Ends<HostChannel>, mfns: Ends<number>) {
    const { ram } = side.host.memory;
    this.uuid = uuid;
    this.#side = side;
    this.#domain = domain;
    this.#channels = channels;
    this.#mfns = mfns;
    this.store = new XenstoreRing(side.xenstore, domain, ram, mfns.store, channels.store.notify);
    this.console = new ConsoleRing(ram, mfns.console, (bytes) => side.output(domain, bytes), channels.console.notify);
  }

  attach({ disks = [], interfaces = [] }: Devices): void {
    const { host, xenstore, networks } = this.#side;
    const domain = this.#domain;
    this.#disks = disks.map(({ name, path, disk }) => {
      const paths = populateDisk(xenstore, domain.id, { name, path, isReadonly: disk.isReadonly });
      return { name, path, backend: new BlockBackend(host, domain, disk, xenstore, paths) };
    });
    this.#interfaces = interfaces.map(({ mac, bridge, capture }, handle) => {
      const paths = populateInterface(xenstore, domain.id, { handle, mac, bridge });
      const wiring = { network: networks.find(bridge), capture };
      return { mac, bridge, backend: new NetBackend(host, domain, wiring, xenstore, paths) };
    });
  }

  save(): SavedEnds {
    const { store, console: terminal } = this.#channels;
    return {
      uuid: this.uuid,
      disks: this.#disks.map(({ backend, ...disk }) => ({ ...disk, ...backend.save() })),
      interfaces: this.#interfaces.map(({ backend, ...each }) => ({ ...each, ...backend.save() })),
      store: { port: store.port, mfn: this.#mfns.store, ring: this.store.save() },
      console: { port: terminal.port, mfn: this.#mfns.console, typed: this.console.save() },
    };
  }

  /** They are as they were; what is in xenstore is there. */
  load(saved: SavedEnds, { disks, captures }: Media): void {
    const { host, xenstore, networks } = this.#side;
    const domain = this.#domain;
    this.store.load(saved.store.ring);
    this.console.load(saved.console.typed);
    this.#disks = saved.disks.map((state, i) => {
      const { name, path } = state;
      return { name, path, backend: new BlockBackend(host, domain, disks[i]!, xenstore, pathsOfDisk(domain.id, name), state) };
    });
    this.#interfaces = saved.interfaces.map(({ mac, bridge, ...state }, handle) => {
      const wiring = { network: networks.find(bridge), capture: captures[handle] };
      return { mac, bridge, backend: new NetBackend(host, domain, wiring, xenstore, pathsOfInterface(domain.id, handle), state) };
    });
  }

  get blockBackends(): readonly BlockBackend[] {
    return this.#disks.map(({ backend }) => backend);
  }

  get netBackends(): readonly NetBackend[] {
    return this.#interfaces.map(({ backend }) => backend);
  }

  /** The guest runs no more: what it has written last is still heard. */
  stop(): void {
    this.console.onEvent();
    for (const backend of [...this.blockBackends, ...this.netBackends]) backend.close();
  }

  close(): void {
    this.store.close();
    for (const channel of [this.#channels.store, this.#channels.console]) channel.close();
  }
}
