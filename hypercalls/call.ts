/**
 * A hypercall in progress. `Call` is what a handler sees of it; its raw numbers lie in the registers and the struct of this
 * file, which calls use one after the other. `CallRecord` keeps them for the trace and the crash report, `CallRing` a vCPU's
 * last 16.
 */
import type { KnownPlaces } from '../emulator/cpu/known_places.ts';
import type { Domain } from '../emulator/domain.ts';
import type { Host } from '../emulator/host.ts';
import { defineSlot } from '../emulator/slot.ts';
import type { Vcpu } from '../emulator/vcpu.ts';

/** Room for the largest op struct. */
export const STRUCT_SIZE = 1536;

/** RDI, RSI, RDX, R10, R8, R9 of the call that runs. A nested call leaves its own there. */
export const registers = new BigUint64Array(6);
export const registerWords = new Int32Array(registers.buffer);
export const registerView = new DataView(registers.buffer);

/** Its op's struct as read, later with its out fields; of a batch the current element. */
export const structBytes = new Uint8Array(STRUCT_SIZE);
export const structWords = new Int32Array(structBytes.buffer);
export const structHalfwords = new Uint16Array(structBytes.buffer);
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

const RING_SIZE = 16;

export class CallRecord {
  /** -1: it was never used. */
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
  /** RAX, signed; undefined until the call is over. */
  result: Outcome | undefined;
  /** In its ring. */
  following!: CallRecord;

  /** A call begins, with these halves of RDI and RSI. */
  begin(nr: number, rdiLow: number, rdiHigh: number, rsiLow: number, rsiHigh: number): void {
    const to = registerWords;
    const { words } = this;
    this.nr = nr;
    this.result = undefined;
    this.hasStruct = false;
    to[0] = words[0] = rdiLow;
    to[1] = words[1] = rdiHigh;
    to[2] = words[2] = rsiLow;
    to[3] = words[3] = rsiHigh;
  }

  /** Its third and fourth argument, or its fifth and sixth. */
  add(first: number, low: number, high: number, nextLow: number, nextHigh: number): void {
    const to = registerWords;
    const { words } = this;
    to[2 * first] = words[2 * first] = low;
    to[2 * first + 1] = words[2 * first + 1] = high;
    to[2 * first + 2] = words[2 * first + 2] = nextLow;
    to[2 * first + 3] = words[2 * first + 3] = nextHigh;
  }

  /** The guest will make it again with what is in the first `count` registers. */
  leave(count: number): void {
    copyWords(this.words, 0, registerWords, 0, 2 * count);
  }

  /** The struct is these words of memory; perhaps some are read that are behind it. */
  takeStruct(from: Int32Array, start: number, count: number): void {
    const to = this.#structWords;
    for (let i = 0; i < count; i += 4) {
      to[i] = structWords[i] = from[start + i]!;
      to[i + 1] = structWords[i + 1] = from[start + i + 1]!;
      to[i + 2] = structWords[i + 2] = from[start + i + 2]!;
      to[i + 3] = structWords[i + 3] = from[start + i + 3]!;
    }
    this.hasStruct = true;
  }

  /** Its words with the bytes `[start, end)`. */
  keepStruct(start: number, end: number): void {
    const to = this.#structWords;
    for (let i = start >> 2; i << 2 < end; i++) to[i] = structWords[i]!;
    this.hasStruct = true;
  }
}

export class CallRing {
  /** The oldest, which the next call takes. */
  next: CallRecord;

  constructor() {
    const records = Array.from({ length: RING_SIZE }, () => new CallRecord());
    records.forEach((record, i) => {
      record.following = records[(i + 1) % RING_SIZE]!;
    });
    this.next = records[0]!;
  }

  take(): CallRecord {
    const record = this.next;
    this.next = record.following;
    return record;
  }

  /** Oldest first. */
  *[Symbol.iterator](): Iterator<CallRecord> {
    let record = this.next;
    for (let i = 0; i < RING_SIZE; i++, record = record.following) if (record.nr >= 0) yield record;
  }
}

export const callRing = defineSlot<Vcpu, CallRing>(() => new CallRing(), { name: 'call_ring', isTransient: true });

/** Result of a call that the guest will make again (see AGAIN). Null, as V8 takes a constant that is undefined for one to come. */
export const MADE_AGAIN = null;
export type Outcome = number | bigint | typeof MADE_AGAIN;

/** One for each vCPU: the handlers' view of the call that runs now. Valid until the handler returns. */
export abstract class Call {
  readonly host: Host;
  readonly vcpu: Vcpu;
  readonly domain: Domain;
  /** Where its structs may lie, to be found at once. */
  readonly known: KnownPlaces;
  /** The six raw arguments. A handler that returns AGAIN has changed them to what is left to do. */
  readonly args = registers;
  isInMulticall = false;
  /** How many arguments the call has that is to be made again. */
  leftCount = 0;

  constructor(host: Host, vcpu: Vcpu) {
    this.host = host;
    this.vcpu = vcpu;
    this.domain = vcpu.domain;
    this.known = vcpu.domain.isPv ? host.cpu.known : host.cpu.knownInside;
  }

  /**
   * For multicall and the calls of old: another call, whose six arguments begin at `words[at]`. After MADE_AGAIN the registers
   * have what is left to do.
   */
  abstract perform(nr: number, words: Int32Array, at: number): Outcome;
}
