/**
 * A Host around PvHost for hypercalls that need time, wake-ups and a domain 0: its clock stands still until `advance`,
 * blocking and waking are only noted, and the emergency console is a string.
 */
import { Domain, type ShutdownReason } from '../../emulator/domain.ts';
import { TimerQueue } from '../../emulator/scheduler/timers.ts';
import type { Vcpu } from '../../emulator/vcpu.ts';
import type { AnyStruct } from '../../hypercalls/abi/struct.ts';
import { shared_info, vcpu_info } from '../../hypercalls/abi/xen.ts';
import { recentHypercalls } from '../../hypercalls/trace.ts';
import { PvHost, type PvHostOptions } from './pv_host.ts';

/** Scratch pages of the guest: mapped, and behind everything that the builder put there. */
export const ARG = 0x200;
export const LIST = 0x202;
export const DATA = 0x204;
/** Not mapped by the builder. */
export const UNMAPPED = 0x1000_0000n;
export const IN_XEN = 0xffff_8000_0000_0000n;
export const DOMID_SELF = 0x7ff0;

export class FakeHost extends PvHost {
  readonly timers = new TimerQueue();
  readonly domain: Domain;
  now = 1_000_000_000n;
  console = '';
  keys = '';
  yields = 0;
  shutdownReason: ShutdownReason | undefined;

  constructor(options: PvHostOptions & { verboseDebug?: boolean } = {}) {
    super(options);
    this.domain = this.domains[0]!;
    this.vcpu.isUp = this.vcpu.isInitialised = true;
    const domains = this.host.domains as Map<number, Domain>;
    if (!domains.has(0)) domains.set(0, new Domain({ id: 0, type: 'pv', name: 'Domain-0', isInitial: true, maxPages: 0 }));
    Object.assign(this.host, {
      clock: {
        now: () => this.now,
        get ns() {
          return Number(this.now());
        },
        wallClockAtStart: 1_700_000_000_123_456_789n,
        tscKhz: 2_000_000,
        tscAt: (ns: number) => ns * 2,
      },
      timers: this.timers,
      verboseDebug: options.verboseDebug ?? false,
      wake: (vcpu: Vcpu) => {
        vcpu.isBlocked = false;
      },
      block: (vcpu: Vcpu) => {
        vcpu.isBlocked = true;
      },
      setUp: (vcpu: Vcpu, isUp: boolean) => {
        vcpu.isUp = isUp;
      },
      withRegisters: (vcpu: Vcpu, change: () => void) => {
        const { current } = this.host;
        const context = this.cpu.saveContext();
        this.cpu.loadContext(vcpu.context!);
        Object.assign(this.host, { current: vcpu });
        change();
        vcpu.context = this.cpu.saveContext();
        this.cpu.loadContext(context);
        Object.assign(this.host, { current });
      },
      yield: () => {
        this.yields++;
      },
      shutdown: (domain: Domain, reason: ShutdownReason) => {
        domain.shutdownReason = reason;
        this.shutdownReason = reason;
      },
      crash: (domain: Domain) => {
        domain.shutdownReason = 3;
      },
      consoleWrite: (_domain: Domain, bytes: Uint8Array) => {
        this.console += String.fromCharCode(...bytes);
      },
      consoleRead: (_domain: Domain, size: number) => {
        const bytes = Uint8Array.from(this.keys.slice(0, size), (c) => c.charCodeAt(0));
        this.keys = this.keys.slice(size);
        return bytes;
      },
    });
  }

  /** Lets `ns` pass, with the timers that fall due. */
  advance(ns: bigint): void {
    const end = this.now + ns;
    for (let next = this.timers.next(); next <= end; next = this.timers.next()) {
      if (next > this.now) this.now = BigInt(next);
      this.timers.fireDue(Number(this.now));
    }
    this.now = end;
  }

  /** Writes a struct into the guest's argument page; where. */
  argument<S extends AnyStruct>(row: S, values: Record<string, unknown>, pfn = ARG): bigint {
    const maddr = Number(this.maddrOf(pfn));
    this.memory.bytes.fill(0, maddr, maddr + row.size);
    for (const field of row.fields) {
      const value = values[field.name];
      if (value !== undefined) field.type.write(this.memory.view, maddr + field.offset, value);
    }
    return this.vaddrOf(pfn);
  }

  /** The struct that is there now. */
  result<S extends AnyStruct>(row: S, pfn = ARG): Record<string, unknown> {
    return row.read(this.memory.view, Number(this.maddrOf(pfn))) as Record<string, unknown>;
  }

  /** A call with a struct. */
  op(nr: number, cmd: number, row: AnyStruct, values: Record<string, unknown>): number {
    return this.call(nr, cmd, this.argument(row, values));
  }

  get sharedInfo(): number {
    return this.domain.sharedInfoMfn * 4096;
  }

  isPending(port: number): boolean {
    return ((this.memory.bytes[this.sharedInfo + shared_info.offset.evtchn_pending + (port >> 3)]! >> (port & 7)) & 1) !== 0;
  }

  setMask(port: number, isMasked: boolean): void {
    const at = this.sharedInfo + shared_info.offset.evtchn_mask + (port >> 3);
    if (isMasked) this.memory.bytes[at]! |= 1 << (port & 7);
    else this.memory.bytes[at]! &= ~(1 << (port & 7));
  }

  /** evtchn_upcall_pending and _mask and evtchn_pending_sel. */
  get upcall(): { pending: number; mask: number; sel: bigint } {
    const at = this.vcpu.vcpuInfoMaddr;
    const { evtchn_upcall_pending, evtchn_upcall_mask, evtchn_pending_sel } = vcpu_info.offset;
    return {
      pending: this.memory.bytes[at + evtchn_upcall_pending]!,
      mask: this.memory.bytes[at + evtchn_upcall_mask]!,
      sel: this.memory.view.getBigUint64(at + evtchn_pending_sel, true),
    };
  }

  /** As the guest's event handler does: everything is seen. */
  clearEvents(): void {
    const at = this.vcpu.vcpuInfoMaddr;
    this.memory.bytes[at + vcpu_info.offset.evtchn_upcall_pending] = 0;
    this.memory.view.setBigUint64(at + vcpu_info.offset.evtchn_pending_sel, 0n, true);
    const pending = this.sharedInfo + shared_info.offset.evtchn_pending;
    this.memory.bytes.fill(0, pending, pending + 512);
  }

  setUpcallMask(mask: number): void {
    this.memory.bytes[this.vcpu.vcpuInfoMaddr + vcpu_info.offset.evtchn_upcall_mask] = mask;
  }

  /** The trace line of the last call. */
  get lastCall(): string {
    return recentHypercalls(this.vcpu).at(-1) ?? '';
  }
}
