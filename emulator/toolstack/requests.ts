/**
 * What the control socket can be asked, an operation a row: its arguments come from anybody, so each is looked at before it is
 * used; its answer is plain data.
 */
import { domainPath } from '../../hypercalls/xenstore/path.ts';
import { writeCore } from './core_file.ts';
import { formatCpuList, parseCpuList } from './cpu_list.ts';
import { pressDebugKeys } from './debug_keys.ts';
import { configOf } from './domain_config.ts';
import { type VcpuInfo, vcpuInfo } from './domain_info.ts';
import { askGuest, waitForEnd } from './guest_control.ts';
import { HostFileError, readDomainFile } from './host_file.ts';
import { hostInfo, type SystemName } from './host_info.ts';
import type { DomainDescription } from './host_keys.ts';
import { restoreFromFile, type SaveProgress, saveToFile } from './saving.ts';
import type { DomainRecord, Toolstack } from './toolstack.ts';
import { ERROR_INVAL, ToolstackError } from './toolstack_error.ts';
import { listed, topOf } from './top_info.ts';

export type Arguments = Readonly<Record<string, unknown>>;

/** What a request acts on, beside its arguments. */
export interface Host {
  readonly toolstack: Toolstack;
  readonly systemName: SystemName;
  /** A path as it is meant in a file of `folder`. */
  resolvePath(folder: string, path: string): string;
}

/** Before the answer it may `tell` how far it is. */
export type Operation = (host: Host, given: Arguments, tell: (progress: SaveProgress) => void) => unknown;

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

function pin(host: Host, given: Arguments): { readonly warnings: readonly string[] } {
  const { domain } = recordOf(host, given);
  const { scheduling } = host.toolstack;
  const word = textOf(given, 'vcpu');
  if (word !== 'all' && !/^\d+$/.test(word)) throw new ToolstackError(`Error: Invalid argument ${word} as VCPU.`, ERROR_INVAL);
  const hard = affinityOf(host, given, 'hard');
  const soft = affinityOf(host, given, 'soft');
  const warnings: string[] = [];
  for (const id of word === 'all' ? domain.vcpus.keys() : [Number(word)]) {
    const vcpu = domain.vcpus[id];
    const isChange = hard !== undefined || soft !== undefined;
    const refusal = vcpu && isChange ? scheduling.setAffinity(vcpu, { ...(hard && { hard }), ...(soft && { soft }) }) : 'EINVAL';
    if (vcpu === undefined || refusal !== undefined) throw new ToolstackError(`Could not set affinity for vcpu \`${id}'.`);
    const reachable = scheduling.affinityOf(vcpu).hard;
    if (soft === undefined || soft.some((cpu) => reachable.includes(cpu))) continue;
    const what = `All cpus in soft affinity of vcpu ${id} are unreachable.`;
    warnings.push(`Domain ${domain.id}:${what} Only hard affinity will be considered for scheduling`);
  }
  return { warnings };
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

/** With what has changed since it was made. */
function presentConfigOf(toolstack: Toolstack, record: DomainRecord): unknown {
  const { domain, description } = record;
  const { c_info, b_info, ...others } = configOf({ ...description, ...toolstack.scheduling.parametersOf(domain) });
  const isAvailable = (id: number): boolean =>
    toolstack.machine.xenstore.read(`${domainPath(domain.id)}/cpu/${id}/availability`) === 'online';
  const avail_vcpus = domain.vcpus.map(({ id }) => id).filter(isAvailable);
  const { uuid } = listed(toolstack, record);
  return { domid: domain.id, config: { c_info: { ...c_info, uuid }, b_info: { ...b_info, avail_vcpus }, ...others } };
}

const nothing = (act: (...given: Parameters<Operation>) => void): Operation => {
  return (...given) => {
    act(...given);
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
  unpause: (host, given) => {
    const domid = domidOf(host, given);
    return { domid, was_paused: host.toolstack.unpause(domid) };
  },
  rename: nothing((host, given) => host.toolstack.rename(domidOf(host, given), textOf(given, 'to'))),
  save: async (host, given, tell) => {
    const { afterwards = 'destroy' } = given;
    if (afterwards !== 'destroy' && afterwards !== 'run' && afterwards !== 'pause') wrong('afterwards', 'word of destroy, run and pause');
    else await saveToFile(host.toolstack, recordOf(host, given), textOf(given, 'file'), afterwards, tell);
    return {};
  },
  restore: ({ toolstack }, given) => {
    const options = { isPaused: given.paused === true, isPreserved: given.preserved === true };
    const { domain, ...rings } = restoreFromFile(toolstack, textOf(given, 'file'), options);
    return { domid: domain.id, name: domain.name, ...rings };
  },
  shutdown: async (host, given) => {
    await askGuest(host.toolstack, domidOf(host, given), given.reboot === true ? 'reboot' : 'poweroff');
    return {};
  },
  wait: async (host, given) => {
    const { reason = null, action = null } = await waitForEnd(host.toolstack, countOf(given, 'domid'));
    return { reason, action };
  },
  pin,
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
