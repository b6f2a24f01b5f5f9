/**
 * One domain as a client of the store, on the wire and without privilege: its watches, its transactions, and the requests it sends one after the other. What a
 * request does is operations.ts; how its bytes travel is ring.ts.
 */
import { textBytes } from './bytes.ts';
import { MAX_TRANSACTION_NODES } from './nodes.ts';
import { operations } from './operations.ts';
import type { Watch, XenStore } from './store.ts';
import { type SavedTransaction, Transaction } from './transaction.ts';
import type { View } from './tree.ts';
import { XENSTORE_PAYLOAD_MAX, XS_ERROR, XS_WATCH_EVENT, type XsError } from './wire.ts';

/** struct xsd_sockmsg and what follows it. */
export interface Message {
  readonly type: number;
  readonly requestId: number;
  readonly transactionId: number;
  readonly body: Uint8Array;
}

export interface WatchOptions {
  readonly path: string;
  readonly token: string;
  /** So much of a path is left out in its events: the watch was set on a relative one. */
  readonly hiddenSize: number;
}

/** What a domain has going on with the store, as plain data. */
export interface SavedConnection {
  readonly watches: readonly WatchOptions[];
  readonly transactions: readonly (readonly [id: number, SavedTransaction])[];
  readonly nextTransactionId: number;
}

export class Connection {
  readonly store: XenStore;
  readonly domid: number;
  readonly watches: (Watch & WatchOptions)[] = [];
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

  watch({ path, token, hiddenSize }: WatchOptions): void {
    this.watches.push({ path, token, hiddenSize, fire: (changed) => this.sendEvent(changed.slice(hiddenSize), token) });
  }

  startTransaction(): number {
    while (this.transactions.has(this.#nextTransactionId) || this.#nextTransactionId === 0) this.#advanceId();
    const id = this.#nextTransactionId;
    this.#advanceId();
    this.transactions.set(id, new Transaction(this.store.tree, MAX_TRANSACTION_NODES));
    return id;
  }

  save(): SavedConnection {
    return {
      watches: this.watches.map(({ path, token, hiddenSize }) => ({ path, token, hiddenSize })),
      transactions: [...this.transactions].map(([id, transaction]) => [id, transaction.save()]),
      nextTransactionId: this.#nextTransactionId,
    };
  }

  /** The watches do not fire, and the transactions go on, if the store has the nodes again that they were begun with. */
  load({ watches, transactions, nextTransactionId }: SavedConnection): void {
    for (const watch of watches) this.watch(watch);
    for (const [id, saved] of transactions) {
      const transaction = new Transaction(this.store.tree, MAX_TRANSACTION_NODES);
      transaction.load(saved);
      this.transactions.set(id, transaction);
    }
    this.#nextTransactionId = nextTransactionId;
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
