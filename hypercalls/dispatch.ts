/**
 * Number -> row -> decoded arguments -> handler -> RAX. The trap layer has a `Caller` do a PV64 guest kernel's SYSCALL
 * (or a PVH guest's VMCALL); which families there are is all.ts's business.
 */
import { R8, R9, R10, RAX, RDI, RDX, RSI } from '../emulator/cpu/interface.ts';
import type { Host } from '../emulator/host.ts';
import { defineSlot } from '../emulator/slot.ts';
import type { Timeline } from '../emulator/timeline/timeline.ts';
import type { Vcpu } from '../emulator/vcpu.ts';
import { errno } from './abi/errno.ts';
import { implementations } from './all.ts';
import { Call, type CallRecord, type CallRing, callRing, MADE_AGAIN, type Outcome, registerWords } from './call.ts';
import type { Implementation } from './implement.ts';
import type { Observer } from './observer.ts';
import { type PvVcpu, pvVcpu } from './pv_cpu/state.ts';
import { formatCall, nameOfCall } from './trace.ts';

/** What is left to do goes where the call has its arguments. */
function giveBack(words: Int32Array, count: number): void {
  [RDI, RSI, RDX, R10, R8, R9].slice(0, count).forEach((register, i) => {
    words[2 * register] = registerWords[2 * i]!;
    words[2 * register + 1] = registerWords[2 * i + 1]!;
  });
}

/** Who wants to hear of a machine's calls. */
interface Watchers {
  trace: ((line: string) => void) | undefined;
  observer: Observer | undefined;
  timeline: Timeline | undefined;
  /** There is one of them. */
  isAny: boolean;
}

const watchers = new WeakMap<Host, Watchers>();

function watchersOf(host: Host): Watchers {
  let found = watchers.get(host);
  if (found === undefined) {
    found = { trace: undefined, observer: undefined, timeline: undefined, isAny: false };
    watchers.set(host, found);
  }
  return found;
}

function setWatcher(host: Host, change: Partial<Watchers>): void {
  const all = Object.assign(watchersOf(host), change);
  all.isAny = all.trace !== undefined || all.observer !== undefined || all.timeline !== undefined;
}

/** One line a call goes to `write`, or to nobody. */
export function traceHypercalls(host: Host, write: ((line: string) => void) | undefined): void {
  setWatcher(host, { trace: write });
}

/** `observer` is told of each call of the machine's guests. */
export function observeHypercalls(host: Host, observer: Observer | undefined): void {
  setWatcher(host, { observer });
}

/** Each call of the machine's guests becomes a part of `timeline`. */
export function recordHypercalls(host: Host, timeline: Timeline | undefined): void {
  setWatcher(host, { timeline });
}

type Performer = Pick<Implementation, 'paramCount' | 'run'>;

/** What a number means that stands for no call, or for none of this guest's. */
const NO_CALL: Performer = { paramCount: 6, run: () => -errno.ENOSYS };

const forPv = implementations.map((one) => (one?.isForPv ? one : undefined));
const forPvh = implementations.map((one) => (one?.isForPvh ? one : undefined));

/** A vCPU's calls. */
export class Caller extends Call {
  /** Of a PV domain's. */
  readonly pv: PvVcpu | undefined;
  readonly ring: CallRing;
  private readonly words: Int32Array;
  private readonly watchers: Watchers;
  /** By their numbers, those that are for guests of its type. */
  readonly implementations: readonly (Implementation | undefined)[];

  constructor(host: Host, vcpu: Vcpu) {
    super(host, vcpu);
    const { isPv } = vcpu.domain;
    this.pv = isPv ? pvVcpu.of(vcpu) : undefined;
    this.ring = callRing.of(vcpu);
    this.words = host.cpu.gprWords;
    this.watchers = watchersOf(host);
    this.implementations = isPv ? forPv : forPvh;
  }

  /** Performs the hypercall in the core's registers, which are its vCPU's. RAX is set; RIP, RCX and R11 are the trap layer's. */
  call(): Outcome {
    const { words } = this;
    const low = words[RAX * 2]!;
    const nr = words[RAX * 2 + 1] === 0 && low >= 0 ? low : Number(this.host.cpu.gpr[RAX]!);
    const implementation = this.implementations[nr] ?? NO_CALL;
    const count = implementation.paramCount;
    const record = this.ring.take();
    record.begin(nr, words[2 * RDI]!, words[2 * RDI + 1]!, words[2 * RSI]!, words[2 * RSI + 1]!);
    if (count > 2) addFromRegisters(words, record, count);
    const outcome = this.run(record, implementation, count);
    if (typeof outcome === 'number' && outcome === (outcome | 0)) {
      words[RAX * 2] = outcome;
      words[RAX * 2 + 1] = outcome >> 31;
    } else if (outcome === MADE_AGAIN) {
      giveBack(words, count);
    } else {
      this.host.cpu.gpr[RAX] = BigInt(outcome);
    }
    return outcome;
  }

  /** Does the call whose `count` arguments `record` and the registers have. */
  run(record: CallRecord, implementation: Performer, count: number): Outcome {
    const { isAny } = this.watchers;
    if (isAny) this.announce(record);
    const outcome = implementation.run(this, record);
    if (outcome === MADE_AGAIN) record.leave(count);
    record.result = outcome;
    if (isAny) this.tell(record);
    return outcome;
  }

  perform(nr: number, words: Int32Array, at: number): Outcome {
    const implementation = this.implementations[nr] ?? NO_CALL;
    const count = implementation.paramCount;
    const record = this.ring.take();
    record.begin(nr, words[at]!, words[at + 1]!, words[at + 2]!, words[at + 3]!);
    if (count > 2) addFrom(words, at, record, count);
    this.leftCount = count;
    return this.run(record, implementation, count);
  }

  private announce(record: CallRecord): void {
    const { observer, timeline } = this.watchers;
    observer?.calling(this.host, this.vcpu, record);
    timeline?.hypercallBegins(this.vcpu);
  }

  private tell(record: CallRecord): void {
    const { observer, timeline, trace } = this.watchers;
    const implementation = implementations[record.nr];
    observer?.called(this.host, this.vcpu, record);
    timeline?.hypercallEnds(this.vcpu, nameOfCall(record, implementation), record.result ?? undefined);
    trace?.(`${this.vcpu.name} ${formatCall(record, implementation)}`);
  }
}

/** All but the first two arguments. */
function addFrom(words: Int32Array, at: number, record: CallRecord, count: number): void {
  for (let i = 2; i < count; i += 2) {
    const from = at + 2 * i;
    record.add(i, words[from]!, words[from + 1]!, words[from + 2]!, words[from + 3]!);
  }
}

function addFromRegisters(words: Int32Array, record: CallRecord, count: number): void {
  record.add(2, words[2 * RDX]!, words[2 * RDX + 1]!, words[2 * R10]!, words[2 * R10 + 1]!);
  if (count > 4) record.add(4, words[2 * R8]!, words[2 * R8 + 1]!, words[2 * R9]!, words[2 * R9 + 1]!);
}

const callers = defineSlot<Vcpu, { caller: Caller | undefined }>(() => ({ caller: undefined }), { name: 'caller', isTransient: true });

export function callerOf(host: Host, vcpu: Vcpu): Caller {
  const slot = callers.of(vcpu);
  slot.caller ??= new Caller(host, vcpu);
  return slot.caller;
}

/** Whether the call is over, or the guest shall make it again: then leave RIP at the SYSCALL (the registers say what is left). */
export type Dispatched = 'done' | 'again';

/** Performs the hypercall in `vcpu`'s registers, which are on the core. */
export function dispatch(host: Host, vcpu: Vcpu): Dispatched {
  return callerOf(host, vcpu).call() === MADE_AGAIN ? 'again' : 'done';
}
