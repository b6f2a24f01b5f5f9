/** What the toolstack sets and shows of the scheduler: weights, caps, affinities and the rate limit, in the toolstack's terms. */
import type { Domain } from '../domain.ts';
import type { Machine } from '../machine.ts';
import { CpuMask } from '../scheduler/credit2/cpu_mask.ts';
import type { TopologyShape } from '../scheduler/credit2/topology.ts';
import type { Unit } from '../scheduler/credit2/unit.ts';
import type { Vcpu } from '../vcpu.ts';
import type { HostDescription } from './host_keys.ts';

export interface Affinity {
  readonly hard: readonly number[];
  readonly soft: readonly number[];
}

export interface RunqueueInfo {
  readonly runqueue: number;
  /** How many vCPUs run or wait. */
  readonly load: number;
  readonly max_weight: number;
  readonly cpus: readonly { readonly cpu: number; readonly vcpu: string | null }[];
  readonly waiting: readonly string[];
}

/** As a machine is told it. */
export function topologyOf({ cores = 1, topology }: HostDescription): TopologyShape {
  if (topology === undefined) return { sockets: 1, coresPerSocket: cores };
  return { sockets: topology.sockets, coresPerSocket: topology.cores_per_socket, threadsPerCore: topology.threads_per_core };
}

export class Scheduling {
  readonly #machine: Machine;

  constructor(machine: Machine) {
    this.#machine = machine;
  }

  get #scheduler(): Machine['cores']['scheduler'] {
    return this.#machine.cores.scheduler;
  }

  get topology(): Machine['cores']['scheduler']['topology'] {
    return this.#scheduler.topology;
  }

  get cpuCount(): number {
    return this.topology.cpuCount;
  }

  get ratelimitUs(): number {
    return this.#scheduler.ratelimitUs;
  }

  setRatelimit(us: number): 'EINVAL' | undefined {
    return this.#scheduler.setRatelimit(us);
  }

  parametersOf(domain: Domain): { readonly weight: number; readonly cap: number } {
    const { weight, cap } = domain.credit!;
    return { weight, cap };
  }

  adjust(domain: Domain, change: { readonly weight?: number; readonly cap?: number }): 'EINVAL' | undefined {
    return this.#scheduler.adjust(domain.credit!, change);
  }

  affinityOf(vcpu: Vcpu): Affinity {
    const { hardAffinity, softAffinity } = vcpu.unit!;
    return { hard: [...hardAffinity], soft: [...softAffinity] };
  }

  /** What is left out stays. CPUs that the host does not have count for nothing. */
  setAffinity(vcpu: Vcpu, { hard, soft }: Partial<Affinity>): 'EINVAL' | undefined {
    const maskOf = (cpus: readonly number[]): CpuMask =>
      new CpuMask(
        this.cpuCount,
        cpus.filter((cpu) => cpu < this.cpuCount),
      );
    return this.#scheduler.setAffinity(vcpu.unit!, { ...(hard && { hard: maskOf(hard) }), ...(soft && { soft: maskOf(soft) }) });
  }

  /** Where it runs, ran last or is to run first. */
  cpuOf(vcpu: Vcpu): number {
    return vcpu.unit!.cpu;
  }

  isRunning(vcpu: Vcpu): boolean {
    return this.#machine.cores.coreOf(vcpu.unit!) !== undefined;
  }

  /** Who waits and who runs, for a person to look at. */
  runqueues(): RunqueueInfo[] {
    const nameOf = (unit: { readonly owner: Vcpu } | undefined): string | undefined => unit?.owner.name;
    return this.#scheduler.runqueues.map(({ id, load, maxWeight, active, units }) => ({
      runqueue: id,
      load,
      max_weight: maxWeight,
      cpus: [...active].map((cpu) => ({ cpu, vcpu: nameOf(this.#scheduler.current(cpu)) ?? null })),
      waiting: units.filter(({ isQueued }) => isQueued).map((unit) => nameOf(unit as Unit<Vcpu>)!),
    }));
  }

  /** What debug key `r` prints. */
  dump(): readonly string[] {
    return this.#scheduler.dump();
  }
}
