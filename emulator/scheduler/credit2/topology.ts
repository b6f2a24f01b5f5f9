/** How the host's cpus lie in nodes, sockets and cores; numbered thread by thread, core by core, socket by socket. */
import { CpuMask } from './cpu_mask.ts';

export interface TopologyShape {
  readonly sockets: number;
  readonly coresPerSocket: number;
  /** Default 1. */
  readonly threadsPerCore?: number;
  /** NUMA nodes, over which the cpus are spread evenly; default 1. */
  readonly nodes?: number;
}

export class Topology {
  readonly sockets: number;
  readonly coresPerSocket: number;
  readonly threadsPerCore: number;
  readonly nodes: number;
  readonly cpuCount: number;
  /** Of each cpu: the hardware threads of its core. */
  readonly siblings: readonly CpuMask[];
  /** Of each cpu: all of its socket. */
  readonly socketMates: readonly CpuMask[];

  constructor({ sockets, coresPerSocket, threadsPerCore = 1, nodes = 1 }: TopologyShape) {
    this.sockets = sockets;
    this.coresPerSocket = coresPerSocket;
    this.threadsPerCore = threadsPerCore;
    this.nodes = nodes;
    this.cpuCount = sockets * coresPerSocket * threadsPerCore;
    const cpus = Array.from({ length: this.cpuCount }, (_, cpu) => cpu);
    const together = (groupOf: (cpu: number) => number) =>
      cpus.map(
        (cpu) =>
          new CpuMask(
            this.cpuCount,
            cpus.filter((other) => groupOf(other) === groupOf(cpu)),
          ),
      );
    this.siblings = together((cpu) => this.coreOf(cpu));
    this.socketMates = together((cpu) => this.socketOf(cpu));
  }

  /** Counted over the whole host. */
  coreOf(cpu: number): number {
    return Math.floor(cpu / this.threadsPerCore);
  }

  socketOf(cpu: number): number {
    return Math.floor(cpu / (this.threadsPerCore * this.coresPerSocket));
  }

  nodeOf(cpu: number): number {
    return Math.floor((cpu * this.nodes) / this.cpuCount);
  }
}
