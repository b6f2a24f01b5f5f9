/**
 * What hypercall handlers and traps may ask of the machine that they run on. `Machine` (machine.ts) is the one real
 * implementation; it sits above the handlers, so this interface sits below them.
 */
import type { Cpu } from './cpu/interface.ts';
import type { Domain, ShutdownReason } from './domain.ts';
import type { MachineMemory } from './memory/machine_memory.ts';
import type { VirtualClock } from './scheduler/clock.ts';
import type { TimerQueue } from './scheduler/timers.ts';
import type { Timeline } from './timeline/timeline.ts';
import type { Vcpu } from './vcpu.ts';

export interface Host {
  /** The physical core; between `run` calls its registers are those of `current`. */
  readonly cpu: Cpu;
  readonly memory: MachineMemory;
  /** Virtual time in nanoseconds since ring -1 started. */
  readonly clock: VirtualClock;
  readonly timers: TimerQueue;
  readonly domains: ReadonlyMap<number, Domain>;
  readonly current: Vcpu;
  /** Who records what happens when, if somebody does. */
  readonly timeline?: Timeline | undefined;
  /** console_io of a domU prints (Xen's CONFIG_VERBOSE_DEBUG). */
  readonly verboseDebug: boolean;

  /** Ends a vCPU's waiting; harmless otherwise. */
  wake(vcpu: Vcpu): void;
  /** Stops `vcpu` until it is woken; it goes off the core after the current hypercall. */
  block(vcpu: Vcpu): void;
  /** Lets others run first. */
  yield(vcpu: Vcpu): void;
  /** Takes a vCPU that is down into the running, or out of it; a blocked one stays blocked. */
  setUp(vcpu: Vcpu, isUp: boolean): void;
  /** Runs `change` with the registers of `vcpu`, which is not on the core, in the core's place. */
  withRegisters(vcpu: Vcpu, change: () => void): void;
  /** Ends the domain; its vCPUs do not run again. */
  shutdown(domain: Domain, reason: ShutdownReason): void;
  /** Xen's domain_crash: the guest did what ring -1 cannot go on from. `why` and the page walk of `vaddr` go into the crash report. */
  crash(domain: Domain, why: string, vaddr?: bigint): void;
  /** The emergency console (console_io of the initial domain, or of any with verboseDebug). */
  consoleWrite(domain: Domain, bytes: Uint8Array): void;
  /** console_io was refused to `domain`: its owner may wonder where the output is. */
  consoleRefused?(domain: Domain): void;
  /** Up to `size` bytes typed at the emergency console, none when nothing is waiting. */
  consoleRead(domain: Domain, size: number): Uint8Array;
}
