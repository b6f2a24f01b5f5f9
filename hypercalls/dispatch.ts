/**
 * Number -> row -> decoded arguments -> handler -> RAX. The trap layer calls `dispatch` on a PV64 guest kernel's SYSCALL
 * (and on VMCALL of a PVH guest); which families there are is all.ts's business.
 */
import { R8, R9, R10, RAX, RDI, RDX, RSI } from '../emulator/cpu/interface.ts';
import type { Host } from '../emulator/host.ts';
import type { Timeline } from '../emulator/timeline/timeline.ts';
import type { Vcpu } from '../emulator/vcpu.ts';
import { errno } from './abi/errno.ts';
import { implementations } from './all.ts';
import { Call, type CallRecord, callRing, copyWords, left, MADE_AGAIN, type Outcome, registerWords } from './call.ts';
import type { Implementation } from './implement.ts';
import type { Observer } from './observer.ts';
import { formatCall, nameOfCall } from './trace.ts';

const MAX_ARGUMENTS = 6;
const ARGUMENT_WORDS = 2 * MAX_ARGUMENTS;

/** Two registers at once, and none in a loop: V8 looks at a typed array's bounds once for all that is written out. */
function takeArguments(words: Int32Array, count: number): void {
  const to = registerWords;
  to[0] = words[2 * RDI]!;
  to[1] = words[2 * RDI + 1]!;
  to[2] = words[2 * RSI]!;
  to[3] = words[2 * RSI + 1]!;
  if (count <= 2) return;
  to[4] = words[2 * RDX]!;
  to[5] = words[2 * RDX + 1]!;
  to[6] = words[2 * R10]!;
  to[7] = words[2 * R10 + 1]!;
  if (count <= 4) return;
  to[8] = words[2 * R8]!;
  to[9] = words[2 * R8 + 1]!;
  to[10] = words[2 * R9]!;
  to[11] = words[2 * R9 + 1]!;
}

/** What is left to do goes where the call has its arguments. */
function giveBack(words: Int32Array, count: number): void {
  [RDI, RSI, RDX, R10, R8, R9].slice(0, count).forEach((register, i) => {
    words[2 * register] = registerWords[2 * i]!;
    words[2 * register + 1] = registerWords[2 * i + 1]!;
  });
}

/** Per machine: the call in progress, and who wants to hear of it. */
interface Context {
  readonly call: Call;
  trace: ((line: string) => void) | undefined;
  observer: Observer | undefined;
  timeline: Timeline | undefined;
  /** There is one of them. */
  isWatched: boolean;
}

const contexts = new WeakMap<Host, Context>();
let lastHost: Host | undefined;
let lastContext!: Context;

function contextOf(host: Host): Context {
  return host === lastHost ? lastContext : findContext(host);
}

function findContext(host: Host): Context {
  let context = contexts.get(host);
  if (context === undefined) {
    const made: Context = {
      call: new Call(host, (nr, view, at) => performNested(made, nr, view, at)),
      trace: undefined,
      observer: undefined,
      timeline: undefined,
      isWatched: false,
    };
    context = made;
    contexts.set(host, context);
  }
  lastHost = host;
  lastContext = context;
  return context;
}

/** One line a call goes to `write`, or to nobody. */
export function traceHypercalls(host: Host, write: ((line: string) => void) | undefined): void {
  const context = contextOf(host);
  context.trace = write;
  lookForWatchers(context);
}

/** `observer` is told of each call of the machine's guests. */
export function observeHypercalls(host: Host, observer: Observer | undefined): void {
  const context = contextOf(host);
  context.observer = observer;
  lookForWatchers(context);
}

/** Each call of the machine's guests becomes a part of `timeline`. */
export function recordHypercalls(host: Host, timeline: Timeline | undefined): void {
  const context = contextOf(host);
  context.timeline = timeline;
  lookForWatchers(context);
}

function lookForWatchers(context: Context): void {
  context.isWatched = context.trace !== undefined || context.observer !== undefined || context.timeline !== undefined;
}

/** Whether the call is over, or the guest shall make it again: then leave RIP at the SYSCALL (the registers say what is left). */
export type Dispatched = 'done' | 'again';

/** Performs the hypercall in `vcpu`'s registers, which are on the core. RAX is set; RIP, RCX and R11 are the trap layer's. */
export function dispatch(host: Host, vcpu: Vcpu): Dispatched {
  const context = contextOf(host);
  const words = host.cpu.gprWords;
  const low = words[RAX * 2]!;
  const nr = words[RAX * 2 + 1] === 0 && low >= 0 ? low : Number(host.cpu.gpr[RAX]!);
  const implementation = implementations[nr];
  const count = implementation === undefined ? MAX_ARGUMENTS : implementation.paramCount;
  takeArguments(words, count);
  context.call.vcpu = vcpu;
  context.call.ring = callRing.of(vcpu);
  const outcome = perform(context, nr, implementation, count);
  if (outcome === MADE_AGAIN) {
    giveBack(words, count);
    return 'again';
  }
  if (typeof outcome === 'number' && outcome === (outcome | 0)) {
    words[RAX * 2] = outcome;
    words[RAX * 2 + 1] = outcome >> 31;
  } else {
    host.cpu.gpr[RAX] = BigInt(outcome);
  }
  return 'done';
}

/** Performs the call whose `count` arguments are in the registers of call.ts. */
function perform(context: Context, nr: number, implementation: Implementation | undefined, count: number): Outcome {
  const { call, isWatched } = context;
  const { vcpu } = call;
  const record = call.ring.take();
  record.begin(nr, count);
  if (isWatched) announce(context, record);
  const isReachable = implementation !== undefined && (vcpu.domain.isPv ? implementation.isForPv : implementation.isForPvh);
  const outcome = isReachable ? implementation.run(call, record) : -errno.ENOSYS;
  record.end(outcome, count);
  if (isWatched) tell(context, record);
  return outcome;
}

function announce({ call, observer, timeline }: Context, record: CallRecord): void {
  observer?.calling(call.host, call.vcpu, record);
  timeline?.hypercallBegins(call.vcpu);
}

function tell({ call, observer, timeline, trace }: Context, record: CallRecord): void {
  const implementation = implementations[record.nr];
  observer?.called(call.host, call.vcpu, record);
  timeline?.hypercallEnds(call.vcpu, nameOfCall(record, implementation), record.state === 'again' ? undefined : record.result);
  trace?.(`${call.vcpu.name} ${formatCall(record, implementation)}`);
}

/** Registers of the calls that wait for one of theirs: a multicall, and in it a call of old. */
const outerWords = new Int32Array(2 * ARGUMENT_WORDS);
let depth = 0;

function performNested(context: Context, nr: number, view: DataView, at: number): Outcome {
  const implementation = implementations[nr];
  const count = implementation === undefined ? MAX_ARGUMENTS : implementation.paramCount;
  const outer = depth * ARGUMENT_WORDS;
  depth++;
  copyWords(outerWords, outer, registerWords, 0, 2 * count);
  readArguments(view, at, count);
  const outcome = perform(context, nr, implementation, count);
  if (outcome === MADE_AGAIN) left.set(count);
  copyWords(registerWords, 0, outerWords, outer, 2 * count);
  depth--;
  return outcome;
}

/** As takeArguments, but what a call without any finds there stays. */
function readArguments(view: DataView, at: number, count: number): void {
  if (count === 0) return;
  const to = registerWords;
  to[0] = view.getInt32(at, true);
  to[1] = view.getInt32(at + 4, true);
  to[2] = view.getInt32(at + 8, true);
  to[3] = view.getInt32(at + 12, true);
  if (count <= 2) return;
  to[4] = view.getInt32(at + 16, true);
  to[5] = view.getInt32(at + 20, true);
  to[6] = view.getInt32(at + 24, true);
  to[7] = view.getInt32(at + 28, true);
  if (count <= 4) return;
  to[8] = view.getInt32(at + 32, true);
  to[9] = view.getInt32(at + 36, true);
  to[10] = view.getInt32(at + 40, true);
  to[11] = view.getInt32(at + 44, true);
}
