/**
 * The machine: emulated cores, their memory, virtual time and the domains on them. Its fields are the block diagram; the
 * loop that drives them is run.ts, what an exit means is trap/, what a hypercall does is hypercalls/.
 */
import { fillHypercallPage } from '../firmware/hypercall_page.ts';
import { ImageError } from '../firmware/image_error.ts';
import { buildPvDomain, loadBootRegisters, loadUnbornRegisters } from '../firmware/pv_domain.ts';
import { GNTTAB_RESERVED_CONSOLE, GNTTAB_RESERVED_XENSTORE } from '../hypercalls/abi/grant_table.ts';
import { SHUTDOWN_crash } from '../hypercalls/abi/sched.ts';
import { virqs } from '../hypercalls/abi/xen.ts';
import { type Caller, callerOf, observeHypercalls, recordHypercalls, traceHypercalls } from '../hypercalls/dispatch.ts';
import { releaseDomain } from '../hypercalls/domain_release.ts';
import { raiseVirq } from '../hypercalls/event_channel/ports.ts';
import { seedGrant } from '../hypercalls/grant_table/toolstack.ts';
import { setMemoryMap } from '../hypercalls/memory/op.ts';
import { Networks } from '../hypercalls/net/network.ts';
import type { Observer } from '../hypercalls/observer.ts';
import { becomeRunnable, beginRunstate, enterCore, goOffline, leaveCore } from '../hypercalls/vcpu/runstate.ts';
import { writeWallClock } from '../hypercalls/vcpu/time.ts';
import { domainHandle, handleOf } from '../hypercalls/version/op.ts';
import { populateDomainTree, removeDomainTree, uuidOf } from '../hypercalls/xenstore/domain_tree.ts';
import { XenStore } from '../hypercalls/xenstore/store.ts';
import { type Cpu, createCpu, type EngineKind } from './cpu/index.ts';
import { Domain, type ShutdownReason } from './domain.ts';
import { guestTimeAt, resumeTime, stopTime } from './guest_time.ts';
import { type Devices, HostChannels, type HostEnds, type HostSide, type Media } from './host_ends.ts';
import { MachineMemory, PAGE_SIZE } from './memory/machine_memory.ts';
import { turnWithinRun } from './run.ts';
import { loadDomain, refusalOf, type SavedDomain } from './saved_domain.ts';
import { InstructionClock, type RunClock, WallClock } from './scheduler/clock.ts';
import { Cores } from './scheduler/cores.ts';
import type { Parameters } from './scheduler/credit2/parameters.ts';
import { Topology, type TopologyShape } from './scheduler/credit2/topology.ts';
import { TimerQueue } from './scheduler/timers.ts';
import type { Turn } from './scheduler/turn.ts';
import type { Timeline } from './timeline/timeline.ts';
import { type CpuidLeaf, cpuid } from './trap/cpuid.ts';
import { syscallPerformer } from './trap/pv.ts';
import { reloadSegments } from './trap/return.ts';
import type { RunHost } from './trap/trap_host.ts';
import { Vcpu } from './vcpu.ts';

const MIB = 1024 * 1024;
/** Pages that xl lets a domain have beyond its memory. */
const MAXMEM_SLACK = 256;

export interface MachineOptions {
  /** Bytes of RAM for all domains; ring -1 takes its own on top. */
  memorySize: number;
  /** Nanoseconds since 1970 when the machine starts. */
  wallClockAtStart?: bigint;
  /** The host's monotonic clock, which virtual time then follows; without it time is a function of the instructions. */
  hostNs?: () => bigint;
  /** console_io of a domU prints. */
  verboseDebug?: boolean;
  /** Physical cores; default one. */
  topology?: TopologyShape;
  /** Of Credit2, where they differ from Xen's defaults. */
  scheduling?: Partial<Parameters>;
  /** Whether the CPU translates hot code; default 'translate'. */
  engine?: EngineKind;
  /** What a domain writes on its console, whichever kind it has. */
  output: (domain: Domain, bytes: Uint8Array) => void;
  /** A domU tried console_io, which a stock Xen refuses; told once a domain. */
  consoleIoRefused?: (domain: Domain) => void;
  traceHypercall?: (line: string) => void;
  traceTrap?: (line: string) => void;
  traceExit?: (line: string) => void;
  /** A slice ends when a domain does, so that its driver acts on it at that moment of virtual time. */
  pausesAtEnds?: boolean;
  /** Is told of what guests do. */
  observer?: Observer;
  /** Milliseconds: the CPU takes its times, and exits are counted. */
  statisticsClock?: () => number;
}

/** An initial domain has no devices. */
export interface DomainSpec extends Devices {
  name: string;
  isInitial: boolean;
  memorySize: number;
  /** Up to which it may grow when the toolstack lets it; default memorySize. */
  maxMemorySize?: number;
  /** Default 1. */
  vcpus?: number;
  /** Of Credit2; default 256. */
  weight?: number;
  cmdline?: string;
  ramdisk?: Uint8Array;
  /** Where image and ramdisk came from, for xenstore. */
  kernelPath?: string;
  ramdiskPath?: string;
}

/** Why ring -1 crashed a domain. */
export interface Crash {
  readonly why: string;
  readonly vcpu: Vcpu;
  /** The address that could not be reached. */
  readonly vaddr: bigint | undefined;
}

/** A domain's console as the host sees it: what takes keys for the guest. */
interface ConsoleDevice {
  input(bytes: Uint8Array): void;
}

export class Machine implements RunHost {
  readonly cpu: Cpu;
  readonly memory: MachineMemory;
  readonly clock: RunClock;
  readonly turn: Turn = { isValid: false };
  readonly timers = new TimerQueue(this.turn);
  readonly domains = new Map<number, Domain>();
  readonly consoles = new Map<number, ConsoleDevice>();
  readonly xenstore = new XenStore();
  /** Of each domain but the initial one. */
  readonly #hostEnds = new Map<number, HostEnds>();
  readonly #hostSide: HostSide;
  #nextDomid = 1;
  /** What a core has that runs nobody: its registers reach nothing. */
  readonly #nobody: Vcpu;
  /** Whose registers are in the CPU. */
  current: Vcpu;
  caller: Caller;
  /** With the scheduler of all vCPUs. */
  readonly cores: Cores<Vcpu>;
  /** At which instruction the active core's turn is over. */
  turnEnd = 0;
  exitsLeft = 0;
  /** At which instruction the slice is over. */
  sliceEnd = 0;
  readonly crashes = new Map<Domain, Crash>();
  readonly verboseDebug: boolean;
  readonly traceTrap: ((vcpu: Vcpu, line: string) => void) | undefined;
  readonly traceExit: ((line: string) => void) | undefined;
  readonly observer: Observer | undefined;
  #timeline: Timeline | undefined;
  /** Exits by their reasons, with `statisticsClock` only. */
  readonly exitCounts = new Map<string, number>();
  readonly countsExits: boolean;
  readonly fillHypercallPage = fillHypercallPage;
  readonly cpuid: (leaf: number, subleaf: number) => CpuidLeaf;
  readonly #pausesAtEnds: boolean;
  readonly #output: MachineOptions['output'];
  readonly #consoleIoRefused: MachineOptions['consoleIoRefused'];
  readonly #refused = new Set<Domain>();
  /** Keys that wait for console_io. */
  readonly #emergencyInput: number[] = [];

  constructor(options: MachineOptions) {
    const memorySize = options.memorySize + Math.max(8 * MIB, Math.ceil(options.memorySize / 64 / MIB) * MIB);
    this.cpuid = (leaf, subleaf) =>
      cpuid({ machineAddressBits: Math.ceil(Math.log2(memorySize)), apicId: this.current.id * 2 }, leaf, subleaf);
    const watchesExits = options.traceExit !== undefined || options.observer !== undefined || options.statisticsClock !== undefined;
    this.cpu = createCpu({
      memorySize,
      host: {
        cpuid: this.cpuid,
        readTsc: (instructions) => this.clock.tscAt(guestTimeAt(this.current.domain, this.clock.nowAt(instructions))),
        // Who looks at exits or at what a vCPU does next wants each of them.
        ...(!watchesExits && { syscall: syscallPerformer(this) }),
      },
      intercepts: { exceptions: 0xffff_ffff, softwareInterrupts: true, syscall: true, instructions: new Set() },
      engine: options.engine ?? 'translate',
      ...(options.statisticsClock && { clock: options.statisticsClock }),
    });
    this.countsExits = options.statisticsClock !== undefined;
    const wallClockAtStart = options.wallClockAtStart ?? 0n;
    const { hostNs } = options;
    this.clock = hostNs ? new WallClock(hostNs, wallClockAtStart) : new InstructionClock(this.cpu, wallClockAtStart);
    this.cores = new Cores<Vcpu>({
      clock: this.clock,
      timers: this.timers,
      turn: this.turn,
      topology: new Topology(options.topology ?? { sockets: 1, coresPerSocket: 1 }),
      ...(options.scheduling && { parameters: options.scheduling }),
      enter: (vcpu) => this.#enter(vcpu),
      leave: (vcpu) => leaveCore(this, vcpu),
    });
    this.memory = new MachineMemory(this.cpu.memory);
    this.memory.flushAllTlbs = () => this.cpu.flushAllTlbs();
    this.memory.flushFrameInTlbs = (mfn) => this.cpu.flushTlbFrame(mfn);
    this.verboseDebug = options.verboseDebug ?? false;
    this.traceExit = options.traceExit;
    const { traceTrap } = options;
    this.traceTrap = traceTrap && ((vcpu, line) => traceTrap(`${vcpu.name} ${line}`));
    traceHypercalls(this, options.traceHypercall);
    this.observer = options.observer;
    this.#pausesAtEnds = options.pausesAtEnds ?? false;
    observeHypercalls(this, options.observer);
    this.#output = options.output;
    this.#hostSide = { host: this, xenstore: this.xenstore, networks: new Networks(), output: options.output };
    this.#consoleIoRefused = options.consoleIoRefused;
    // Domain 0 is the host itself until an initial domain takes its place: the far end of every console and xenstore port.
    const host = new Domain({ id: 0, type: 'pv', name: 'Domain-0', isInitial: true, maxPages: 0 });
    this.domains.set(0, host);
    this.#nobody = new Vcpu(host, 0);
    this.current = this.#nobody;
    this.caller = callerOf(this, this.#nobody);
  }

  get timeline(): Timeline | undefined {
    return this.#timeline;
  }

  /** Is told from here on, until it is another. */
  set timeline(timeline: Timeline | undefined) {
    this.#timeline = timeline;
    recordHypercalls(this, timeline);
  }

  get isTurnValid(): boolean {
    return this.turn.isValid;
  }

  turnWithinRun(): void {
    turnWithinRun(this);
  }

  /** Builds a PV64 domain, whose first vCPU `run` then starts. */
  createPvDomain(image: Uint8Array, spec: DomainSpec): Domain | ImageError {
    const id = spec.isInitial ? 0 : this.#nextDomid++;
    const pages = Math.floor(spec.memorySize / PAGE_SIZE);
    const { maxMemorySize = spec.memorySize } = spec;
    const maxPages = spec.isInitial ? pages : pages + MAXMEM_SLACK;
    const domain = new Domain({ id, type: 'pv', name: spec.name, isInitial: spec.isInitial, maxPages });
    this.#schedule(domain, spec.vcpus ?? 1, spec.weight);
    const vcpu = domain.vcpus[0]!;
    this.domains.set(id, domain);
    const channels = spec.isInitial ? undefined : new HostChannels(this.#hostSide, domain);
    const boot = buildPvDomain(this.memory, domain, image, {
      memoryPages: pages,
      cmdline: spec.cmdline ?? '',
      ...(spec.ramdisk && { ramdisk: spec.ramdisk }),
      ...(channels && { xenstorePort: channels.ports.store, consolePort: channels.ports.console }),
    });
    if (boot instanceof ImageError) {
      this.#unschedule(domain);
      this.domains.delete(id);
      return boot;
    }

    if (channels) {
      const uuid = uuidOf(id, spec.name);
      domainHandle.of(domain).set(handleOf(uuid));
      populateDomainTree(this.xenstore, domain, {
        uuid,
        memoryKib: spec.memorySize / 1024,
        maxMemoryKib: maxMemorySize / 1024,
        vcpus: domain.vcpus.length,
        ...(spec.kernelPath !== undefined && { kernel: spec.kernelPath }),
        ...(spec.cmdline !== undefined && { cmdline: spec.cmdline }),
        ...(spec.ramdiskPath !== undefined && { ramdisk: spec.ramdiskPath }),
        store: { port: channels.ports.store, mfn: boot.xenstoreMfn },
        console: { port: channels.ports.console, mfn: boot.consoleMfn },
      });
      setMemoryMap(domain, Math.floor(maxMemorySize / PAGE_SIZE));
      seedGrant(this, domain, GNTTAB_RESERVED_CONSOLE, this.domains.get(0)!, boot.consoleMfn);
      seedGrant(this, domain, GNTTAB_RESERVED_XENSTORE, this.domains.get(0)!, boot.xenstoreMfn);
      const ends = channels.open(uuid, { store: boot.xenstoreMfn, console: boot.consoleMfn });
      this.#give(domain, ends);
      ends.attach(spec);
    } else {
      this.consoles.set(id, { input: (bytes) => this.#inputEmergency(vcpu, bytes) });
    }
    writeWallClock(this, domain);
    this.withRegisters(this.#nobody, () => {
      for (const each of domain.vcpus.toReversed()) {
        loadUnbornRegisters(this.cpu, each.id);
        if (each === vcpu) loadBootRegisters(this.cpu, boot);
        each.context = this.cpu.saveContext();
      }
      this.cpu.cr3 = 0n;
    });
    vcpu.isInitialised = true;
    this.setUp(vcpu, true);
    return domain;
  }

  /** A domain as it was saved, here or elsewhere: paused, and it has lost nothing. Or why that cannot be. */
  restoreDomain(saved: SavedDomain, { disks = [], captures = [] }: Partial<Media> = {}): Domain | string {
    const refusal = refusalOf(this, saved, disks);
    if (refusal !== undefined) return refusal;
    const { id, name, maxPages, store, console: terminal } = saved;
    const domain = new Domain({ id, type: 'pv', name, maxPages });
    domain.pauseCount = 1;
    this.#nextDomid = Math.max(this.#nextDomid, id + 1);
    this.domains.set(id, domain);
    this.memory.domains.set(id, domain);
    this.#schedule(domain, saved.vcpus.length);
    loadDomain(this, domain, saved);
    this.xenstore.introduce(id);
    this.xenstore.loadTree(saved.nodes);
    const channels = new HostChannels(this.#hostSide, domain, { store: store.port, console: terminal.port });
    const ends = channels.open(saved.uuid, { store: store.mfn, console: terminal.mfn });
    this.#give(domain, ends);
    ends.load(saved, { disks, captures });
    return domain;
  }

  /** Of all but the initial domain. */
  hostEnds({ id }: Domain): HostEnds | undefined {
    return this.#hostEnds.get(id);
  }

  #give({ id }: Domain, ends: HostEnds): void {
    this.#hostEnds.set(id, ends);
    this.consoles.set(id, { input: (bytes) => ends.console.input(bytes) });
  }

  #schedule(domain: Domain, vcpus: number, weight?: number): void {
    const { scheduler } = this.cores;
    domain.credit = scheduler.addDomain(domain.id, weight);
    for (let id = 0; id < vcpus; id++) {
      const vcpu = new Vcpu(domain, id);
      vcpu.unit = scheduler.addUnit(domain.credit, id, vcpu);
      domain.vcpus.push(vcpu);
      beginRunstate(this, vcpu);
    }
  }

  #inputEmergency(vcpu: Vcpu, bytes: Uint8Array): void {
    this.#emergencyInput.push(...bytes);
    raiseVirq(this, vcpu, virqs.VIRQ_CONSOLE);
  }

  /** The vCPU's registers are on the core from here on. False: they were. */
  switchTo(vcpu: Vcpu): boolean {
    if (vcpu === this.current) return false;
    this.current.context ??= this.cpu.saveContext();
    this.cpu.switchContext(this.current.context, vcpu.context!);
    this.current = vcpu;
    return true;
  }

  withRegisters(vcpu: Vcpu, change: () => void): void {
    const { current } = this;
    this.switchTo(vcpu);
    change();
    this.switchTo(current);
  }

  /** Its registers go into the CPU; what its tables no longer allow is dropped from them. */
  #enter(vcpu: Vcpu): void {
    if (this.switchTo(vcpu)) reloadSegments(this, vcpu);
    enterCore(this, vcpu);
  }

  wake(vcpu: Vcpu): void {
    if (!vcpu.isBlocked) return;
    vcpu.isBlocked = false;
    this.#settle(vcpu);
  }

  block(vcpu: Vcpu): void {
    const { scheduler, active } = this.cores;
    vcpu.isBlocked = true;
    if (active.running !== vcpu.unit) return this.#settle(vcpu);
    scheduler.block(vcpu.unit!);
    this.cores.endTurn();
  }

  setUp(vcpu: Vcpu, isUp: boolean): void {
    if (vcpu.isUp === isUp) return;
    vcpu.isUp = isUp;
    this.#settle(vcpu);
  }

  /** None of its vCPUs runs, and no time passes for it, until it has been unpaused as often. */
  pause(domain: Domain): void {
    if (domain.pauseCount++ > 0) return;
    const ns = this.latestNs(domain);
    this.#settleAll(domain);
    stopTime(this, domain, ns);
  }

  /** The latest time at which one of its vCPUs has run: their cores may be ahead of the one that acts. */
  latestNs({ vcpus }: Domain): number {
    const times = vcpus.map(({ unit, runnableSince }) => Math.max(runnableSince, this.cores.coreOf(unit!)?.ns ?? 0));
    return Math.max(this.clock.ns, ...times);
  }

  unpause(domain: Domain): void {
    if (domain.pauseCount === 0 || --domain.pauseCount > 0) return;
    resumeTime(this, domain);
    this.#settleAll(domain);
  }

  #settleAll(domain: Domain): void {
    for (const vcpu of domain.vcpus) this.#settle(vcpu);
  }

  /** Whether it may run has changed, or may have: scheduler and runstate follow. */
  #settle(vcpu: Vcpu): void {
    const { scheduler } = this.cores;
    const unit = vcpu.unit!;
    const { isReady } = vcpu;
    if (isReady === unit.isReady) {
      becomeRunnable(this, vcpu);
    } else if (isReady) {
      vcpu.runnableSince = Math.max(vcpu.runnableSince, this.clock.ns);
      becomeRunnable(this, vcpu);
      scheduler.wake(unit);
    } else {
      scheduler.sleep(unit);
      if (this.cores.coreOf(unit) === undefined) goOffline(this, vcpu);
    }
  }

  yield(vcpu: Vcpu): void {
    this.cores.scheduler.yield(vcpu.unit!);
    this.cores.decideSoon(this.cores.active);
  }

  shutdown(domain: Domain, reason: ShutdownReason): void {
    if (domain.shutdownReason !== undefined) return;
    domain.shutdownReason = reason;
    if (this.#pausesAtEnds) this.exitsLeft = 0;
    this.observer?.ending(this, domain);
    this.#stop(domain);
  }

  #stop(domain: Domain): void {
    this.#settleAll(domain);
    this.#hostEnds.get(domain.id)?.stop();
  }

  /** Ends it here and now, whatever its guest is at, and takes its memory back, but for frames that others have mapped. */
  destroy(domain: Domain): void {
    if (domain.isDying) return;
    domain.isDying = true;
    this.#stop(domain);
    this.#unschedule(domain);
    if (this.current.domain === domain) this.switchTo(this.#nobody);
    const { id } = domain;
    const ends = this.#hostEnds.get(id);
    ends?.close();
    this.#hostEnds.delete(id);
    this.consoles.delete(id);
    this.crashes.delete(domain);
    this.timeline?.domainEnds(domain);
    releaseDomain(this, domain);
    if (ends) removeDomainTree(this.xenstore, id, ends.uuid);
    this.reap();
  }

  #unschedule({ vcpus, credit }: Domain): void {
    const { cores } = this;
    for (const { unit } of vcpus) {
      const core = cores.coreOf(unit!);
      if (core !== undefined) cores.vacate(core);
      cores.scheduler.removeUnit(unit!);
    }
    cores.scheduler.removeDomain(credit!);
  }

  /** Forgets the destroyed domains of which nobody has mapped a frame any more. */
  reap(): void {
    for (const { id, isDying } of this.domains.values()) {
      if (!isDying || this.memory.pageCount(id) > 0) continue;
      this.domains.delete(id);
      this.memory.domains.delete(id);
    }
  }

  crash(domain: Domain, why: string, vaddr?: bigint): void {
    if (domain.shutdownReason !== undefined) return;
    const vcpu = this.current.domain === domain ? this.current : domain.vcpus[0]!;
    this.crashes.set(domain, { why, vcpu, vaddr });
    this.shutdown(domain, SHUTDOWN_crash);
  }

  consoleWrite(domain: Domain, bytes: Uint8Array): void {
    this.#output(domain, bytes);
  }

  consoleRefused(domain: Domain): void {
    if (!this.#refused.has(domain)) this.#consoleIoRefused?.(domain);
    this.#refused.add(domain);
  }

  consoleRead(_domain: Domain, size: number): Uint8Array {
    return Uint8Array.from(this.#emergencyInput.splice(0, size));
  }
}
