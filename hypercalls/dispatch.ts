/**
 * Number -> row -> decoded arguments -> handler -> RAX. The trap layer calls `dispatch` on a PV64 guest kernel's SYSCALL
 * (and on VMCALL of a PVH guest); which families there are is all.ts's business.
 */
import { RAX } from '../emulator/cpu/interface.ts';
import type { Host } from '../emulator/host.ts';
import type { Vcpu } from '../emulator/vcpu.ts';
import { errno } from './abi/errno.ts';
import { implementations } from './all.ts';
import { Call, type CallRecord, callRing, MADE_AGAIN, type Outcome } from './call.ts';
import type { Observer } from './observer.ts';
import { formatCall } from './trace.ts';

/** RDI, RSI, RDX, R10, R8, R9. */
const ARGUMENT_REGISTERS = [7, 6, 2, 10, 8, 9] as const;

/** Per machine: the call in progress, and the general registers as 32-bit words (no bigint is made to copy one). */
interface Context {
  readonly call: Call;
  gpr: BigUint64Array;
  words: Uint32Array;
  trace: ((line: string) => void) | undefined;
  observer: Observer | undefined;
}

const contexts = new WeakMap<Host, Context>();
let lastHost: Host | undefined;
let lastContext!: Context;

function contextOf(host: Host): Context {
  if (host === lastHost) return lastContext;
  let context = contexts.get(host);
  if (context === undefined) {
    const made: Context = {
      call: new Call(host, (nr, args) => performNested(made, nr, args)),
      gpr: new BigUint64Array(),
      words: new Uint32Array(),
      trace: undefined,
      observer: undefined,
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
  contextOf(host).trace = write;
}

/** `observer` is told of each call of the machine's guests. */
export function observeHypercalls(host: Host, observer: Observer | undefined): void {
  contextOf(host).observer = observer;
}

/** Whether the call is over, or the guest shall make it again: then leave RIP at the SYSCALL (the registers say what is left). */
export type Dispatched = 'done' | 'again';

/** Performs the hypercall in `vcpu`'s registers, which are on the core. RAX is set; RIP, RCX and R11 are the trap layer's. */
export function dispatch(host: Host, vcpu: Vcpu): Dispatched {
  const context = contextOf(host);
  const gpr = host.cpu.gpr;
  if (context.gpr !== gpr) {
    context.gpr = gpr;
    context.words = new Uint32Array(gpr.buffer, gpr.byteOffset, gpr.length * 2);
  }
  const words = context.words;
  const record = callRing.of(vcpu).take();
  record.nr = words[RAX * 2]! + words[RAX * 2 + 1]! * 2 ** 32;
  for (let i = 0; i < 6; i++) {
    const register = ARGUMENT_REGISTERS[i]! * 2;
    record.words[i * 2] = words[register]!;
    record.words[i * 2 + 1] = words[register + 1]!;
  }
  context.call.vcpu = vcpu;
  const outcome = perform(context, record);
  if (outcome === MADE_AGAIN) {
    for (let i = 0; i < 6; i++) {
      const register = ARGUMENT_REGISTERS[i]! * 2;
      words[register] = record.words[i * 2]!;
      words[register + 1] = record.words[i * 2 + 1]!;
    }
    return 'again';
  }
  if (typeof outcome === 'number' && outcome >= -0x8000_0000 && outcome <= 0x7fff_ffff) {
    words[RAX * 2] = outcome;
    words[RAX * 2 + 1] = outcome >> 31;
  } else {
    gpr[RAX] = BigInt(outcome);
  }
  return 'done';
}

function perform(context: Context, record: CallRecord): Outcome {
  const call = context.call;
  const implementation = implementations[record.nr];
  record.state = 'running';
  record.hasStruct = false;
  call.args = record.args;
  context.observer?.calling(call.host, call.vcpu, record);
  const isReachable = implementation !== undefined && implementation.row.guests[call.domain.type === 'pv' ? 'pv64' : 'pvh'] === true;
  const outcome = isReachable ? implementation.run(call, record) : -errno.ENOSYS;
  if (outcome === MADE_AGAIN) {
    record.state = 'again';
  } else {
    record.state = 'done';
    record.result = outcome;
  }
  context.observer?.called(call.host, call.vcpu, record);
  if (context.trace !== undefined) context.trace(`${call.vcpu.name} ${formatCall(record, implementations[record.nr])}`);
  return outcome;
}

/** A call out of a multicall's list. */
function performNested(context: Context, nr: number, args: BigUint64Array): Outcome {
  const call = context.call;
  const outerArgs = call.args;
  const record = callRing.of(call.vcpu).take();
  record.nr = nr;
  record.args.set(args);
  const outcome = perform(context, record);
  if (outcome === MADE_AGAIN) args.set(record.args);
  call.args = outerArgs;
  return outcome;
}
