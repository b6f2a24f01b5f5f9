/** A host at a glance: what `beneath top` shows of all domains and of the runqueues, and of a domain what every list shows. */
import { domainPath } from '../../hypercalls/xenstore/path.ts';
import { type DomainInfo, domainInfo, type VcpuLoad, vcpuLoad } from './domain_info.ts';
import { freeMemory } from './host_info.ts';
import type { RunqueueInfo } from './scheduling.ts';
import type { DomainRecord, Toolstack } from './toolstack.ts';

export interface ListedDomain extends DomainInfo {
  readonly uuid: string;
}

export function listed({ machine }: Toolstack, { domain }: DomainRecord): ListedDomain {
  const uuid = machine.xenstore.read(`${domainPath(domain.id)}/vm`)?.slice('/vm/'.length) ?? '';
  return { ...domainInfo(machine, domain), uuid };
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

export function topOf(toolstack: Toolstack): Top {
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
