/** What XEN_DOMCTL_getdomaininfo and getvcpuinfo tell of a domain (xen:common/domctl.c), as plain data. */
import { RUNSTATE_offline, RUNSTATE_runnable } from '../../hypercalls/abi/vcpu.ts';
import { readRunstate, runningTime } from '../../hypercalls/vcpu/runstate.ts';
import type { Domain } from '../domain.ts';
import type { Machine } from '../machine.ts';
import { PAGE_SIZE } from '../memory/machine_memory.ts';
import type { Vcpu } from '../vcpu.ts';

export interface DomainInfo {
  readonly domid: number;
  readonly name: string;
  readonly dying: boolean;
  readonly shutdown: boolean;
  readonly paused: boolean;
  readonly blocked: boolean;
  readonly running: boolean;
  /** SHUTDOWN_*, of one that is shut down. */
  readonly shutdown_reason: number | undefined;
  readonly memory_kib: number;
  readonly max_memory_kib: number;
  /** Online. */
  readonly vcpus: number;
  readonly max_vcpus: number;
  /** Nanoseconds on a core. */
  readonly cpu_time: number;
}

export interface VcpuInfo {
  readonly vcpu: number;
  readonly online: boolean;
  readonly blocked: boolean;
  readonly running: boolean;
  readonly cpu_time: number;
}

/** What beneath top shows beside what xentop does. */
export interface VcpuLoad extends VcpuInfo {
  /** Nanoseconds that it could have run, had it not been for others, its cap or a pause. */
  readonly stolen_time: number;
  readonly credit: number;
}

export function vcpuLoad(machine: Machine, vcpu: Vcpu): VcpuLoad {
  const { time } = readRunstate(machine, vcpu);
  const stolen = Number(time[RUNSTATE_runnable]! + time[RUNSTATE_offline]!);
  return { ...vcpuInfo(machine, vcpu), stolen_time: stolen, credit: vcpu.unit!.credit };
}

const isRunning = ({ cores }: Machine, { unit }: Vcpu): boolean => cores.coreOf(unit!) !== undefined;

export function domainInfo(machine: Machine, domain: Domain): DomainInfo {
  const online = domain.vcpus.filter(({ isUp }) => isUp);
  return {
    domid: domain.id,
    name: domain.name,
    dying: domain.isDying,
    shutdown: domain.shutdownReason !== undefined,
    paused: domain.pauseCount > 0,
    blocked: online.length > 0 && online.every(({ isBlocked }) => isBlocked),
    running: online.some((vcpu) => isRunning(machine, vcpu)),
    shutdown_reason: domain.shutdownReason,
    memory_kib: (machine.memory.pageCount(domain.id) * PAGE_SIZE) / 1024,
    max_memory_kib: (domain.maxPages * PAGE_SIZE) / 1024,
    vcpus: online.length,
    max_vcpus: domain.vcpus.length,
    cpu_time: domain.vcpus.reduce((sum, vcpu) => sum + runningTime(machine, vcpu), 0),
  };
}

export function vcpuInfo(machine: Machine, vcpu: Vcpu): VcpuInfo {
  return {
    vcpu: vcpu.id,
    online: vcpu.isUp,
    blocked: vcpu.isBlocked,
    running: isRunning(machine, vcpu),
    cpu_time: runningTime(machine, vcpu),
  };
}
