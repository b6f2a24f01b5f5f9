/** Credit2 alone: a decision that switches to another vCPU, with the old one's return to the queue and what is tickled for it. */
import { Credit2 } from '../../../emulator/scheduler/credit2/credit2.ts';
import { Topology } from '../../../emulator/scheduler/credit2/topology.ts';
import type { BenchOptions, Figure } from '../figure.ts';

/** Longer than the rate limit, so that each decision switches. */
const TURN_NS = 1_100_000;

/** Nanoseconds a decision. */
function decide(cpus: number, units: number, decisions: number): number {
  let now = 0;
  const host = { now: () => now, tickle: () => {}, setTimer: (deadline: number) => ({ deadline }), cancelTimer: () => {} };
  const credit2 = new Credit2<number>(new Topology({ sockets: 1, coresPerSocket: cpus }), host);
  for (let id = 0; id < units; id++) credit2.wake(credit2.addUnit(credit2.addDomain(id, 256 + id), 0, id));
  const rounds = (count: number) => {
    for (; count > 0; count--, now += TURN_NS) {
      for (let cpu = 0; cpu < cpus; cpu++) {
        const before = credit2.current(cpu);
        const { unit } = credit2.schedule(cpu, now);
        if (before !== undefined && before !== unit) credit2.contextSaved(before, now);
      }
    }
  };
  rounds(20_000 / cpus);
  const start = performance.now();
  rounds(decisions / cpus);
  return ((performance.now() - start) / decisions) * 1e6;
}

export async function benchScheduler({ rounds }: BenchOptions): Promise<Figure[]> {
  const measured = (name: string, cpus: number, units: number, goal?: number): Figure => ({
    name,
    unit: 'ns',
    values: Array.from({ length: rounds }, () => decide(cpus, units, 400_000)),
    ...(goal !== undefined && { goal }),
  });
  decide(4, 16, 400_000);
  return [
    measured('a switch, 2 vCPUs on 1 core', 1, 2, 300),
    measured('a switch, 8 vCPUs on 1 core', 1, 8, 300),
    measured('a switch, 64 vCPUs on 8 cores', 8, 64),
    measured('a switch, 256 vCPUs on 16 cores', 16, 256),
  ];
}
