/** The machine itself, with real guests on it: guests/spin in each domain of a scenario. */
import { readFileSync } from 'node:fs';
import { Domain } from '../../emulator/domain.ts';
import { Machine } from '../../emulator/machine.ts';
import { runSlice } from '../../emulator/run.ts';
import { CpuMask } from '../../emulator/scheduler/credit2/cpu_mask.ts';
import { readRunstate, runningTime } from '../../hypercalls/vcpu/runstate.ts';
import type { Scenario } from './scenario.ts';

const MEMORY = 4 << 20;
const kernel = readFileSync('guests/spin/spin.elf');

export class WholeHost {
  readonly machine: Machine;
  readonly domains: readonly Domain[];
  readonly #bornAt: readonly number[];

  constructor({ cpus, domains, capPeriodMs }: Scenario) {
    this.machine = new Machine({
      memorySize: MEMORY * (domains.length + 1),
      topology: { sockets: 1, coresPerSocket: cpus },
      ...(capPeriodMs !== undefined && { scheduling: { capPeriodMs } }),
      engine: 'translate',
      output: () => {},
    });
    const { machine } = this;
    const { scheduler } = machine.cores;
    this.domains = domains.map(({ weight = 256, cap = 0, vcpus = 1, hard, work, sleep = 0 }, i) => {
      const cmdline = work === undefined ? '' : `work=${work} sleep=${sleep}`;
      const domain = machine.createPvDomain(kernel, { name: `d${i}`, isInitial: false, memorySize: MEMORY, weight, vcpus, cmdline });
      if (!(domain instanceof Domain)) throw new Error(domain.message);
      scheduler.adjust(domain.credit!, { cap });
      if (hard) for (const { unit } of domain.vcpus) scheduler.setAffinity(unit!, { hard: new CpuMask(cpus, hard) });
      return domain;
    });
    this.#bornAt = this.domains.map(() => machine.clock.ns);
  }

  /** For so many nanoseconds of virtual time. */
  run(ns: number): void {
    const { machine } = this;
    const end = machine.clock.ns + ns;
    while (machine.clock.ns < end && runSlice(machine, 100_000).kind === 'running');
  }

  /** Nanoseconds that each domain has had a core. */
  get ran(): number[] {
    return this.domains.map(({ vcpus }) => vcpus.reduce((sum, vcpu) => sum + runningTime(this.machine, vcpu), 0));
  }

  /** Nanoseconds that no runstate accounts for, of every vCPU. */
  get untold(): number[] {
    return this.domains.flatMap(({ vcpus }, i) =>
      vcpus.map((vcpu) => {
        const { time, state_entry_time } = readRunstate(this.machine, vcpu);
        const sum = Number(time.reduce((sum, value) => sum + value, 0n));
        return Math.max(this.machine.clock.ns, Number(state_entry_time)) - this.#bornAt[i]! - sum;
      }),
    );
  }
}
