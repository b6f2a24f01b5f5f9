/**
 * CPU shares as the real Xen's Credit2 gave them (scripts/record-scheduler.mjs), as the simulated host gives them, and as the
 * machine itself does.
 */
import t, { type Test } from 'tap';
import { CpuMask } from '../../emulator/scheduler/credit2/cpu_mask.ts';
import { type Recorded, recorded, type Scenario } from './scenario.ts';
import { BUSY, MS, SECOND, Simulator, spinning, US } from './simulator.ts';
import { WholeHost } from './whole_host.ts';

t.setTimeout(240_000);

/** Where the cpu was never idle, what the domains did not get was dom0's: something that is now and then awake takes its place. */
function withDom0({ domains, percent, ...scenario }: Recorded): Scenario {
  const { cpus } = scenario;
  const dom0 = Math.round(100 * cpus - percent.reduce((sum, one) => sum + one, 0));
  const isFull = cpus === 1 && domains.some(({ cap = 0, work }) => cap === 0 && work === undefined);
  const work = 500;
  const sleep = Math.round((work * (100 - dom0)) / dom0);
  return { ...scenario, domains: isFull && dom0 > 0 ? [...domains, { work, sleep }] : domains };
}

function simulate({ cpus, domains, capPeriodMs }: Scenario): { simulator: Simulator; percent: number[] } {
  const simulator = new Simulator({ sockets: 1, coresPerSocket: cpus }, capPeriodMs === undefined ? {} : { capPeriodMs });
  const own = domains.map(({ weight = 256, cap = 0, vcpus = 1, hard, work, sleep = 0 }) => {
    const one = work === undefined ? BUSY : spinning(work * US, sleep * US);
    const domain = simulator.addDomain({ weight, cap, work: Array(vcpus).fill(one) });
    if (hard) for (const { unit } of simulator.tasksOf(domain)) simulator.scheduler.setAffinity(unit, { hard: new CpuMask(cpus, hard) });
    return domain;
  });
  simulator.run(20 * SECOND);
  return { simulator, percent: own.map((domain) => (100 * simulator.ran(domain)) / (20 * SECOND)) };
}

const compared = (t: Test, { name, percent: there }: Recorded, here: readonly number[]) => {
  const off = Math.max(...there.map((share, i) => Math.abs(share - here[i]!)));
  t.ok(off <= 2, `${name}: ${there.join(', ')} % there, ${here.map((share) => share.toFixed(2)).join(', ')} % here`);
};

t.test('simulated shares are those of the real Xen, within 2 percentage points', (t) => {
  t.ok(recorded.length > 0);
  for (const one of recorded) compared(t, one, simulate(withDom0(one)).percent);
  t.end();
});

t.test('so are those of guests on the machine itself', (t) => {
  for (const one of recorded) {
    const host = new WholeHost(withDom0(one));
    host.run(200 * MS);
    const before = host.ran;
    host.run(SECOND);
    compared(
      t,
      one,
      host.ran.map((ran, i) => (100 * (ran - before[i]!)) / SECOND),
    );
    t.same(
      host.untold.filter((ns) => ns !== 0),
      [],
      '  and the runstates of each vCPU are all its time',
    );
  }
  t.end();
});

t.test('debug key r has the same lines, and credits in the same range', (t) => {
  const shapesOf = (lines: readonly string[]) => lines.map((line) => line.replace(/-?[0-9a-f]*\d[0-9a-f]*/g, '#').trimEnd());
  const creditsOf = (lines: readonly string[]) =>
    lines.flatMap((line) => [...line.matchAll(/credit=(-?\d+)/g)].map(([, credit]) => Number(credit)));
  for (const one of recorded) {
    const lines = simulate(withDom0(one)).simulator.scheduler.dump();
    const there = new Set(shapesOf(one.debugKeyR));
    t.same(
      shapesOf(lines).filter((line) => !there.has(line) && !/run:|current=/.test(line)),
      [],
      `${one.name}: no line that is not there too`,
    );
    for (const credits of [creditsOf(lines), creditsOf(one.debugKeyR)]) {
      t.ok(credits.length > 0 && Math.min(...credits) >= -10_000_000 && Math.max(...credits) <= 10_550_000, `  ${credits.join(' ')}`);
    }
  }
  t.end();
});
