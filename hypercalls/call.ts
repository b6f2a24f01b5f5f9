/**
 * A hypercall in progress. `Call` is what a handler sees of it; `CallRecord` keeps the raw numbers of one call, which the
 * dispatcher works in and the trace and the crash report format later; `CallRing` holds a vCPU's last 16.
 */
import type { Domain } from '../emulator/domain.ts';
import type { Host } from '../emulator/host.ts';
import { defineSlot } from '../emulator/slot.ts';
import type { Vcpu } from '../emulator/vcpu.ts';

/** Room for the largest op struct (batches keep their first and their current element here). */
export const RECORD_SIZE = 1536;

export class CallRecord {
  nr = -1;
  /** RDI, RSI, RDX, R10, R8, R9: as they were at the call, or what is left to do when it will be made again. */
  readonly args = new BigUint64Array(6);
  readonly words = new Uint32Array(this.args.buffer);
  readonly argView = new DataView(this.args.buffer);
  /** The op's struct as read, later with its out fields; of a batch the first element, then the current one. */
  readonly bytes = new Uint8Array(RECORD_SIZE);
  readonly view = new DataView(this.bytes.buffer);
  /** The struct could be read, or needs no reading. */
  hasStruct = false;
  /** RAX, signed. */
  result: number | bigint = 0;
  state: 'unused' | 'running' | 'done' | 'again' = 'unused';
}

export class CallRing {
  readonly #records = Array.from({ length: 16 }, () => new CallRecord());
  #next = 0;

  take(): CallRecord {
    const record = this.#records[this.#next]!;
    this.#next = (this.#next + 1) & 15;
    return record;
  }

  /** Oldest first. */
  *[Symbol.iterator](): Iterator<CallRecord> {
    for (let i = 0; i < 16; i++) {
      const record = this.#records[(this.#next + i) & 15]!;
      if (record.state !== 'unused') yield record;
    }
  }
}

export const callRing = defineSlot<Vcpu, CallRing>(() => new CallRing());

/** Result of a call that the guest will make again (see AGAIN). */
export type Outcome = number | bigint | typeof MADE_AGAIN;
export const MADE_AGAIN = undefined;

/** One for each machine: the handlers' view of the call that runs now. Valid until the handler returns. */
export class Call {
  readonly host: Host;
  vcpu!: Vcpu;
  /** The six raw arguments. A handler that returns AGAIN has changed them to what is left to do. */
  args!: BigUint64Array;
  isInMulticall = false;
  /** Performs another call, for multicall: `args` in and (after MADE_AGAIN) out. */
  readonly perform: (nr: number, args: BigUint64Array) => Outcome;

  constructor(host: Host, perform: (nr: number, args: BigUint64Array) => Outcome) {
    this.host = host;
    this.perform = perform;
  }

  get domain(): Domain {
    return this.vcpu.domain;
  }
}
