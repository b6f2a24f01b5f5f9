/** The keys of a host file, a row each: what may be written there, what it becomes, and what it is when it is left out. */
import { MAX_GUEST_CMDLINE } from '../../firmware/start_info.ts';
import { type EngineKind, engineKinds } from '../cpu/index.ts';
import { type Arrangement, XEN_SYSCTL_SCHED_RATELIMIT_MAX, XEN_SYSCTL_SCHED_RATELIMIT_MIN } from '../scheduler/credit2/parameters.ts';
import { parseCpuList } from './cpu_list.ts';
import { type DiskDescription, parseDisk } from './disk_spec.ts';
import { type NetDescription, parseNet } from './net_spec.ts';
import { parseMemory } from './size.ts';

export interface Topology {
  readonly sockets: number;
  readonly cores_per_socket: number;
  readonly threads_per_core: number;
}

export interface HostDescription {
  readonly name: string | undefined;
  /** Bytes for all domains. */
  readonly memory: number;
  readonly cores: number | undefined;
  readonly topology: Topology | undefined;
  /** Which CPUs share a runqueue, and how long a vCPU runs undisturbed: Xen's command line. */
  readonly credit2_runqueue: Arrangement | undefined;
  readonly sched_ratelimit_us: number | undefined;
  readonly engine: EngineKind;
  readonly domains: readonly DomainDescription[];
}

export const shutdownActions = ['destroy', 'restart', 'preserve', 'coredump-destroy', 'coredump-restart'] as const;
export type ShutdownAction = (typeof shutdownActions)[number];

/** All that makes a domain, so that it can be made again. Paths as they were written. */
export interface DomainDescription {
  readonly name: string;
  readonly kernel: string;
  readonly ramdisk: string | undefined;
  readonly cmdline: string;
  readonly type: 'pv';
  /** Bytes. */
  readonly memory: number;
  readonly maxmem: number | undefined;
  readonly vcpus: number;
  readonly maxvcpus: number | undefined;
  readonly weight: number;
  readonly cap: number;
  /** For all vCPUs, or for each; xl's text. */
  readonly cpus: string | readonly string[];
  readonly cpus_soft: string | readonly string[];
  readonly disk: readonly DiskDescription[];
  readonly vif: readonly NetDescription[];
  readonly on_poweroff: ShutdownAction;
  readonly on_reboot: ShutdownAction;
  readonly on_crash: ShutdownAction;
  readonly on_watchdog: ShutdownAction;
}

/** What should stand there instead. */
export class Wrong extends Error {}

export interface Key {
  readonly field: string;
  readonly read: (value: unknown) => unknown;
  readonly otherwise?: unknown;
  readonly isNeeded?: boolean;
  readonly example?: string;
}
export type Keys<T extends object> = Readonly<Record<string, Key & { readonly field: keyof T & string }>>;

const MAX_VCPUS = 128;
const MAX_CORES = 64;
export const DEFAULT_MEMORY = 128 * 1024 * 1024;
const DEFAULT_HOST_MEMORY = 512 * 1024 * 1024;

function wrong(what: string): never {
  throw new Wrong(what);
}

function text(value: unknown): string {
  if (typeof value !== 'string') return wrong('write text in quotes');
  return value.includes('\0') ? wrong('leave out the character of code 0') : value;
}

/** In tables and paths, and never to be mistaken for a domid. */
function name(value: unknown): string {
  const given = text(value);
  if (!/^[\w.+-]{1,64}$/.test(given)) wrong('a name is made of letters, digits and . _ + -');
  return /^\d+$/.test(given) ? wrong('a number alone is a domid; put a letter into it') : given;
}

const path = (value: unknown): string => text(value) || wrong('name a file');

/** A sentence as the end of another. */
const asAdvice = (sentence: string): string => `${sentence[0]!.toLowerCase()}${sentence.slice(1, -1)}`;

function count(least: number, most: number): (value: unknown) => number {
  return (value) => {
    const isCount = typeof value === 'number' && Number.isInteger(value) && value >= least && value <= most;
    return isCount ? value : wrong(`give a whole number from ${least} to ${most}`);
  };
}

function oneOf<T extends string>(words: readonly T[]): (value: unknown) => T {
  return (value) => words.find((word) => word === value) ?? wrong(`choose of ${words.join(', ')}`);
}

function memory(value: unknown): number {
  if (typeof value !== 'number' && typeof value !== 'string') wrong('write a size such as "128M", or a number of MiB');
  const size = parseMemory(String(value));
  return typeof size === 'number' ? size : wrong(asAdvice(size));
}

function cmdline(value: unknown): string {
  const given = text(value);
  const size = encodeURIComponent(given).replaceAll(/%../g, '-').length;
  return size < MAX_GUEST_CMDLINE ? given : wrong(`it has ${size} bytes; give at most ${MAX_GUEST_CMDLINE - 1}`);
}

function cpus(value: unknown): string | readonly string[] {
  const check = (one: unknown): string => {
    const list = String(one);
    const isList = (typeof one === 'string' || typeof one === 'number') && parseCpuList(list, MAX_CORES)?.length;
    return isList ? list : wrong('write CPUs as "all", "0-3", "0,2" or "all,^1", or a list with one such text for each vCPU');
  };
  return Array.isArray(value) ? value.map(check) : check(value);
}

function disks(value: unknown): readonly DiskDescription[] {
  if (!Array.isArray(value) || !value.every((each) => typeof each === 'string')) wrong('write a list such as ["web.img,rw"]');
  const read: DiskDescription[] = [];
  for (const each of value as string[]) {
    const disk = parseDisk(each, read);
    read.push(typeof disk === 'string' ? wrong(asAdvice(disk)) : disk);
  }
  return read;
}

function interfaces(value: unknown): readonly NetDescription[] {
  if (!Array.isArray(value) || !value.every((each) => typeof each === 'string')) wrong('write a list such as ["bridge=xenbr0"]');
  return (value as string[]).map((each) => {
    const net = parseNet(each);
    if (typeof net === 'string') return wrong(asAdvice(net));
    return net.pcap === undefined ? net : wrong('pcap= is for beneath run --net; leave it out');
  });
}

function topology(value: unknown): Topology {
  const isTable = typeof value === 'object' && value !== null && !Array.isArray(value);
  const parts: Readonly<Record<string, unknown>> = { sockets: 1, cores_per_socket: 1, threads_per_core: 1, ...(isTable ? value : {}) };
  const isRight =
    isTable && Object.keys(parts).length === 3 && Object.values(parts).every((part) => Number.isInteger(part) && (part as number) > 0);
  if (!isRight) wrong('write { sockets = 1, cores_per_socket = 2, threads_per_core = 1 }');
  const read = parts as unknown as Topology;
  return read.sockets * read.cores_per_socket * read.threads_per_core <= MAX_CORES
    ? read
    : wrong(`that is more than ${MAX_CORES} cores; give less`);
}

function ratelimit(value: unknown): number {
  if (value === 0) return 0;
  return count(XEN_SYSCTL_SCHED_RATELIMIT_MIN, XEN_SYSCTL_SCHED_RATELIMIT_MAX)(value);
}

const action = oneOf(shutdownActions);

// biome-ignore format: a table
export const hostKeys: Keys<Omit<HostDescription, 'domains'>> = {
  name:              { field: 'name',     read: name },
  memory:            { field: 'memory',   read: memory, otherwise: DEFAULT_HOST_MEMORY },
  cores:             { field: 'cores',    read: count(1, MAX_CORES) },
  topology:          { field: 'topology', read: topology },
  credit2_runqueue:  { field: 'credit2_runqueue',   read: oneOf(['cpu', 'core', 'socket', 'node', 'all']) },
  sched_ratelimit_us: { field: 'sched_ratelimit_us', read: ratelimit },
  engine:            { field: 'engine',   read: oneOf(engineKinds), otherwise: 'translate' },
};

// biome-ignore format: a table
export const domainKeys: Keys<DomainDescription> = {
  name:              { field: 'name',        read: name, isNeeded: true, example: 'name = "web"' },
  kernel:            { field: 'kernel',      read: path, isNeeded: true, example: 'kernel = "FILE"' },
  ramdisk:           { field: 'ramdisk',     read: path },
  cmdline:           { field: 'cmdline',     read: cmdline, otherwise: '' },
  extra:             { field: 'cmdline',     read: cmdline, otherwise: '' },
  type:              { field: 'type',        read: oneOf(['pv']), otherwise: 'pv' },
  memory:            { field: 'memory',      read: memory, otherwise: DEFAULT_MEMORY },
  maxmem:            { field: 'maxmem',      read: memory },
  vcpus:             { field: 'vcpus',       read: count(1, MAX_VCPUS), otherwise: 1 },
  maxvcpus:          { field: 'maxvcpus',    read: count(1, MAX_VCPUS) },
  weight:            { field: 'weight',      read: count(1, 65535), otherwise: 256 },
  cpu_weight:        { field: 'weight',      read: count(1, 65535), otherwise: 256 },
  cap:               { field: 'cap',         read: count(0, 65535), otherwise: 0 },
  cpus:              { field: 'cpus',        read: cpus, otherwise: 'all' },
  cpus_soft:         { field: 'cpus_soft',   read: cpus, otherwise: 'all' },
  disk:              { field: 'disk',        read: disks, otherwise: [] },
  vif:               { field: 'vif',         read: interfaces, otherwise: [] },
  on_poweroff:       { field: 'on_poweroff', read: action, otherwise: 'destroy' },
  on_reboot:         { field: 'on_reboot',   read: action, otherwise: 'restart' },
  on_crash:          { field: 'on_crash',    read: action, otherwise: 'destroy' },
  on_watchdog:       { field: 'on_watchdog', read: action, otherwise: 'destroy' },
};
