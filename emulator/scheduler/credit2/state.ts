/** What the parts of Credit2 share: cpus, runqueues, domains and parameters, and masks to work in. */
import { CpuMask } from './cpu_mask.ts';
import type { SchedulerHost } from './host.ts';
import { CSCHED2_IDLE_CREDIT, completeParameters, LOADAVG_GRANULARITY_SHIFT, type Parameters } from './parameters.ts';
import type { Runqueue } from './runqueue.ts';
import type { Topology } from './topology.ts';
import { CreditDomain, Unit } from './unit.ts';

const DOMID_IDLE = 0x7fff;

export interface Cpu {
  readonly id: number;
  readonly runqueue: Runqueue;
  /** The threads of its core that are in its runqueue. */
  readonly siblings: CpuMask;
  readonly idle: Unit;
  /** Who runs; `idle` when nobody does. */
  current: Unit;
}

export interface State {
  readonly host: SchedulerHost;
  readonly topology: Topology;
  readonly parameters: Parameters;
  ratelimitNs: number;
  readonly migrateResistance: number;
  readonly capPeriodNs: number;
  /** A load of one, and the window that loads are averages over, in fixed point. */
  readonly loadOne: number;
  readonly loadWindow: number;
  /** By id. */
  readonly cpus: readonly Cpu[];
  /** In the order of their ids. */
  readonly runqueues: readonly Runqueue[];
  readonly domains: CreditDomain[];
  readonly allCpus: CpuMask;
  /** For one function's use each time. */
  readonly affinityScratch: CpuMask;
  readonly maskScratch: CpuMask;
}

export function createState(
  host: SchedulerHost,
  topology: Topology,
  given: Partial<Parameters>,
  arrange: (topology: Topology, parameters: Parameters) => Runqueue[],
): State {
  const parameters = completeParameters(given);
  const runqueues = arrange(topology, parameters);
  const idleDomain = new CreditDomain(DOMID_IDLE, 0);
  const cpus = Array.from({ length: topology.cpuCount }, (_, id): Cpu => {
    const here = new CpuMask(topology.cpuCount, [id]);
    const idle = new Unit(undefined, idleDomain, id, here, here, CSCHED2_IDLE_CREDIT);
    idle.cpu = id;
    idle.isReady = true;
    idle.isRunning = true;
    const runqueue = runqueues.find(({ active }) => active.has(id))!;
    const siblings = topology.siblings[id]!.clone().and(runqueue.active);
    return { id, runqueue, siblings, idle, current: idle };
  });
  return {
    host,
    topology,
    parameters,
    ratelimitNs: parameters.ratelimitUs * 1000,
    migrateResistance: parameters.migrateResistUs * 1000,
    capPeriodNs: parameters.capPeriodMs * 1_000_000,
    loadOne: 2 ** parameters.loadPrecisionShift,
    loadWindow: 2 ** (parameters.loadWindowShift - LOADAVG_GRANULARITY_SHIFT),
    cpus,
    runqueues,
    domains: [],
    allCpus: CpuMask.all(topology.cpuCount),
    affinityScratch: new CpuMask(topology.cpuCount),
    maskScratch: new CpuMask(topology.cpuCount),
  };
}
