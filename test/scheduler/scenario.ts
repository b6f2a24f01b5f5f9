/** What is run on the real Xen and here alike: test/golden/scheduler/. */
import { existsSync, readFileSync } from 'node:fs';

export interface Scenario {
  readonly name: string;
  readonly cpus: number;
  /** credit2_cap_period_ms, where it is not Xen's default. */
  readonly capPeriodMs?: number;
  readonly domains: readonly {
    readonly weight?: number;
    readonly cap?: number;
    readonly vcpus?: number;
    /** Cpus that it is pinned to. */
    readonly hard?: readonly number[];
    /** Microseconds; without these it is busy. */
    readonly work?: number;
    readonly sleep?: number;
  }[];
}

/** On the real Xen, by scripts/record-scheduler.mjs. */
export interface Recorded extends Scenario {
  /** Of one cpu, each domain's. */
  readonly percent: readonly number[];
  readonly debugKeyR: readonly string[];
}

const folder = 'test/golden/scheduler';
const read = (name: string) => JSON.parse(readFileSync(`${folder}/${name}.json`, 'utf8'));

export const scenarios: readonly Scenario[] = read('scenarios');
export const recorded: readonly Recorded[] = scenarios
  .filter(({ name }) => existsSync(`${folder}/${name}.json`))
  .map(({ name }) => read(name));
