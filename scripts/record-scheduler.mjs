// Records how the real Xen's Credit2 shares its CPUs out: test/golden/scheduler/NAME.json for each scenario of scenarios.json,
// or for those that are named. What is measured: each domain's time on a CPU, in percent of one, and debug key `r` at the end.
//
//     node scripts/record-scheduler.mjs [NAME...]
//
// REAL_XEN names the oracle's real-xen command; SECONDS how long each scenario runs.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

process.chdir(join(fileURLToPath(import.meta.url), '../..'));
const REAL_XEN = process.env.REAL_XEN ?? '../shared/oracle/real-xen';
const SECONDS = Number(process.env.SECONDS ?? 20);
const SETTLE_SECONDS = 3;
const folder = 'test/golden/scheduler';

const names = process.argv.slice(2);
const scenarios = JSON.parse(readFileSync(`${folder}/scenarios.json`, 'utf8')).filter(({ name }) => !names.length || names.includes(name));

const domainNames = ({ name, domains }) => domains.map((_, index) => `${name}-${index + 1}`);

const create = ({ work, sleep, vcpus = 1, hard, weight = 256, cap = 0 }, name) => {
  const extra = `tell=1${work ? ` work=${work} sleep=${sleep}` : ''}`;
  const cpus = hard ? `"cpus='${hard.join(',')}'"` : '';
  return `xl create -q -p /dev/null "name='${name}'" "type='pv'" "memory=32" "vcpus=${vcpus}" "kernel='/guest/spin.elf'" "extra='${extra}'" ${cpus}
xl sched-credit2 -d ${name} -w ${weight} -c ${cap}`;
};

/** dom0 sleeps while the guests are measured. */
const script = (scenarios) =>
  scenarios
    .map((scenario) => {
      const names = domainNames(scenario);
      return `
${scenario.domains.map((domain, index) => create(domain, names[index])).join('\n')}
xl dmesg -c > /dev/null
${names.map((name) => `xl unpause ${name}`).join('\n')}
sleep ${SETTLE_SECONDS + SECONDS}
xl debug-keys r
${names.map((name) => `xl pause ${name}`).join('\n')}
echo "@ ${scenario.name}"
xl dmesg -c
${names.map((name) => `echo "@@ ${name}"; cat /var/log/xen/console/guest-${name}.log; xl destroy ${name}`).join('\n')}`;
    })
    .join('\n');

/** The lines from the one that is `head` up to the next one that begins with `mark`. */
function section(lines, head, mark) {
  const from = lines.indexOf(head);
  if (from < 0) throw new Error(`${head}: not recorded`);
  const size = lines.slice(from + 1).findIndex((line) => line.startsWith(mark));
  return lines.slice(from + 1, size < 0 ? undefined : from + 1 + size);
}

/** Percent of a CPU that a domain got once all had begun, from what its vCPU 0 told. */
function percentOf(lines) {
  const told = lines.filter((line) => /^\d+( \d+){4}$/.test(line)).map((line) => line.split(' ').map(Number));
  const settled = told.filter(([time]) => time >= told[0][0] + SETTLE_SECONDS * 1e9).slice(0, SECONDS + 1);
  const [[start, before], [end, after]] = [settled[0], settled.at(-1)];
  return { seconds: (end - start) / 1e9, percent: Number(((100 * (after - before)) / (end - start)).toFixed(2)) };
}

function measure(scenario, output) {
  const own = section(
    output.split('\n').map((line) => line.trimEnd()),
    `@ ${scenario.name}`,
    '@ ',
  );
  const measured = domainNames(scenario).map((name) => percentOf(section(own, `@@ ${name}`, '@@ ')));
  return {
    ...scenario,
    seconds: Number(Math.min(...measured.map(({ seconds }) => seconds)).toFixed(1)),
    percent: measured.map(({ percent }) => percent),
    debugKeyR: own.filter((line) => line.startsWith('(XEN) ')).map((line) => line.slice('(XEN) '.length)),
  };
}

const scratch = mkdtempSync(join(tmpdir(), 'record-scheduler-'));
try {
  for (const cpus of new Set(scenarios.map(({ cpus }) => cpus))) {
    const group = scenarios.filter((scenario) => scenario.cpus === cpus);
    const file = join(scratch, `script${cpus}.sh`);
    writeFileSync(file, script(group));
    const timeout = String(group.length * (SECONDS + 120));
    const args = ['dom0-shell', '--cpus', String(cpus), '--timeout', timeout, file, 'guests/spin/spin.elf'];
    const { stdout, stderr, status } = spawnSync(REAL_XEN, args, { encoding: 'utf8', maxBuffer: 1 << 26 });
    if (status !== 0) throw new Error(`real-xen: exit status ${status}\n${stderr}\n${stdout.slice(-4000)}`);
    for (const scenario of group) {
      const measured = measure(scenario, stdout);
      writeFileSync(`${folder}/${scenario.name}.json`, `${JSON.stringify(measured, null, 2)}\n`);
      console.log(`${scenario.name}: ${measured.percent.join(' ')} %`);
    }
  }
} finally {
  rmSync(scratch, { recursive: true });
}
