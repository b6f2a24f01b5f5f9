/**
 * One domain as a client of the store, on the wire and without privilege: its watches, its transactions, and the requests it sends one after the other. What a
 * request does is operations.ts; how its bytes travel is ring.ts.
 */
import { textBytes } from './bytes.ts';
import { MAX_TRANSACTION_NODES } from './nodes.ts';
import { operations } from './operations.ts';
import type { Watch, XenStore } from './store.ts';
import { Transaction } from './transaction.ts';
import type { View } from './tree.ts';
import { XENSTORE_PAYLOAD_MAX, XS_ERROR, XS_WATCH_EVENT, type XsError } from './wire.ts';

/** struct xsd_sockmsg and what follows it. */
export interface Message {
  readonly type: number;
  readonly requestId: number;
  readonly transactionId: number;
  readonly body: Uint8Array;
}

export class Connection {
  readonly store: XenStore;
  readonly domid: number;
  readonly watches: Watch[] = [];
  readonly transactions = new Map<number, Transaction>();
  readonly #send: (message: Message) => void;
  #nextTransactionId = 1;

  constructor(store: XenStore, domid: number, send: (message: Message) => void) {
    this.store = store;
    this.domid = domid;
    this.#send = send;
    store.connections.add(this);
  }

  handle(request: Message): void {
    const performed = this.#perform(request);
    const answer = performed.length > XENSTORE_PAYLOAD_MAX ? 'E2BIG' : performed;
    if (typeof answer === 'string') this.#reply(request, XS_ERROR, textBytes(`${answer}\0`));
    else {
      this.#reply(request, request.type, answer);
      operations[request.type]?.afterwards?.(this);
    }
  }

  startTransaction(): number {
    while (this.transactions.has(this.#nextTransactionId) || this.#nextTransactionId === 0) this.#advanceId();
    const id = this.#nextTransactionId;
    this.#advanceId();
    this.transactions.set(id, new Transaction(this.store.tree, MAX_TRANSACTION_NODES));
    return id;
  }

  /** Forgets all watches and transactions. */
  reset(): void {
    this.watches.length = 0;
    this.transactions.clear();
  }

  close(): void {
    this.reset();
    this.store.connections.delete(this);
  }

  sendEvent(path: string, token: string): void {
    this.#send({ type: XS_WATCH_EVENT, requestId: 0, transactionId: 0, body: textBytes(`${path}\0${token}\0`) });
  }

  #perform({ type, transactionId, body }: Message): Uint8Array | XsError {
    const operation = operations[type];
    if (operation === undefined) return 'ENOSYS';
    let view: View = this.store.tree;
    if (transactionId !== 0 && !operation.ignoresTransaction) {
      const transaction = this.transactions.get(transactionId);
      if (transaction === undefined) return 'ENOENT';
      view = transaction;
    }
    return operation.perform({ connection: this, view, transactionId, body });
  }

  #reply({ requestId, transactionId }: Message, type: number, body: Uint8Array): void {
    this.#send({ type, requestId, transactionId, body });
  }

  #advanceId(): void {
    this.#nextTransactionId = (this.#nextTransactionId + 1) >>> 0;
  }
}
