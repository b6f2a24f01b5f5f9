/** The front end of a virtual disk, written into a guest that does not run: its nodes, its ring, its grants, its event channel. */
import { GTF_permit_access, grant_entry_v1 } from '../../hypercalls/abi/grant_table.ts';
import { BlockBackend } from '../../hypercalls/block/backend.ts';
import { populateDisk } from '../../hypercalls/block/device_tree.ts';
import { type Disk, SECTOR_SIZE } from '../../hypercalls/block/disk.ts';
import { ringLayouts } from '../../hypercalls/block/ring.ts';
import { grantTable } from '../../hypercalls/grant_table/table.ts';
import type { DevicePaths } from '../../hypercalls/xenbus/device_nodes.ts';
import { XenStore } from '../../hypercalls/xenstore/store.ts';
import { FakeHost } from './fake_host.ts';

/** A disk in memory that writes down what is asked of it; `isBroken` makes everything fail. */
export class MemoryDisk implements Disk {
  readonly bytes: Uint8Array;
  readonly isReadonly: boolean;
  readonly log: string[] = [];
  isBroken = false;

  /** What is on it, or how many sectors of anything. */
  constructor(contents: Uint8Array | number, isReadonly = false) {
    this.bytes =
      typeof contents === 'number' ? Uint8Array.from({ length: contents * SECTOR_SIZE }, (_, i) => i / SECTOR_SIZE + i * 7) : contents;
    this.isReadonly = isReadonly;
  }

  get sectors(): number {
    return this.bytes.length / SECTOR_SIZE;
  }

  part(sector: number, count = 1): Uint8Array {
    return this.bytes.subarray(sector * SECTOR_SIZE, (sector + count) * SECTOR_SIZE);
  }

  read(sector: number, into: Uint8Array): boolean {
    return this.#note(`read ${sector}+${into.length / SECTOR_SIZE}`, () => into.set(this.part(sector, into.length / SECTOR_SIZE)));
  }

  write(sector: number, from: Uint8Array): boolean {
    return this.#note(`write ${sector}+${from.length / SECTOR_SIZE}`, () => this.bytes.set(from, sector * SECTOR_SIZE));
  }

  flush(): boolean {
    return this.#note('flush', () => {});
  }

  discard(sector: number, count: number): boolean {
    return this.#note(`discard ${sector}+${count}`, () => this.part(sector, count).fill(0));
  }

  #note(line: string, access: () => void): boolean {
    this.log.push(line);
    if (!this.isBroken) access();
    return !this.isBroken;
  }
}

export interface Segment {
  readonly gref: number;
  readonly first_sect?: number;
  readonly last_sect?: number;
}

export interface Asked {
  readonly operation: number;
  readonly sector?: bigint | number;
  readonly segments?: readonly Segment[];
  /** Default: as many as there are segments. */
  readonly nr_segments?: number;
  readonly nr_sectors?: bigint;
}

/** Scratch pages of the guest. */
const RING = 0x210;
const DATA = 0x220;
export const RING_REF = 8;
/** `gref(0)` grants the first page of data for writing, `gref(i)` the next ones. */
export const gref = (i: number): number => 16 + i;

export class BlockFront {
  readonly machine = new FakeHost();
  readonly store = new XenStore();
  readonly disk: MemoryDisk;
  readonly paths: DevicePaths;
  readonly backend: BlockBackend;
  protocol = 'x86_64-abi';
  port = 0;
  #produced = 0;
  #consumed = 0;

  constructor(disk = new MemoryDisk(64)) {
    this.disk = disk;
    const { id } = this.machine.domain;
    this.store.introduce(id);
    this.paths = populateDisk(this.store, id, { name: 'xvda', path: '/images/a.img', isReadonly: disk.isReadonly });
    this.grant(RING_REF, RING);
    for (let i = 0; i < 12; i++) this.grant(gref(i), DATA + i);
    this.backend = new BlockBackend(this.machine.host, this.machine.domain, disk, this.store, this.paths);
  }

  /** The back end's. */
  get state(): string | undefined {
    return this.store.read(`${this.paths.backend}/state`);
  }

  get error(): string | undefined {
    return this.store.read('/local/domain/0/error/backend/vbd/1/51712/error');
  }

  get view(): DataView {
    return this.machine.memory.view;
  }

  page(i: number): Uint8Array {
    return this.machine.memory.frameBytes(this.machine.p2m[DATA + i]!);
  }

  get ring(): number {
    return this.machine.p2m[RING]! * 4096;
  }

  grant(ref: number, pfn: number, flags = GTF_permit_access): void {
    const { host, domain, p2m } = this.machine;
    grant_entry_v1.write(this.view, grantTable(host, domain).entry(ref), { flags, domid: 0, frame: p2m[pfn]! });
  }

  /** The guest's view of an entry of its grant table. */
  flags(ref: number): number {
    const { host, domain } = this.machine;
    return grant_entry_v1.read(this.view, grantTable(host, domain).entry(ref)).flags;
  }

  put(nodes: Readonly<Record<string, string | number>>): void {
    for (const [key, value] of Object.entries(nodes)) this.store.write(`${this.paths.frontend}/${key}`, String(value));
  }

  /** An empty ring, a port that waits for domain 0, and the nodes that name them. */
  offer(more: Readonly<Record<string, string | number>> = {}): void {
    this.machine.memory.bytes.fill(0, this.ring, this.ring + 4096);
    this.view.setUint32(this.ring + 4, 1, true);
    this.view.setUint32(this.ring + 12, 1, true);
    this.#produced = this.#consumed = 0;
    const argument = this.machine.poke(0x200, 0x7ff0n);
    this.machine.call(32, 6, argument);
    this.port = this.view.getUint32(this.machine.p2m[0x200]! * 4096 + 4, true);
    this.put({ 'ring-ref': RING_REF, 'event-channel': this.port, protocol: this.protocol, ...more });
  }

  connect(): this {
    this.offer();
    this.put({ state: 3 });
    this.put({ state: 4 });
    return this;
  }

  /** Puts requests, tells of them, and takes the responses: their statuses. */
  ask(...requests: readonly Asked[]): number[] {
    for (const [i, request] of requests.entries()) this.push(request, 0x1234_5678_9abcn + BigInt(i));
    this.notify();
    const { response } = ringLayouts[this.protocol]!;
    const statuses: number[] = [];
    for (const [i, { operation }] of requests.entries()) {
      if (this.view.getUint32(this.ring + 8, true) === this.#consumed) break;
      const answer = response.read(this.view, this.entry(this.#consumed++));
      if (answer.id !== 0x1234_5678_9abcn + BigInt(i) || answer.operation !== operation) throw new Error('not the answer to this request');
      statuses.push(answer.status);
    }
    this.view.setUint32(this.ring + 12, this.#consumed + 1, true);
    return statuses;
  }

  push({ operation, sector = 0, segments = [], nr_segments = segments.length, nr_sectors }: Asked, id: bigint): void {
    const { request, discard } = ringLayouts[this.protocol]!;
    const maddr = this.entry(this.#produced++);
    const seg = Array.from({ length: 11 }, (_, i) => ({ gref: 0, first_sect: 0, last_sect: 7, ...segments[i] }));
    const head = { operation, handle: 51712, id, sector_number: BigInt.asUintN(64, BigInt(sector)) };
    if (nr_sectors === undefined) request.write(this.view, maddr, { ...head, nr_segments, seg });
    else discard.write(this.view, maddr, { ...head, flag: 0, nr_sectors });
    this.view.setUint32(this.ring, this.#produced, true);
  }

  entry(index: number): number {
    return this.ring + 64 + (index % 32) * ringLayouts[this.protocol]!.request.size;
  }

  notify(): void {
    this.machine.call(32, 4, this.machine.poke(0x200, this.port));
  }
}
