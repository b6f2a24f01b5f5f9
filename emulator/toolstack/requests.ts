/**
 * What the control socket can be asked, an operation a row: its arguments come from anybody, so each is looked at before it is
 * used; its answer is plain data.
 */
import { domainPath } from '../../hypercalls/xenstore/path.ts';
import { writeCore } from './core_file.ts';
import { formatCpuList, parseCpuList } from './cpu_list.ts';
import { pressDebugKeys } from './debug_keys.ts';
import { configOf } from './domain_config.ts';
import { type DomainInfo, domainInfo, type VcpuInfo, type VcpuLoad, vcpuInfo, vcpuLoad } from './domain_info.ts';
import { askGuest, waitForEnd } from './guest_control.ts';
import { HostFileError, readDomainFile } from './host_file.ts';
import { freeMemory, hostInfo, type SystemName } from './host_info.ts';
import type { DomainDescription } from './host_keys.ts';
import { restoreFromFile, saveToFile } from './saving.ts';
import type { RunqueueInfo } from './scheduling.ts';
import type { DomainRecord, Toolstack } from './toolstack.ts';
import { ERROR_INVAL, ToolstackError } from './toolstack_error.ts';

export type Arguments = Readonly<Record<string, unknown>>;

/** What a request acts on, beside its arguments. */
export interface Host {
  readonly toolstack: Toolstack;
  readonly systemName: SystemName;
  /** A path as it is meant in a file of `folder`. */
  resolvePath(folder: string, path: string): string;
}

export type Operation = (host: Host, given: Arguments) => unknown;

export interface ListedDomain extends DomainInfo {
  readonly uuid: string;
}

export interface ListedVcpu extends VcpuInfo {
  readonly domid: number;
  readonly name: string;
  readonly cpu: number;
  /** As xl shows them. */
  readonly hard_affinity: string;
  readonly soft_affinity: string;
}

export interface ScheduledDomain {
  readonly domid: number;
  readonly name: string;
  readonly weight: number;
  readonly cap: number;
}

function wrong(key: string, what: string): never {
  throw new ToolstackError(`${key} is no ${what}`, ERROR_INVAL);
}

function textOf(given: Arguments, key: string): string {
  const value = given[key];
  return typeof value === 'string' ? value : wrong(key, 'text');
}

function countOf(given: Arguments, key: string): number {
  const value = given[key];
  return typeof value === 'number' && Number.isInteger(value) ? value : wrong(key, 'whole number');
}

function textsOf(given: Arguments, key: string): readonly string[] {
  const value = given[key] ?? [];
  return Array.isArray(value) && value.every((each) => typeof each === 'string') ? value : wrong(key, 'list of texts');
}

const isGiven = (given: Arguments, key: string): boolean => given[key] !== undefined;

/** The domain that `domain` names, in xl's words when there is none. */
function recordOf({ toolstack }: Host, given: Arguments): DomainRecord {
  const word = textOf(given, 'domain');
  const record = toolstack.find(word);
  if (record !== undefined) return record;
  const isId = /^\d+$/.test(word);
  throw new ToolstackError(
    isId ? `Error: Domain '${word}' does not exist.` : `${word} is an invalid domain identifier (rc=-6)`,
    ERROR_INVAL,
  );
}

const domidOf = (host: Host, given: Arguments): number => recordOf(host, given).domain.id;

/** The one that `domain` names, or all. */
const recordsOf = (host: Host, given: Arguments): readonly DomainRecord[] =>
  isGiven(given, 'domain') ? [recordOf(host, given)] : host.toolstack.records;

function listed({ machine }: Toolstack, { domain }: DomainRecord): ListedDomain {
  const uuid = machine.xenstore.read(`${domainPath(domain.id)}/vm`)?.slice('/vm/'.length) ?? '';
  return { ...domainInfo(machine, domain), uuid };
}

function listedVcpus({ toolstack: { machine, scheduling } }: Host, { domain }: DomainRecord): ListedVcpu[] {
  return domain.vcpus.map((vcpu) => {
    const { hard, soft } = scheduling.affinityOf(vcpu);
    return {
      domid: domain.id,
      name: domain.name,
      ...vcpuInfo(machine, vcpu),
      cpu: scheduling.cpuOf(vcpu),
      hard_affinity: formatCpuList(hard, scheduling.cpuCount),
      soft_affinity: formatCpuList(soft, scheduling.cpuCount),
    };
  });
}

function scheduled({ toolstack }: Host, { domain }: DomainRecord): ScheduledDomain {
  const { weight, cap } = toolstack.scheduling.parametersOf(domain);
  return { domid: domain.id, name: domain.name, weight, cap };
}

function affinityOf({ toolstack }: Host, given: Arguments, key: 'hard' | 'soft'): readonly number[] | undefined {
  const text = isGiven(given, key) ? textOf(given, key) : '-';
  if (text === '-') return undefined;
  const cpus = parseCpuList(text, toolstack.scheduling.cpuCount);
  if (cpus === undefined) throw new ToolstackError(`Invalid pcpu range: ${text}.`, ERROR_INVAL);
  if (key === 'hard' && cpus.length === 0) throw new ToolstackError('vcpu hard affinity map is empty', ERROR_INVAL);
  return cpus;
}

function pin(host: Host, given: Arguments): void {
  const { domain } = recordOf(host, given);
  const { scheduling } = host.toolstack;
  const word = textOf(given, 'vcpu');
  if (word !== 'all' && !/^\d+$/.test(word)) throw new ToolstackError(`Error: Invalid argument ${word} as VCPU.`, ERROR_INVAL);
  const hard = affinityOf(host, given, 'hard');
  const soft = affinityOf(host, given, 'soft');
  for (const id of word === 'all' ? domain.vcpus.keys() : [Number(word)]) {
    const vcpu = domain.vcpus[id];
    const refusal = vcpu ? scheduling.setAffinity(vcpu, { ...(hard && { hard }), ...(soft && { soft }) }) : 'EINVAL';
    if (refusal !== undefined) throw new ToolstackError(`Could not set affinity for vcpu \`${id}'.`);
  }
}

/** A mistake in the file is the asker's. */
function describedDomain(given: Arguments): DomainDescription {
  try {
    return readDomainFile(textOf(given, 'file'), textOf(given, 'text'), textsOf(given, 'changes'));
  } catch (error) {
    if (error instanceof HostFileError) throw new ToolstackError(error.message, ERROR_INVAL);
    throw error;
  }
}

function create(host: Host, given: Arguments): { domid: number; name: string } {
  const folder = textOf(given, 'folder');
  const description = describedDomain(given);
  const at = (path: string): string => host.resolvePath(folder, path);
  const domain = host.toolstack.create(
    {
      ...description,
      kernel: at(description.kernel),
      ramdisk: description.ramdisk === undefined ? undefined : at(description.ramdisk),
      disk: description.disk.map((disk) => ({ ...disk, path: at(disk.path) })),
    },
    given.paused === true,
  );
  return { domid: domain.id, name: domain.name };
}

const VBD_FIELDS = ['readRequests', 'writeRequests', 'readSectors', 'writtenSectors'] as const;
const NET_FIELDS = ['sentBytes', 'receivedBytes'] as const;

export interface TopDomain extends ListedDomain {
  readonly weight: number;
  readonly cap: number;
  readonly vbds: number;
  /** Requests read and written, sectors read and written. */
  readonly vbd_counts: readonly number[];
  readonly nets: number;
  /** Bytes sent and received. */
  readonly net_counts: readonly number[];
  readonly vcpu_loads: readonly VcpuLoad[];
}

export interface Top {
  /** Virtual nanoseconds. */
  readonly now: number;
  readonly cpus: number;
  readonly cpu_khz: number;
  readonly total_kib: number;
  readonly free_kib: number;
  readonly domains: readonly TopDomain[];
  readonly runqueues: readonly RunqueueInfo[];
}

function topOf(toolstack: Toolstack): Top {
  const { machine, scheduling, records } = toolstack;
  return {
    now: machine.clock.ns,
    cpus: scheduling.cpuCount,
    cpu_khz: machine.clock.tscKhz,
    total_kib: toolstack.description.memory / 1024,
    free_kib: freeMemory(toolstack) / 1024,
    domains: records.map((record) => {
      const { domain } = record;
      const ends = machine.hostEnds(domain);
      const backends = ends?.blockBackends ?? [];
      const nets = ends?.netBackends ?? [];
      return {
        ...listed(toolstack, record),
        ...scheduling.parametersOf(domain),
        vbds: backends.length,
        vbd_counts: VBD_FIELDS.map((field) => backends.reduce((sum, { statistics }) => sum + statistics[field], 0)),
        nets: nets.length,
        net_counts: NET_FIELDS.map((field) => nets.reduce((sum, { statistics }) => sum + statistics[field], 0)),
        vcpu_loads: domain.vcpus.map((vcpu) => vcpuLoad(machine, vcpu)),
      };
    }),
    runqueues: scheduling.runqueues(),
  };
}

/** With what has changed since it was made. */
function presentConfigOf(toolstack: Toolstack, record: DomainRecord): unknown {
  const { domain, description } = record;
  const { c_info, b_info, ...others } = configOf({ ...description, ...toolstack.scheduling.parametersOf(domain) });
  const avail_vcpus = domain.vcpus.filter(({ isUp }) => isUp).map(({ id }) => id);
  const { uuid } = listed(toolstack, record);
  return { domid: domain.id, config: { c_info: { ...c_info, uuid }, b_info: { ...b_info, avail_vcpus }, ...others } };
}

const nothing = (act: (host: Host, given: Arguments) => void): Operation => {
  return (host, given) => {
    act(host, given);
    return {};
  };
};

export const operations: Readonly<Record<string, Operation>> = {
  list: (host, given) => recordsOf(host, given).map((record) => listed(host.toolstack, record)),
  config: (host, given) => recordsOf(host, given).map((record) => presentConfigOf(host.toolstack, record)),
  vcpus: (host, given) => recordsOf(host, given).flatMap((record) => listedVcpus(host, record)),
  create,
  check: (_host, given) => configOf(describedDomain(given)),
  destroy: nothing((host, given) => host.toolstack.destroy(domidOf(host, given))),
  pause: nothing((host, given) => host.toolstack.pause(domidOf(host, given))),
  unpause: nothing((host, given) => host.toolstack.unpause(domidOf(host, given))),
  rename: nothing((host, given) => host.toolstack.rename(domidOf(host, given), textOf(given, 'to'))),
  save: nothing((host, given) => {
    const { afterwards = 'destroy' } = given;
    if (afterwards !== 'destroy' && afterwards !== 'run' && afterwards !== 'pause') wrong('afterwards', 'word of destroy, run and pause');
    else saveToFile(host.toolstack, recordOf(host, given), textOf(given, 'file'), afterwards);
  }),
  restore: ({ toolstack }, given) => {
    const { id, name } = restoreFromFile(toolstack, textOf(given, 'file'), given.paused === true);
    return { domid: id, name };
  },
  shutdown: async (host, given) => {
    await askGuest(host.toolstack, domidOf(host, given), given.reboot === true ? 'reboot' : 'poweroff');
    return {};
  },
  wait: async (host, given) => ({ reason: (await waitForEnd(host.toolstack, countOf(given, 'domid'))) ?? null }),
  pin: nothing(pin),
  set_vcpus: nothing((host, given) => host.toolstack.setVcpus(domidOf(host, given), countOf(given, 'count'))),
  schedule: (host, given) => ({
    ratelimit_us: host.toolstack.scheduling.ratelimitUs,
    domains: recordsOf(host, given).map((record) => scheduled(host, record)),
  }),
  set_schedule: nothing((host, given) => {
    const change = {
      ...(isGiven(given, 'weight') && { weight: countOf(given, 'weight') }),
      ...(isGiven(given, 'cap') && { cap: countOf(given, 'cap') }),
    };
    host.toolstack.setSchedule(domidOf(host, given), change);
  }),
  set_ratelimit: nothing((host, given) => host.toolstack.setRatelimit(countOf(given, 'us'))),
  /** Who asked sees it from now on. */
  console: (host, given) => ({ domid: domidOf(host, given) }),
  /** Who asked gets the timeline from now on, for so many seconds of virtual time. */
  trace: ({ toolstack }, given) => {
    const { seconds = null } = given;
    if (seconds !== null && !(typeof seconds === 'number' && seconds > 0 && seconds <= 1e6)) wrong('seconds', 'number of seconds');
    if (toolstack.machine.timeline !== undefined) throw new ToolstackError('this host is being recorded already');
    return { seconds };
  },
  info: (host) => hostInfo(host.toolstack, host.systemName),
  top: ({ toolstack }) => topOf(toolstack),
  uptime: (host, given) =>
    recordsOf(host, given).map(({ domain, startedAt }) => ({
      domid: domain.id,
      name: domain.name,
      uptime_s: Math.floor(Number(host.toolstack.machine.clock.now() - startedAt) / 1e9),
    })),
  dmesg: ({ toolstack: { log } }, given) => {
    const text = log.read();
    if (given.clear === true) log.clear();
    return { text };
  },
  debug_keys: nothing((host, given) => pressDebugKeys(host.toolstack, textOf(given, 'keys'))),
  dump_core: nothing((host, given) => {
    const { domain } = recordOf(host, given);
    host.toolstack.files.write(textOf(given, 'file'), writeCore(host.toolstack.machine, domain));
  }),
};
