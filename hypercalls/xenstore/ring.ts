/**
 * xenstored's end of a domain's xenstore ring: struct xenstore_domain_interface, two byte streams in a page shared with the
 * guest. Cuts the requests out of `req`, gives them to the store, and puts answers and watch events into `rsp`, in pieces
 * when the guest is slow. xen:public/io/xs_wire.h. The guest can write anything there: indices are checked at each use, and
 * what cannot be ends the connection, as xenstored does.
 */
import type { PhysicalMemory } from '../../emulator/cpu/interface.ts';
import { PAGE_SIZE } from '../../emulator/memory/machine_memory.ts';
import { Connection, type Message, type SavedConnection } from './connection.ts';
import type { XenStore } from './store.ts';
import {
  isPossible,
  xenstore_domain_interface as ring,
  XENSTORE_ERROR_PROTO,
  XENSTORE_ERROR_RINGIDX,
  XENSTORE_PAYLOAD_MAX,
  XENSTORE_RING_SIZE,
  XS_WATCH_EVENT,
  xsd_sockmsg_size,
} from './wire.ts';

/** So many messages may wait for the guest to read them before its next request is taken. */
const MAX_OUTSTANDING = 20;
/** Watch events beyond this many waiting bytes are lost: the guest does not read. */
const MAX_WAITING_SIZE = (2 << 20) + (512 << 10);

/** What is on its way, as plain data. */
export interface SavedRing {
  readonly connection: SavedConnection;
  /** Of a request, the part that has come. */
  readonly request: Uint8Array;
  readonly waiting: readonly Uint8Array[];
  readonly sentSize: number;
  readonly isClosed: boolean;
}

export class XenstoreRing {
  readonly #connection: Connection;
  readonly #memory: PhysicalMemory;
  readonly #base: number;
  readonly #notify: () => void;
  readonly #request = new Uint8Array(xsd_sockmsg_size + XENSTORE_PAYLOAD_MAX);
  #requestSize = 0;
  #waiting: Uint8Array[] = [];
  #waitingSize = 0;
  /** Bytes of the first waiting message that are in the ring already. */
  #sentSize = 0;
  #isBusy = false;
  #isClosed = false;

  constructor(store: XenStore, domain: { readonly id: number }, memory: PhysicalMemory, mfn: number, notify: () => void) {
    this.#memory = memory;
    this.#base = mfn * PAGE_SIZE;
    this.#notify = notify;
    this.#connection = new Connection(store, domain.id, (message) => this.#send(message));
  }

  /** The guest signalled: there is a request, or room for answers. Harmless at any other time. */
  onEvent(): void {
    if (!this.#isBusy) this.#move(() => this.#transmit() || this.#receive());
  }

  /** The domain is gone: its watches and transactions end. */
  close(): void {
    this.#isClosed = true;
    this.#waiting = [];
    this.#connection.close();
  }

  save(): SavedRing {
    return {
      connection: this.#connection.save(),
      request: this.#request.slice(0, this.#requestSize),
      waiting: this.#waiting,
      sentSize: this.#sentSize,
      isClosed: this.#isClosed,
    };
  }

  /** Into a new one, in whose store the domain's nodes are again. */
  load({ connection, request, waiting, sentSize, isClosed }: SavedRing): void {
    if (isClosed) this.close();
    else this.#connection.load(connection);
    this.#request.set(request);
    this.#requestSize = request.length;
    this.#waiting = [...waiting];
    this.#waitingSize = waiting.reduce((sum, { length }) => sum + length, 0);
    this.#sentSize = sentSize;
  }

  /** Does `step` until it has nothing left to do, and signals the guest if anything was. */
  #move(step: () => boolean): void {
    this.#isBusy = true;
    let moved = false;
    while (!this.#isClosed && step()) moved = true;
    this.#isBusy = false;
    if (moved) this.#notify();
  }

  #send(message: Message): void {
    if (this.#isClosed) return;
    const bytes = encode(message);
    if (message.type === XS_WATCH_EVENT && (this.#waitingSize + bytes.length > MAX_WAITING_SIZE || this.#isWaiting(bytes))) return;
    this.#waiting.push(bytes);
    this.#waitingSize += bytes.length;
    // Somebody else's doing: the guest's own requests are taken when it signals.
    if (!this.#isBusy) this.#move(() => this.#transmit());
  }

  /** An event that waits unread is not repeated. */
  #isWaiting(event: Uint8Array): boolean {
    return this.#waiting.some(
      (bytes, i) => (i > 0 || this.#sentSize === 0) && bytes.length === event.length && bytes.every((byte, j) => byte === event[j]),
    );
  }

  /** Moves bytes of the waiting messages into the ring; false when none moved. */
  #transmit(): boolean {
    const message = this.#waiting[0];
    if (message === undefined) return false;
    const consumed = this.#get(ring.rsp_cons);
    const produced = this.#get(ring.rsp_prod);
    if (!isPossible(consumed, produced, XENSTORE_RING_SIZE)) return this.#break(XENSTORE_ERROR_RINGIDX);
    const room = XENSTORE_RING_SIZE - ((produced - consumed) >>> 0);
    const size = Math.min(room, message.length - this.#sentSize);
    for (let i = 0; i < size; i++) {
      this.#memory.bytes[this.#base + ring.rsp + ((produced + i) % XENSTORE_RING_SIZE)] = message[this.#sentSize + i]!;
    }
    this.#sentSize += size;
    if (this.#sentSize === message.length) {
      this.#waiting.shift();
      this.#waitingSize -= message.length;
      this.#sentSize = 0;
    }
    this.#memory.written(this.#base + ring.rsp, XENSTORE_RING_SIZE);
    this.#set(ring.rsp_prod, produced + size);
    return size > 0;
  }

  /** Takes bytes of the request that is arriving, and answers it when it is whole; false when there are none. */
  #receive(): boolean {
    if (this.#waiting.length >= MAX_OUTSTANDING) return false;
    const consumed = this.#get(ring.req_cons);
    const produced = this.#get(ring.req_prod);
    if (!isPossible(consumed, produced, XENSTORE_RING_SIZE)) return this.#break(XENSTORE_ERROR_RINGIDX);
    const header = new DataView(this.#request.buffer);
    const bodySize = this.#requestSize < xsd_sockmsg_size ? 0 : header.getUint32(12, true);
    const size = Math.min((produced - consumed) >>> 0, xsd_sockmsg_size + bodySize - this.#requestSize);
    for (let i = 0; i < size; i++) {
      this.#request[this.#requestSize++] = this.#memory.bytes[this.#base + ring.req + ((consumed + i) % XENSTORE_RING_SIZE)]!;
    }
    this.#set(ring.req_cons, consumed + size);
    if (this.#requestSize < xsd_sockmsg_size) return size > 0;
    const wantedSize = header.getUint32(12, true);
    if (wantedSize > XENSTORE_PAYLOAD_MAX) return this.#break(XENSTORE_ERROR_PROTO);
    if (this.#requestSize < xsd_sockmsg_size + wantedSize) return size > 0;
    this.#requestSize = 0;
    this.#connection.handle({
      type: header.getUint32(0, true),
      requestId: header.getUint32(4, true),
      transactionId: header.getUint32(8, true),
      body: this.#request.slice(xsd_sockmsg_size, xsd_sockmsg_size + wantedSize),
    });
    return true;
  }

  #break(error: number): false {
    this.#set(ring.error, error);
    this.close();
    return false;
  }

  #get(field: number): number {
    return this.#memory.view.getUint32(this.#base + field, true);
  }

  #set(field: number, value: number): void {
    this.#memory.view.setUint32(this.#base + field, value, true);
    this.#memory.written(this.#base + field, 4);
  }
}

function encode({ type, requestId, transactionId, body }: Message): Uint8Array {
  const bytes = new Uint8Array(xsd_sockmsg_size + body.length);
  const header = new DataView(bytes.buffer);
  header.setUint32(0, type, true);
  header.setUint32(4, requestId, true);
  header.setUint32(8, transactionId, true);
  header.setUint32(12, body.length, true);
  bytes.set(body, xsd_sockmsg_size);
  return bytes;
}
