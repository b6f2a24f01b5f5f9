/** Credit2 on a host whose every step is the test's: the time stands still until it is set. */

import { CpuMask } from '../../emulator/scheduler/credit2/cpu_mask.ts';
import { Credit2 } from '../../emulator/scheduler/credit2/credit2.ts';
import type { Parameters } from '../../emulator/scheduler/credit2/parameters.ts';
import { Topology, type TopologyShape } from '../../emulator/scheduler/credit2/topology.ts';
import type { Unit } from '../../emulator/scheduler/credit2/unit.ts';

export const US = 1000;
export const MS = 1000 * US;

interface Timer {
  readonly deadline: number;
  readonly fire: () => void;
}

export interface UnitOptions {
  readonly weight?: number;
  readonly cap?: number;
  readonly credit?: number;
  readonly hard?: readonly number[];
  readonly soft?: readonly number[];
}

export class ScriptedHost {
  now = 0;
  /** Since `takeTickled` was last asked. */
  #tickled: number[] = [];
  readonly timers = new Set<Timer>();
  readonly credit2: Credit2<string>;
  readonly topology: Topology;

  constructor(shape: TopologyShape | number = 1, parameters: Partial<Parameters> = {}) {
    this.topology = new Topology(typeof shape === 'number' ? { sockets: 1, coresPerSocket: shape } : shape);
    this.credit2 = new Credit2<string>(
      this.topology,
      {
        now: () => this.now,
        tickle: (cpu) => this.#tickled.push(cpu),
        setTimer: (deadline, fire) => {
          const timer = { deadline, fire };
          this.timers.add(timer);
          return timer;
        },
        cancelTimer: (timer) => this.timers.delete(timer as Timer),
      },
      parameters,
    );
  }

  takeTickled(): number[] {
    return this.#tickled.splice(0);
  }

  mask(cpus: Iterable<number>): CpuMask {
    return new CpuMask(this.topology.cpuCount, cpus);
  }

  /** A domain with one unit, which sleeps. */
  unit(name: string, { weight = 256, cap = 0, credit, hard, soft }: UnitOptions = {}): Unit<string> {
    const { credit2 } = this;
    const domain = credit2.addDomain(
      credit2.runqueues.reduce((sum, { units }) => sum + units.length, 1),
      weight,
    );
    const unit = credit2.addUnit(domain, 0, name, {
      ...(hard && { hard: this.mask(hard) }),
      ...(soft && { soft: this.mask(soft) }),
    });
    if (cap > 0) credit2.adjust(domain, { cap });
    if (credit !== undefined) unit.credit = credit;
    return unit;
  }

  wake(...units: Unit<string>[]): void {
    for (const unit of units) this.credit2.wake(unit);
  }

  /** The cpu decides at `now`: who runs there. */
  schedule(cpu = 0, now = this.now): string | undefined {
    this.now = now;
    const before = this.credit2.current(cpu);
    const { unit } = this.credit2.schedule(cpu, now);
    if (before !== undefined && before !== unit) this.credit2.contextSaved(before, now);
    return unit?.owner;
  }

  /** As schedule, but what was decided is copied. */
  decide(cpu = 0, now = this.now): { unit: string | undefined; time: number; migrated: boolean } {
    this.now = now;
    const before = this.credit2.current(cpu);
    const { unit, time, migrated } = this.credit2.schedule(cpu, now);
    if (before !== undefined && before !== unit) this.credit2.contextSaved(before, now);
    return { unit: unit?.owner, time, migrated };
  }

  /** Timers that are due at `now` fire. */
  fireTimers(now: number): void {
    this.now = now;
    for (const timer of [...this.timers]) {
      if (timer.deadline > now) continue;
      this.timers.delete(timer);
      timer.fire();
    }
  }

  queue(runqueue = 0): string[] {
    const names: string[] = [];
    for (let unit = this.credit2.runqueues[runqueue]!.first; unit !== undefined; unit = unit.next) names.push(unit.owner as string);
    return names;
  }
}
