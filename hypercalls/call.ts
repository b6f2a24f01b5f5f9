/**
 * A hypercall in progress. `Call` is what a handler sees of it; its raw numbers lie in the registers and the struct of this
 * file, which calls use one after the other. `CallRecord` keeps them for the trace and the crash report, `CallRing` a vCPU's
 * last 16.
 */
import type { Domain } from '../emulator/domain.ts';
import type { Host } from '../emulator/host.ts';
import { defineSlot } from '../emulator/slot.ts';
import type { Vcpu } from '../emulator/vcpu.ts';

/** Room for the largest op struct. */
export const STRUCT_SIZE = 1536;

/** RDI, RSI, RDX, R10, R8, R9 of the call that runs. A nested call puts back what it found. */
export const registers = new BigUint64Array(6);
export const registerWords = new Int32Array(registers.buffer);
export const registerView = new DataView(registers.buffer);

/** Its op's struct as read, later with its out fields; of a batch the current element. */
export const structBytes = new Uint8Array(STRUCT_SIZE);
export const structWords = new Int32Array(structBytes.buffer);
export const structView = new DataView(structBytes.buffer);

/**
 * Copies words, up to three more than `count`. What is written out costs V8 one look at a typed array's bounds and place, a
 * turn of a loop each one of its own.
 */
export function copyWords(to: Int32Array, at: number, from: Int32Array, start: number, count: number): void {
  for (let i = 0; i < count; i += 4) {
    to[at + i] = from[start + i]!;
    to[at + i + 1] = from[start + i + 1]!;
    to[at + i + 2] = from[start + i + 2]!;
    to[at + i + 3] = from[start + i + 3]!;
  }
}

export class CallRecord {
  nr = -1;
  /** The registers as they were at the call, or what is left to do when it will be made again. */
  readonly args = new BigUint64Array(6);
  readonly words = new Int32Array(this.args.buffer);
  readonly argView = new DataView(this.args.buffer);
  /** The op's struct, of a batch the first element: as read, later with its out fields. */
  readonly bytes = new Uint8Array(STRUCT_SIZE);
  readonly view = new DataView(this.bytes.buffer);
  readonly #structWords = new Int32Array(this.bytes.buffer);
  /** The struct could be read, or needs no reading. */
  hasStruct = false;
  /** RAX, signed. */
  result: number | bigint = 0;
  state: 'unused' | 'running' | 'done' | 'again' = 'unused';

  /** A call with its `count` arguments in the registers. */
  begin(nr: number, count: number): void {
    this.nr = nr;
    this.state = 'running';
    this.hasStruct = false;
    copyWords(this.words, 0, registerWords, 0, 2 * count);
  }

  end(outcome: Outcome, count: number): void {
    if (outcome === MADE_AGAIN) {
      this.state = 'again';
      copyWords(this.words, 0, registerWords, 0, 2 * count);
    } else {
      this.state = 'done';
      this.result = outcome;
    }
  }

  /** Its bytes `[start, end)`. */
  keepStruct(start: number, end: number): void {
    const first = start >> 2;
    copyWords(this.#structWords, first, structWords, first, ((end + 3) >> 2) - first);
    this.hasStruct = true;
  }
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

export const callRing = defineSlot<Vcpu, CallRing>(() => new CallRing(), { name: 'call_ring', isTransient: true });

/** Result of a call that the guest will make again (see AGAIN). */
export type Outcome = number | bigint | typeof MADE_AGAIN;
export const MADE_AGAIN = undefined;

/** Performs another call: its six arguments are at `at`. After MADE_AGAIN, `left` is what there is left to do. */
export type Perform = (nr: number, view: DataView, at: number) => Outcome;

/** The first arguments, as many as the call has. */
export const left = {
  words: new Int32Array(2 * 6),
  count: 0,

  /** Out of the registers. */
  set(count: number): void {
    this.count = count;
    copyWords(this.words, 0, registerWords, 0, 2 * count);
  },
};

/** One for each machine: the handlers' view of the call that runs now. Valid until the handler returns. */
export class Call {
  readonly host: Host;
  vcpu!: Vcpu;
  /** Of the vCPU. */
  ring!: CallRing;
  /** The six raw arguments. A handler that returns AGAIN has changed them to what is left to do. */
  readonly args = registers;
  isInMulticall = false;
  /** For multicall and the calls of old. */
  readonly perform: Perform;

  constructor(host: Host, perform: Perform) {
    this.host = host;
    this.perform = perform;
  }

  get domain(): Domain {
    return this.vcpu.domain;
  }
}
