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
    this.#keepRegisters(count);
  }

  end(outcome: Outcome, count: number): void {
    if (outcome === MADE_AGAIN) {
      this.state = 'again';
      this.#keepRegisters(count);
    } else {
      this.state = 'done';
      this.result = outcome;
    }
  }

  #keepRegisters(count: number): void {
    const { words } = this;
    const from = registerWords;
    for (let i = 0; i < 2 * count; i++) words[i] = from[i]!;
  }

  keepStruct(size: number): void {
    const to = this.#structWords;
    const from = structWords;
    for (let i = 0; i * 4 < size; i++) to[i] = from[i]!;
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

/** Performs another call: its six arguments are the words from `at` on, before and (after MADE_AGAIN) behind. */
export type Perform = (nr: number, words: Int32Array, at: number) => Outcome;

/** One for each machine: the handlers' view of the call that runs now. Valid until the handler returns. */
export class Call {
  readonly host: Host;
  vcpu!: Vcpu;
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
