/** The scheduler's state as Xen's debug key `r` prints it, line by line, without Xen's `(XEN) `. */

import { CSCHED2_DEFAULT_WEIGHT } from './parameters.ts';
import type { Cpu, State } from './state.ts';
import type { Unit } from './unit.ts';

export function dump(state: State): string[] {
  const { host, parameters, runqueues, domains, cpus, allCpus, topology } = state;
  const all = allCpus.toList();
  let count = 0;
  return [
    `sched_smt_power_savings: ${parameters.smtPowerSavings ? 'enabled' : 'disabled'}`,
    `NOW=${host.now()}`,
    `Online Cpus: ${all}`,
    'Cpupool 0:',
    `Cpus: ${all}`,
    'Scheduling granularity: cpu, 1 CPU per sched-resource',
    'Scheduler: SMP Credit Scheduler rev2 (credit2)',
    `Active queues: ${runqueues.length}`,
    `\tdefault-weight     = ${CSCHED2_DEFAULT_WEIGHT}`,
    ...runqueues.flatMap((runqueue) => [
      `Runqueue ${runqueue.id}:`,
      `\tncpus              = ${runqueue.cpuCount}`,
      `\tcpus               = ${runqueue.active.toList()}`,
      `\tmax_weight         = ${runqueue.maxWeight}`,
      `\tpick_bias          = ${runqueue.pickBias}`,
      `\tinstload           = ${runqueue.load}`,
      `\taveload            = ${load(state, runqueue.avgload)}`,
      `\tidlers: ${runqueue.idle.toHex()}`,
      `\ttickled: ${runqueue.tickled.toHex()}`,
      `\tfully idle cores: ${runqueue.smtIdle.toHex()}`,
    ]),
    'Domain info:',
    ...domains.flatMap((domain) => [
      `\tDomain: ${domain.id} w ${domain.weight} c ${domain.cap} v ${domain.units.length}`,
      ...domain.units.map((unit) => `\t${numbered(++count)}${describe(state, unit)}`),
    ]),
    ...runqueues.flatMap((runqueue) => [
      `Runqueue ${runqueue.id}:`,
      ...[...runqueue.active].flatMap((cpu) => {
        const { current } = cpus[cpu]!;
        const siblings = topology.siblings[cpu]!.toList();
        return [
          `CPU[${twoDigits(cpu)}] runq=${runqueue.id}, sibling={${siblings}}, core={${topology.socketMates[cpu]!.toList()}}`,
          ...(current.isIdle ? [] : [`\trun: ${describe(state, current)}`]),
        ];
      }),
      'RUNQ:',
      ...[...queue(runqueue.first)].map((unit, i) => `\t${numbered(i)}${describe(state, unit)}`),
    ]),
    'CPUs info:',
    ...cpus.map((cpu) => `CPU[${twoDigits(cpu.id)}] current=${nameOnCpu(cpu)}, curr=${nameOnCpu(cpu)}, prev=NULL`),
  ];
}

function* queue(first: Unit | undefined): Generator<Unit> {
  for (let unit = first; unit !== undefined; unit = unit.next) yield unit;
}

function describe(state: State, unit: Unit): string {
  const budget = unit.hasCap ? ` budget=${unit.budget}(${unit.budgetQuota})` : '';
  const credit = `credit=${unit.credit} [w=${unit.weight}]`;
  const name = `[${unit.domain.id}.${unit.id}]`;
  return `${name} flags=${unit.flags.toString(16)} cpu=${unit.cpu} ${credit}${budget} load=${load(state, unit.avgload)}`;
}

const load = ({ parameters }: State, avgload: number): string =>
  `${avgload} (~${Math.floor((avgload * 100) / 2 ** parameters.loadPrecisionShift)}%)`;

const numbered = (n: number): string => `${String(n).padStart(3)}: `;

const twoDigits = (n: number): string => String(n).padStart(2, '0');

const nameOnCpu = ({ current }: Cpu): string => `d${current.isIdle ? '[IDLE]' : current.domain.id}v${current.id}`;
