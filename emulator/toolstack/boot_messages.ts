/** What ring -1 tells of itself when it has started, in Xen's words: what it has, and how its scheduler is set. */
import type { Machine } from '../machine.ts';

export function bootMessages({ cores: { scheduler } }: Machine, memory: number): string[] {
  const { parameters, runqueues, topology } = scheduler;
  const addings = runqueues.flatMap(({ id, active }) => [...active].map((cpu, i) => ({ cpu, id, isFirst: i === 0 })));
  return [
    'Xen version 4.17.7 (beneath)',
    `System RAM: ${Math.floor(memory / 2 ** 20)}MB (${memory / 1024}kB)`,
    'Using scheduler: SMP Credit Scheduler rev2 (credit2)',
    'Initializing Credit2 scheduler',
    ` load_precision_shift: ${parameters.loadPrecisionShift}`,
    ` load_window_shift: ${parameters.loadWindowShift}`,
    ` underload_balance_tolerance: ${parameters.balanceUnder}`,
    ` overload_balance_tolerance: ${parameters.balanceOver}`,
    ` runqueues arrangement: ${parameters.runqueue}`,
    ` cap enforcement granularity: ${parameters.capPeriodMs}ms`,
    `load tracking window length ${2 ** parameters.loadWindowShift} ns`,
    `Brought up ${topology.cpuCount} CPUs`,
    ...addings
      .sort((a, b) => a.cpu - b.cpu)
      .flatMap(({ cpu, id, isFirst }) => [
        `Adding cpu ${cpu} to runqueue ${id}`,
        ...(isFirst ? [' First cpu on runqueue, activating'] : []),
      ]),
  ];
}
