/** The guest's side of a xenstore ring in a test: a page of memory, and the bytes that go through it. */
import { XenstoreRing } from '../../../hypercalls/xenstore/ring.ts';
import type { XenStore } from '../../../hypercalls/xenstore/store.ts';
import { xenstore_domain_interface as ring } from '../../../hypercalls/xenstore/wire.ts';
import { pageOfMemory } from '../memory.ts';
import { encodeMessage, type Message } from './session.ts';

const RING_SIZE = 1024;

export class RingGuest {
  readonly memory = pageOfMemory();
  readonly ring: XenstoreRing;
  notified = 0;
  #arrived: number[] = [];

  constructor(store: XenStore, domid: number) {
    this.ring = new XenstoreRing(store, { id: domid }, this.memory, 0, () => this.notified++);
  }

  peek(offset: number): number {
    return this.memory.view.getUint32(offset, true);
  }

  poke(offset: number, value: number): void {
    this.memory.view.setUint32(offset, value, true);
  }

  /** Writes as the ring has room, and reads meanwhile. */
  send(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; ) {
      const produced = this.peek(ring.req_prod);
      const size = Math.min(bytes.length - at, RING_SIZE - ((produced - this.peek(ring.req_cons)) >>> 0));
      for (let i = 0; i < size; i++) this.memory.bytes[ring.req + ((produced + i) % RING_SIZE)] = bytes[at + i]!;
      this.poke(ring.req_prod, produced + size);
      at += size;
      this.ring.onEvent();
      if (size === 0 && !this.#drain()) throw new Error('the ring is stuck');
    }
  }

  /** All that has come. */
  receive(): Message[] {
    while (this.#drain());
    const messages: Message[] = [];
    const view = new DataView(Uint8Array.from(this.#arrived).buffer);
    let at = 0;
    while (at + 16 <= view.byteLength && at + 16 + view.getUint32(at + 12, true) <= view.byteLength) {
      const [type, requestId, transactionId, size] = [0, 4, 8, 12].map((offset) => view.getUint32(at + offset, true)) as [
        number,
        number,
        number,
        number,
      ];
      messages.push({ type, requestId, transactionId, body: String.fromCharCode(...this.#arrived.slice(at + 16, at + 16 + size)) });
      at += 16 + size;
    }
    this.#arrived.splice(0, at);
    return messages;
  }

  /** One request and all that comes back. */
  ask(type: number, body: string, transactionId = 0): Message[] {
    this.send(encodeMessage({ type, requestId: 1, transactionId, body }));
    return this.receive();
  }

  #drain(): boolean {
    const consumed = this.peek(ring.rsp_cons);
    const size = (this.peek(ring.rsp_prod) - consumed) >>> 0;
    for (let i = 0; i < size; i++) this.#arrived.push(this.memory.bytes[ring.rsp + ((consumed + i) % RING_SIZE)]!);
    if (size === 0) return false;
    this.poke(ring.rsp_cons, consumed + size);
    this.ring.onEvent();
    return true;
  }
}
