/**
 * The operations on a host and its domains, one layer for all who call them: the verbs of `beneath` over the control socket,
 * and one day domctl and sysctl. What they refuse is a ToolstackError; how things look on a terminal is the verbs' business.
 */
import { ImageError } from '../../firmware/image_error.ts';
import { domainPath } from '../../hypercalls/xenstore/path.ts';
import type { Domain } from '../domain.ts';
import { Machine, type MachineOptions } from '../machine.ts';
import { PAGE_SIZE } from '../memory/machine_memory.ts';
import { bootMessages } from './boot_messages.ts';
import { ConsoleTap } from './console_tap.ts';
import { parseCpuList } from './cpu_list.ts';
import { type OpenDisk, refusalToShare } from './disk_sharing.ts';
import type { DiskDescription } from './disk_spec.ts';
import type { DomainDescription, HostDescription, ShutdownAction } from './host_keys.ts';
import { MessageLog } from './message_log.ts';
import { type PluggedNet, withMac } from './net_spec.ts';
import type { Packing } from './save_file.ts';
import { Scheduling, topologyOf } from './scheduling.ts';
import { ERROR_INVAL, ToolstackError } from './toolstack_error.ts';

const MIB = 1024 * 1024;
/** What ring -1 itself needs for a domain. */
const OVERHEAD = 128 * 1024;
const MOST_ENDED = 1000;

/** The files of whoever runs the host. What cannot be read, opened or written they say with an error of one line. */
export interface HostFiles extends Packing {
  read(path: string, what: string): Uint8Array;
  openDisk(disk: DiskDescription): OpenDisk;
  write(path: string, parts: Iterable<Uint8Array>): void;
  /** As `write`, but bit by bit, and a file that was there stays as it is until the new one is whole. */
  replace(path: string, parts: AsyncIterable<Uint8Array>): Promise<void>;
}

export interface ToolstackOptions extends Pick<MachineOptions, 'wallClockAtStart' | 'hostNs' | 'verboseDebug'> {
  readonly files: HostFiles;
  /** What domains print, beside the viewers of their consoles. */
  readonly output?: (domain: Domain, bytes: Uint8Array) => void;
  /** What a person wants to know of the lives of domains: a line each. */
  readonly report?: (line: string) => void;
}

/** How a domain ended. */
export interface DomainEnd {
  /** SHUTDOWN_*; undefined: it was destroyed before it shut down. */
  readonly reason: number | undefined;
  /** What was done about it. */
  readonly action: ShutdownAction | undefined;
}

/** What the toolstack keeps of a domain. */
export interface DomainRecord {
  readonly domain: Domain;
  description: DomainDescription;
  readonly disks: readonly OpenDisk[];
  readonly console: ConsoleTap;
  /** Nanoseconds of virtual time. */
  readonly startedAt: bigint;
  /** What is done about its end, once that was seen. */
  action: ShutdownAction | undefined;
  /** How many lives of it in a row were short, up to the one before. */
  shortLives: number;
}

export class Toolstack {
  readonly description: HostDescription;
  readonly machine: Machine;
  readonly scheduling: Scheduling;
  readonly log = new MessageLog();
  readonly files: HostFiles;
  readonly report: (line: string) => void;
  /** Files that are being written: a host that ends waits for them. */
  readonly unfinished = new Set<Promise<void>>();
  /** Every disk that was closed could be written back. */
  areDisksSafe = true;
  readonly #records = new Map<number, DomainRecord>();
  /** The last ones. */
  readonly #ended = new Map<number, DomainEnd>();
  readonly #endWatchers = new Set<(domid: number, end: DomainEnd) => void>();

  constructor(description: HostDescription, { files, output, report, ...options }: ToolstackOptions) {
    this.description = description;
    this.files = files;
    this.report = report ?? (() => {});
    this.machine = new Machine({
      memorySize: description.memory,
      engine: description.engine,
      pausesAtEnds: true,
      topology: topologyOf(description),
      scheduling: {
        ...(description.credit2_runqueue !== undefined && { runqueue: description.credit2_runqueue }),
        ...(description.sched_ratelimit_us !== undefined && { ratelimitUs: description.sched_ratelimit_us }),
      },
      ...options,
      output: (domain, bytes) => {
        this.#records.get(domain.id)?.console.output(bytes);
        output?.(domain, bytes);
      },
    });
    this.scheduling = new Scheduling(this.machine);
    this.log.write(bootMessages(this.machine, description.memory).join('\n'));
  }

  /** By domid, without the host itself. */
  get records(): DomainRecord[] {
    return [...this.#records.values()].sort((a, b) => a.domain.id - b.domain.id);
  }

  record(domid: number): DomainRecord {
    const record = this.#records.get(domid);
    if (record === undefined) throw new ToolstackError(`Domain '${domid}' does not exist.`, ERROR_INVAL);
    return record;
  }

  /** Whom a person means: a number is a domid, all else a name. undefined: nobody. */
  find(nameOrId: string): DomainRecord | undefined {
    if (/^\d+$/.test(nameOrId)) return this.#records.get(Number(nameOrId));
    return this.records.find(({ domain }) => domain.name === nameOrId);
  }

  /** Builds the domain, and lets it run unless it shall stay paused. */
  create(given: DomainDescription, isPaused = false): Domain {
    const description = { ...given, vif: given.vif.map((net, i) => withMac(net, given.name, i)) };
    const { name, kernel, ramdisk } = description;
    this.refuseTakenName(name);
    this.#refuseTooMuchMemory(name, description.memory);
    const image = this.files.read(kernel, 'kernel');
    const ramdiskBytes = ramdisk === undefined ? undefined : this.files.read(ramdisk, 'ramdisk');
    return this.withDisks(description, (disks) => this.#build(description, image, ramdiskBytes, disks, isPaused));
  }

  /** Opens the disks of a domain for `make`, and closes them again if that comes to nothing. */
  withDisks<T>({ name, disk: descriptions }: DomainDescription, make: (disks: readonly OpenDisk[]) => T): T {
    const disks: OpenDisk[] = [];
    try {
      for (const description of descriptions) {
        const disk = this.files.openDisk(description);
        disks.push(disk);
        this.#refuseSharing(disk, name, disks.slice(0, -1));
      }
      return make(disks);
    } catch (error) {
      this.#close(disks);
      throw error;
    }
  }

  #refuseSharing(disk: OpenDisk, owner: string, disksOfOwner: readonly OpenDisk[]): void {
    const holders = [...this.records.map(({ domain, disks }) => ({ name: domain.name, disks })), { name: owner, disks: disksOfOwner }];
    for (const { name, disks } of holders) {
      for (const other of disks) {
        const refusal = refusalToShare(disk, other, `domain '${name}'`);
        if (refusal !== undefined) throw new ToolstackError(refusal);
      }
    }
  }

  /** One that could not be written back does not keep the others from it. */
  #close(disks: readonly OpenDisk[]): void {
    for (const disk of disks) {
      try {
        disk.close();
      } catch (error) {
        if (!(error instanceof ToolstackError)) throw error;
        this.report(error.message);
        this.areDisksSafe = false;
      }
    }
  }

  #build(
    description: DomainDescription & { readonly vif: readonly PluggedNet[] },
    image: Uint8Array,
    ramdisk: Uint8Array | undefined,
    disks: readonly OpenDisk[],
    isPaused: boolean,
  ): Domain {
    const { name, kernel, maxmem, vcpus, maxvcpus = vcpus, weight, cap } = description;
    const { machine } = this;
    const domain = machine.createPvDomain(image, {
      name,
      isInitial: false,
      memorySize: description.memory,
      vcpus: maxvcpus,
      weight,
      cmdline: description.cmdline,
      kernelPath: kernel,
      disks: description.disk.map((disk, i) => ({ ...disk, disk: disks[i]! })),
      interfaces: description.vif,
      ...(maxmem !== undefined && { maxMemorySize: maxmem }),
      ...(ramdisk && { ramdisk }),
      ...(description.ramdisk !== undefined && { ramdiskPath: description.ramdisk }),
    });
    if (domain instanceof ImageError) throw new ToolstackError(`${kernel}: ${domain.message}`);
    if (isPaused) machine.pause(domain);
    this.adopt(domain, description, disks);
    for (let vcpu = vcpus; vcpu < maxvcpus; vcpu++) this.#setAvailability(domain, vcpu, false);
    this.scheduling.adjust(domain, { cap });
    this.#applyAffinities(domain, description);
    return domain;
  }

  /** The domain is one of this host's from now on. */
  adopt(domain: Domain, description: DomainDescription, disks: readonly OpenDisk[] = []): void {
    this.#records.set(domain.id, {
      domain,
      description,
      disks,
      console: new ConsoleTap(),
      startedAt: this.machine.clock.now(),
      action: undefined,
      shortLives: 0,
    });
  }

  #applyAffinities(domain: Domain, { cpus, cpus_soft }: DomainDescription): void {
    const { scheduling } = this;
    const listOf = (lists: string | readonly string[], vcpu: number): readonly number[] => {
      const text = typeof lists === 'string' ? lists : (lists[vcpu] ?? 'all');
      return parseCpuList(text, scheduling.cpuCount) ?? [];
    };
    for (const vcpu of domain.vcpus) {
      const refusal = scheduling.setAffinity(vcpu, { hard: listOf(cpus, vcpu.id), soft: listOf(cpus_soft, vcpu.id) });
      if (refusal === undefined) continue;
      this.report(`Domain ${domain.id} (${domain.name}): cpus names none of the ${scheduling.cpuCount} CPUs; it may run on all`);
      return;
    }
  }

  #refuseTooMuchMemory(name: string, size: number): void {
    const free = this.machine.memory.freeCount * PAGE_SIZE - OVERHEAD;
    if (size <= free) return;
    const mib = (bytes: number): number => Math.floor(bytes / MIB);
    throw new ToolstackError(`${name}: memory = ${mib(size)}M, and the host has ${mib(free)}M left; give it less, or destroy another`);
  }

  refuseTakenName(name: string): void {
    if (this.find(name) !== undefined) throw new ToolstackError(`Domain with name "${name}" already exists.`, ERROR_INVAL);
  }

  /** At once, whatever its guest is doing. Its frames that others have mapped are freed when they let go. */
  destroy(domid: number): void {
    const record = this.record(domid);
    const end = endOf(record);
    this.machine.destroy(record.domain);
    this.#records.delete(domid);
    record.console.end();
    this.#close(record.disks);
    this.#ended.set(domid, end);
    for (const old of this.#ended.keys()) if (this.#ended.size > MOST_ENDED) this.#ended.delete(old);
    for (const watcher of [...this.#endWatchers]) watcher(domid, end);
  }

  /** How a domain ended that is gone or kept as it was at its end, as far as that is remembered; undefined: it lives. */
  endOf(domid: number): DomainEnd | undefined {
    const record = this.#records.get(domid);
    if (record?.action === 'preserve') return endOf(record);
    return record === undefined ? (this.#ended.get(domid) ?? { reason: undefined, action: undefined }) : undefined;
  }

  /** A domain that has shut down stays as it is, and those who wait for its end are told. */
  preserve(record: DomainRecord): void {
    record.action = 'preserve';
    for (const watcher of [...this.#endWatchers]) watcher(record.domain.id, endOf(record));
  }

  pause(domid: number): void {
    this.machine.pause(this.record(domid).domain);
  }

  /** Whether it was paused. */
  unpause(domid: number): boolean {
    const { domain } = this.record(domid);
    const wasPaused = domain.pauseCount > 0;
    this.machine.unpause(domain);
    return wasPaused;
  }

  rename(domid: number, name: string): void {
    const record = this.record(domid);
    const { domain } = record;
    if (name === domain.name) return;
    this.refuseTakenName(name);
    const { xenstore } = this.machine;
    domain.name = name;
    record.description = { ...record.description, name };
    const home = domainPath(domid);
    xenstore.write(`${home}/name`, name);
    xenstore.write(`${xenstore.read(`${home}/vm`)}/name`, name);
  }

  /** How many vCPUs the guest shall use: it is asked through xenstore. */
  setVcpus(domid: number, count: number): void {
    const { domain } = this.record(domid);
    if (count === 0) throw new ToolstackError('Requested 0 VCPUs!');
    const most = domain.vcpus.length;
    if (count > most) throw new ToolstackError(`Requested ${count} VCPUs, however maxcpus is ${most}!`);
    for (const { id } of domain.vcpus) this.#setAvailability(domain, id, id < count);
  }

  #setAvailability({ id }: Domain, vcpu: number, isOnline: boolean): void {
    this.machine.xenstore.write(`${domainPath(id)}/cpu/${vcpu}/availability`, isOnline ? 'online' : 'offline');
  }

  setSchedule(domid: number, change: { readonly weight?: number; readonly cap?: number }): void {
    const { domain } = this.record(domid);
    const { weight, cap } = change;
    if (weight !== undefined && !(weight >= 1 && weight <= 65535))
      throw new ToolstackError('Cpu weight out of range, valid values are within range from 1 to 65535', ERROR_INVAL);
    const most = 100 * domain.vcpus.length;
    if (cap !== undefined && !(cap >= 0 && cap <= most))
      throw new ToolstackError(`Cpu cap out of range, valid range is from 0 to ${most} for specified number of vcpus`, ERROR_INVAL);
    this.scheduling.adjust(domain, change);
  }

  setRatelimit(us: number): void {
    if (this.scheduling.setRatelimit(us) === 'EINVAL')
      throw new ToolstackError('Ratelimit out of range, valid range is from 100 to 500000', ERROR_INVAL);
  }

  /** Keys typed at the domain's console. */
  type(domid: number, bytes: Uint8Array): void {
    this.machine.consoles.get(this.record(domid).domain.id)?.input(bytes);
  }

  /** Calls `ended` when a domain is destroyed, or preserved after its end. */
  onEnd(ended: (domid: number, end: DomainEnd) => void): () => void {
    this.#endWatchers.add(ended);
    return () => void this.#endWatchers.delete(ended);
  }

  /** What was written to them is safe, whatever has become of the machine. */
  closeDisks(): void {
    for (const { disks } of this.#records.values()) this.#close(disks);
  }

  /** Ends all domains, so that their disks are as they left them. */
  close(): void {
    for (const { domain } of this.records) this.destroy(domain.id);
  }
}

const endOf = ({ domain, action }: DomainRecord): DomainEnd => ({ reason: domain.shutdownReason, action });
