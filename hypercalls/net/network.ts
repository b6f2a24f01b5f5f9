/**
 * What virtual interfaces are plugged into: frames, and who gets whose. `Bridge` is what Linux's is to a host's vifs; `Loop`
 * is a cable of one interface. Nothing of it reaches a network outside.
 */

export const ETH_ALEN = 6;
export const ETH_HLEN = 14;
/** The header, 1500 bytes, and a VLAN's tag: what a bridge of that MTU lets through. */
const MAX_FRAME = ETH_HLEN + 1500 + 4;
const MAX_LEARNED = 1024;
/** The name of a network that is none: each interface there has a loop of its own. */
export const LOOP = 'loop';

export interface Frame {
  readonly bytes: Uint8Array;
  /** The checksum of its TCP or UDP is that of the pseudo header alone; who sends it outside has to finish it. */
  readonly isChecksumBlank: boolean;
  /** Somebody vouches for that checksum. */
  readonly isValidated: boolean;
}

/** An interface, as a network has it. */
export interface Port {
  receive(frame: Frame): void;
}

export interface Network {
  join(port: Port): void;
  leave(port: Port): void;
  /** A frame of at least an Ethernet header. */
  send(from: Port, frame: Frame): void;
}

const addressAt = (bytes: Uint8Array, offset: number): number =>
  bytes.subarray(offset, offset + ETH_ALEN).reduce((address, byte) => address * 256 + byte, 0);

/** The lowest bit of the first byte. */
const isGroup = (address: number): boolean => Math.floor(address / 2 ** 40) % 2 === 1;

/** 01:80:c2:00:00:00 and the fifteen behind it are for the next bridge alone. */
const isLinkLocal = (address: number): boolean => address >= 0x0180_c200_0000 && address <= 0x0180_c200_000f;

/** Learns who is where from what they send; whom it does not know, all others hear. */
export class Bridge implements Network {
  readonly #ports = new Set<Port>();
  readonly #learned = new Map<number, Port>();

  join(port: Port): void {
    this.#ports.add(port);
  }

  leave(port: Port): void {
    this.#ports.delete(port);
    for (const [address, known] of this.#learned) if (known === port) this.#learned.delete(address);
  }

  send(from: Port, frame: Frame): void {
    const { bytes } = frame;
    const to = addressAt(bytes, 0);
    const source = addressAt(bytes, ETH_ALEN);
    if (isGroup(source) || source === 0 || isLinkLocal(to)) return;
    this.#learn(source, from);
    if (bytes.length > MAX_FRAME) return;
    const known = isGroup(to) ? undefined : this.#learned.get(to);
    for (const port of known === undefined ? this.#ports : [known]) if (port !== from) port.receive(frame);
  }

  /** A guest may call itself anything: the oldest are forgotten. */
  #learn(address: number, port: Port): void {
    this.#learned.delete(address);
    this.#learned.set(address, port);
    if (this.#learned.size <= MAX_LEARNED) return;
    const [oldest] = this.#learned.keys();
    this.#learned.delete(oldest!);
  }
}

/** What is sent comes back, as far as it would come on a bridge. */
export class Loop implements Network {
  join(): void {}

  leave(): void {}

  send(from: Port, frame: Frame): void {
    if (frame.bytes.length <= MAX_FRAME) from.receive(frame);
  }
}

/** The networks of a machine, by name. */
export class Networks {
  readonly #bridges = new Map<string, Bridge>();

  find(name: string): Network {
    if (name === LOOP) return new Loop();
    const bridge = this.#bridges.get(name) ?? new Bridge();
    this.#bridges.set(name, bridge);
    return bridge;
  }
}
