/** What `xl info` shows: XEN_SYSCTL_physinfo and the answers of xen_version, row by row in xl's order and words. */
import { BUILD_ID_TEXT, CAPABILITIES, COMPILE_INFO, EXTRAVERSION, HYPERVISOR_VIRT_START, VERSION } from '../../hypercalls/version/op.ts';
import { PAGE_SIZE } from '../memory/machine_memory.ts';
import type { Toolstack } from './toolstack.ts';

const MIB = 1024 * 1024;

/** uname of what runs the toolstack: domain 0 on a real Xen. */
export interface SystemName {
  readonly host: string;
  readonly release: string;
  readonly version: string;
  readonly machine: string;
}

export type InfoRows = readonly (readonly [name: string, value: string | number])[];

export interface HostInfo {
  readonly system: InfoRows;
  /** With -n: a row a CPU, and a row for each node. */
  readonly cpu_topology: readonly { readonly cpu: number; readonly core: number; readonly socket: number; readonly node: number }[];
  readonly numa: readonly {
    readonly node: number;
    readonly memsize: number;
    readonly memfree: number;
    readonly distances: readonly number[];
  }[];
  readonly xen: InfoRows;
}

export function freeMemory({ machine, description }: Toolstack): number {
  return Math.min(machine.memory.freeCount * PAGE_SIZE, description.memory);
}

export function hostInfo(toolstack: Toolstack, name: SystemName): HostInfo {
  const { machine, scheduling, description } = toolstack;
  const { topology, cpuCount } = scheduling;
  const khz = machine.clock.tscKhz;
  const major = VERSION >> 16;
  const minor = VERSION & 0xffff;
  const memsize = Math.floor(description.memory / MIB);
  const memfree = Math.floor(freeMemory(toolstack) / MIB);
  return {
    system: [
      ['host', name.host],
      ['release', name.release],
      ['version', name.version],
      ['machine', name.machine],
      ['nr_cpus', cpuCount],
      ['max_cpu_id', cpuCount - 1],
      ['nr_nodes', 1],
      ['cores_per_socket', topology.coresPerSocket],
      ['threads_per_core', topology.threadsPerCore],
      ['cpu_mhz', `${Math.floor(khz / 1000)}.${String(khz % 1000).padStart(3, '0')}`],
      ['hw_caps', hardwareCapabilities(toolstack)],
      ['virt_caps', 'pv gnttab-v1 gnttab-v2'],
      ['total_memory', memsize],
      ['free_memory', memfree],
      ['sharing_freed_memory', 0],
      ['sharing_used_memory', 0],
      ['outstanding_claims', 0],
      ['free_cpus', 0],
    ],
    cpu_topology: Array.from({ length: cpuCount }, (_, cpu) => ({
      cpu,
      core: topology.coreOf(cpu) % topology.coresPerSocket,
      socket: topology.socketOf(cpu),
      node: topology.nodeOf(cpu),
    })),
    numa: [{ node: 0, memsize, memfree, distances: [10] }],
    xen: [
      ['xen_major', major],
      ['xen_minor', minor],
      ['xen_extra', EXTRAVERSION],
      ['xen_version', `${major}.${minor}${EXTRAVERSION}`],
      ['xen_caps', CAPABILITIES],
      ['xen_scheduler', 'credit2'],
      ['xen_pagesize', PAGE_SIZE],
      ['platform_params', `virt_start=0x${HYPERVISOR_VIRT_START.toString(16)}`],
      ['xen_changeset', ''],
      ['xen_commandline', ''],
      ['cc_compiler', COMPILE_INFO.compiler],
      ['cc_compile_by', COMPILE_INFO.compile_by],
      ['cc_compile_domain', COMPILE_INFO.compile_domain],
      ['cc_compile_date', COMPILE_INFO.compile_date],
      ['build_id', BUILD_ID_TEXT],
      ['xend_config_format', 4],
    ],
  };
}

/** The feature words that Xen names first, in its order (xen:public/arch-x86/cpufeatureset.h). */
function hardwareCapabilities({ machine }: Toolstack): string {
  const basic = machine.cpuid(1, 0);
  const extended = machine.cpuid(0x8000_0001, 0);
  const structured = machine.cpuid(7, 0);
  const words = [
    basic.edx,
    basic.ecx,
    extended.edx,
    extended.ecx,
    machine.cpuid(0xd, 1).eax,
    structured.ebx,
    structured.ecx,
    machine.cpuid(0x8000_0007, 0).edx,
  ];
  return words.map((word) => (word >>> 0).toString(16).padStart(8, '0')).join(':');
}
