/** A host at a glance: what `beneath top` shows of all domains and of the runqueues, and of a domain what every list shows. */
import type { BlockBackend } from '../../hypercalls/block/backend.ts';
import { virtualDevice } from '../../hypercalls/block/device_tree.ts';
import type { NetBackend } from '../../hypercalls/net/backend.ts';
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

/** A disk. */
export interface TopVbd {
  /** Its number, such as 51712. */
  readonly dev: number;
  readonly rd_reqs: number;
  readonly wr_reqs: number;
  readonly rd_sects: number;
  readonly wr_sects: number;
}

/** A network interface, as its guest sees it. */
export interface TopNet {
  readonly rx_bytes: number;
  readonly rx_packets: number;
  readonly tx_bytes: number;
  readonly tx_packets: number;
}

export interface TopDomain extends ListedDomain {
  readonly weight: number;
  readonly cap: number;
  readonly vbds: readonly TopVbd[];
  readonly nets: readonly TopNet[];
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

function vbdOf(name: string, { statistics }: BlockBackend): TopVbd {
  const { readRequests, writeRequests, readSectors, writtenSectors } = statistics;
  return { dev: virtualDevice(name)!, rd_reqs: readRequests, wr_reqs: writeRequests, rd_sects: readSectors, wr_sects: writtenSectors };
}

function netOf({ statistics }: NetBackend): TopNet {
  const { receivedBytes, receivedFrames, sentBytes, sentFrames } = statistics;
  return { rx_bytes: receivedBytes, rx_packets: receivedFrames, tx_bytes: sentBytes, tx_packets: sentFrames };
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
      const { domain, description } = record;
      const ends = machine.hostEnds(domain);
      return {
        ...listed(toolstack, record),
        ...scheduling.parametersOf(domain),
        vbds: (ends?.blockBackends ?? []).map((backend, i) => vbdOf(description.disk[i]!.name, backend)),
        nets: (ends?.netBackends ?? []).map(netOf),
        vcpu_loads: domain.vcpus.map((vcpu) => vcpuLoad(machine, vcpu)),
      };
    }),
    runqueues: scheduling.runqueues(),
  };
}
