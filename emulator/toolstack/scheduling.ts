/** What the toolstack sets and shows of the scheduler: weights, caps, affinities, the rate limit. */
import type { Domain } from '../domain.ts';
import type { Machine } from '../machine.ts';
import { defineSlot } from '../slot.ts';
import type { Vcpu } from '../vcpu.ts';
import type { HostDescription, Topology } from './host_keys.ts';

export interface Affinity {
  readonly hard: readonly number[];
  readonly soft: readonly number[];
}

export interface Scheduling {
  readonly topology: Topology;
  readonly cpuCount: number;
  readonly ratelimitUs: number;
  setRatelimit(us: number): 'EINVAL' | undefined;
  parametersOf(domain: Domain): { readonly weight: number; readonly cap: number };
  adjust(domain: Domain, change: { readonly weight?: number; readonly cap?: number }): 'EINVAL' | undefined;
  affinityOf(vcpu: Vcpu): Affinity;
  setAffinity(vcpu: Vcpu, affinity: Affinity): 'EINVAL' | undefined;
  /** Where it runs or ran last. */
  cpuOf(vcpu: Vcpu): number;
  /** What debug key `r` prints. */
  dump(): readonly string[];
}

const DEFAULT_WEIGHT = 256;

/** Of a machine whose one core goes round: the parameters are kept and shown. */
export function schedulingOf(
  machine: Machine,
  { cores = 1, topology = { sockets: 1, cores_per_socket: cores, threads_per_core: 1 } }: HostDescription,
): Scheduling {
  const parameters = defineSlot<Domain, { weight: number; cap: number }>(() => ({ weight: DEFAULT_WEIGHT, cap: 0 }));
  const all = Array.from({ length: cores }, (_, cpu) => cpu);
  const affinities = defineSlot<Vcpu, { is: Affinity }>(() => ({ is: { hard: all, soft: all } }));
  let ratelimitUs = 1000;
  return {
    topology,
    cpuCount: cores,
    get ratelimitUs() {
      return ratelimitUs;
    },
    setRatelimit(us) {
      if (us !== 0 && !(us >= 100 && us <= 500_000)) return 'EINVAL';
      ratelimitUs = us;
      return undefined;
    },
    parametersOf: (domain) => parameters.of(domain),
    adjust(domain, change) {
      Object.assign(parameters.of(domain), change);
      return undefined;
    },
    affinityOf: (vcpu) => affinities.of(vcpu).is,
    setAffinity(vcpu, affinity) {
      if (!affinity.hard.some((cpu) => all.includes(cpu))) return 'EINVAL';
      affinities.of(vcpu).is = affinity;
      return undefined;
    },
    cpuOf: () => 0,
    dump: () => [`NOW=${machine.clock.now()}`],
  };
}
