/**
 * `--check`: watches a guest's hypercalls and what is left at its end, and reports what no right guest does, with the place
 * in its code. It changes nothing of the run: memory is only looked at, and while it follows an error's result the vCPU runs
 * instruction by instruction. What each kind of mistake is, is said in the file of its name beside this one.
 */
import { errno, errnoName } from '../../hypercalls/abi/errno.ts';
import { SHUTDOWN_poweroff, SHUTDOWN_reboot } from '../../hypercalls/abi/sched.ts';
import { implementations } from '../../hypercalls/all.ts';
import { type CallRecord, MADE_AGAIN } from '../../hypercalls/call.ts';
import type { Observer } from '../../hypercalls/observer.ts';
import { pvVcpu } from '../../hypercalls/pv_cpu/state.ts';
import type { Domain } from '../domain.ts';
import type { Host } from '../host.ts';
import type { Vcpu } from '../vcpu.ts';
import { Areas } from './areas.ts';
import { callSite } from './call_site.ts';
import { Findings } from './findings.ts';
import { GrantUse } from './grants.ts';
import { peek } from './peek.ts';
import { lostEvents, maskedEvents, PortUse } from './ports.ts';
import { useOfRax } from './result_use.ts';
import { Symbols } from './symbols.ts';
import { TakenFrames } from './taken_frames.ts';

const MAX_ERRNO = 4095;
const MAX_INSN_SIZE = 15;
/** How long an error's result is followed. */
const MAX_FOLLOWED = 100_000;
/** Calls that Xen keeps for guests of old only, and what took their place. */
const DEPRECATED: Readonly<Record<string, string>> = {
  sched_op_compat: 'sched_op',
  event_channel_op_compat: 'event_channel_op',
  physdev_op_compat: 'physdev_op',
};

/** An error in RAX that the guest has not looked at yet. */
interface Followed {
  readonly rip: bigint;
  readonly what: string;
  left: number;
}

export class Checker implements Observer {
  readonly #findings = new Findings();
  readonly #symbols: Symbols;
  readonly #ports = new PortUse();
  readonly #areas = new Areas();
  readonly #frames = new TakenFrames();
  readonly #grants = new GrantUse();
  readonly #followed = new Map<Vcpu, Followed>();
  /** Where each vCPU made its last hypercall. */
  readonly #lastCall = new Map<Vcpu, bigint>();
  /** Calls within calls (multicall, the compatible forms). */
  #depth = 0;

  /** `image` is the kernel: its symbol table names places. */
  constructor(image: Uint8Array) {
    this.#symbols = new Symbols(image);
  }

  /** Whether the guest made a mistake so far. */
  get hasFindings(): boolean {
    return this.#findings.count > 0;
  }

  calling(host: Host, vcpu: Vcpu, record: CallRecord): void {
    if (this.#depth++ === 0) this.#lastCall.set(vcpu, callSite(host).rip);
    this.#followed.delete(vcpu);
    this.#ports.calling(vcpu.domain, nameOf(record));
  }

  called(host: Host, vcpu: Vcpu, record: CallRecord): void {
    this.#depth--;
    const rip = this.#lastCall.get(vcpu)!;
    if (record.result === MADE_AGAIN) return;
    const unusual = unusualCall(vcpu, record);
    if (unusual !== undefined) this.#findings.add(rip, unusual);
    const op = nameOf(record);
    for (const what of this.#ports.called(host, vcpu.domain, record, op)) this.#findings.add(rip, what);
    const { result } = record;
    if (typeof result === 'number' && result < 0 && result >= -MAX_ERRNO) {
      const what = `the error of ${op} (${-result === errno.ENOSYS ? 'ENOSYS' : (errnoName(-result) ?? result)}) is not looked at`;
      if (this.#depth === 0 && unusual === undefined) this.#followed.set(vcpu, { rip, what, left: MAX_FOLLOWED });
      return;
    }
    this.#grants.called(host, vcpu.domain, record, op, rip);
    this.#frames.changed(host, record, op, rip);
    for (const what of this.#areas.registered(host, vcpu, record, op)) this.#findings.add(rip, what);
    if (vcpu.isBlocked && (op === 'sched_op.block' || op === 'sched_op_compat.block')) {
      for (const what of lostEvents(host, vcpu)) this.#findings.add(rip, what);
    }
  }

  userSyscall(host: Host, vcpu: Vcpu): void {
    const { rip, isInHypercallPage } = callSite(host);
    if (isInHypercallPage) this.#findings.add(rip, 'user mode goes through the hypercall page, and gets no hypercall but a system call');
    else if (pvVcpu.of(vcpu).syscall.address === 0n)
      this.#findings.add(rip, 'user mode makes a SYSCALL, and the kernel has no callback for it');
  }

  resuming(host: Host, vcpu: Vcpu): number {
    const followed = this.#followed.get(vcpu);
    if (followed === undefined) return Number.POSITIVE_INFINITY;
    const insn = host.cpu.decode(peek(host, host.cpu.rip, MAX_INSN_SIZE));
    const use = insn === undefined ? 'reads' : useOfRax(insn);
    if (use === 'nothing' && --followed.left > 0) return 1;
    this.#followed.delete(vcpu);
    if (use === 'overwrites') this.#findings.add(followed.rip, followed.what);
    return Number.POSITIVE_INFINITY;
  }

  /** A domain that crashed had no chance to clear up. */
  ending(host: Host, domain: Domain): void {
    if (domain.shutdownReason !== SHUTDOWN_poweroff && domain.shutdownReason !== SHUTDOWN_reboot) return;
    const rip = this.#lastCall.get(host.current) ?? host.cpu.rip;
    for (const { rip: at, what } of this.#grants.left(host, domain, rip)) this.#findings.add(at, what);
    for (const { rip: at, what } of this.#frames.leaked(host, domain, rip)) this.#findings.add(at, what);
  }

  /** After the run: the report, for stderr. */
  finish(host: Host, domain: Domain): string {
    if (domain.shutdownReason === undefined && host.timers.next() === Number.POSITIVE_INFINITY) {
      for (const vcpu of domain.vcpus) {
        if (!vcpu.isBlocked) continue;
        const rip = this.#lastCall.get(vcpu) ?? 0n;
        for (const what of [...lostEvents(host, vcpu), ...maskedEvents(host, vcpu)]) this.#findings.add(rip, what);
      }
    }
    return this.#findings.report(this.#symbols);
  }
}

/** `event_channel_op.send`, or the call's alone where the operation is unknown. */
function nameOf(record: CallRecord): string {
  const implementation = implementations[record.nr];
  return implementation === undefined ? `hypercall ${record.nr}` : (implementation.opOf(record.words)?.name ?? implementation.row.name);
}

function unusualCall({ domain }: Vcpu, record: CallRecord): string | undefined {
  const implementation = implementations[record.nr];
  if (implementation === undefined) return `hypercall ${record.nr} is unknown`;
  const { row } = implementation;
  if (row.guests[domain.type === 'pv' ? 'pv64' : 'pvh'] !== true) return `${row.name} is not for this kind of guest`;
  const op = implementation.opOf(record.words);
  if (op === undefined) return `${row.name} has no operation ${record.words[0]! | 0}`;
  if (op.row.kind === 'refused' && op.row.errno === 'ENOSYS') return `${op.name} is no longer there`;
  const successor = DEPRECATED[row.name];
  return successor === undefined ? undefined : `${row.name} is deprecated: ${successor} took its place`;
}
