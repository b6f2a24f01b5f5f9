/**
 * Which cpus share a runqueue. Those that the arrangement puts together do, up to a number that spreads them evenly; the
 * threads of a core stay together whatever the number.
 */
import { CpuMask } from './cpu_mask.ts';
import type { Arrangement, Parameters } from './parameters.ts';
import { Runqueue } from './runqueue.ts';
import type { Topology } from './topology.ts';

/** Adds cpu after cpu, as Xen brings them up. */
export function arrangeRunqueues(topology: Topology, { runqueue: arrangement, maxCpusRunqueue }: Parameters): Runqueue[] {
  const { cpuCount, siblings } = topology;
  const fewestRunqueues = Math.floor((cpuCount - 1) / maxCpusRunqueue) + 1;
  const maxCpus = Math.floor(cpuCount / fewestRunqueues);
  const runqueues: Runqueue[] = [];
  for (let cpu = 0; cpu < cpuCount; cpu++) {
    const alike = runqueues.filter((runqueue) => belongTogether(topology, arrangement, runqueue.pickBias, cpu));
    const runqueue =
      alike.find(({ active }) => active.intersects(siblings[cpu]!)) ??
      leastFull(alike.filter(({ active }) => hasRoom(topology, active, cpu, maxCpus))) ??
      newRunqueue(runqueues, cpu, cpuCount);
    runqueue.active.add(cpu);
    runqueue.idle.add(cpu);
    runqueue.smtIdle.add(cpu);
    runqueue.cpuCount++;
  }
  return runqueues;
}

function belongTogether(topology: Topology, arrangement: Arrangement, a: number, b: number): boolean {
  switch (arrangement) {
    case 'cpu':
      return false;
    case 'core':
      return topology.coreOf(a) === topology.coreOf(b);
    case 'socket':
      return topology.socketOf(a) === topology.socketOf(b);
    case 'node':
      return topology.nodeOf(a) === topology.nodeOf(b);
    case 'all':
      return true;
  }
}

/** For the cpu and all threads of its core, counting the threads still to come of the cores that are there. */
function hasRoom({ cpuCount, siblings }: Topology, active: CpuMask, cpu: number, maxCpus: number): boolean {
  const reserved = new CpuMask(cpuCount);
  for (const other of active) reserved.or(siblings[other]!);
  return active.count < maxCpus && reserved.count + siblings[cpu]!.count <= maxCpus;
}

/** The first of these. */
function leastFull(runqueues: readonly Runqueue[]): Runqueue | undefined {
  return runqueues.reduce<Runqueue | undefined>((least, one) => (least && least.cpuCount <= one.cpuCount ? least : one), undefined);
}

function newRunqueue(runqueues: Runqueue[], cpu: number, cpuCount: number): Runqueue {
  const runqueue = new Runqueue(runqueues.length, cpuCount);
  runqueue.pickBias = cpu;
  runqueues.push(runqueue);
  return runqueue;
}
