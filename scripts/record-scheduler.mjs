// Records how the real Xen's Credit2 shares its CPUs out: test/golden/scheduler/NAME.json for each scenario of scenarios.json,
// or for those that are named. What is measured: each domain's time on a CPU, in percent of one, and debug key `r` at the end.
//
//     node scripts/record-scheduler.mjs [NAME...]
//
// REAL_XEN names the oracle's real-xen command; SECONDS how long each scenario runs. The processor must be free meanwhile: to Xen
// a time for which QEMU does not get it is time that a guest has had. That is also why capped domains have longer periods
// than Xen's 10 ms: what a period gives is lost when it passes unseen.
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
const script = (scenario) => {
  const names = domainNames(scenario);
  const each = (verb) => `${names.map((name) => `xl ${verb} ${name} &`).join('\n')}\nwait`;
  return `
${scenario.domains.map((domain, index) => create(domain, names[index])).join('\n')}
xl dmesg -c > /dev/null
${each('unpause')}
sleep ${SETTLE_SECONDS + SECONDS}
xl debug-keys r
${each('pause')}
xl dmesg -c
${names.map((name) => `echo "@ ${name}"; cat /var/log/xen/console/guest-${name}.log`).join('\n')}
echo "@"
`;
};

/** What a domain's vCPU 0 told: system time, and the times that its vCPUs had spent in each runstate. */
function toldBy(name, lines) {
  const from = lines.indexOf(`@ ${name}`) + 1;
  const size = lines.slice(from).findIndex((line) => line.startsWith('@'));
  return lines
    .slice(from, from + size)
    .filter((line) => /^\d+( \d+){4}$/.test(line))
    .map((line) => line.split(' ').map(Number));
}

function measure(scenario, output) {
  const lines = output.split('\n').map((line) => line.trimEnd());
  const told = domainNames(scenario).map((name) => toldBy(name, lines));
  // While all were there.
  const start = Math.max(...told.map((rows) => rows[0][0])) + SETTLE_SECONDS * 1e9;
  const end = Math.min(...told.map((rows) => rows.at(-1)[0]));
  const runstates = told.map((rows) => {
    const first = rows.find(([time]) => time >= start);
    const last = rows.findLast(([time]) => time <= end);
    return [1, 2, 3, 4].map((state) => Number(((100 * (last[state] - first[state])) / (last[0] - first[0])).toFixed(2)));
  });
  return {
    ...scenario,
    seconds: Number(((end - start) / 1e9).toFixed(1)),
    percent: runstates.map(([running]) => running),
    runstates,
    debugKeyR: lines.filter((line) => line.startsWith('(XEN) ')).map((line) => line.slice('(XEN) '.length)),
  };
}

const scratch = mkdtempSync(join(tmpdir(), 'record-scheduler-'));
try {
  for (const scenario of scenarios) {
    const file = join(scratch, 'script.sh');
    writeFileSync(file, script(scenario));
    const xenArgs = scenario.capPeriodMs ? ['--xen-args', `credit2_cap_period_ms=${scenario.capPeriodMs}`] : [];
    const args = ['dom0-shell', '--cpus', String(scenario.cpus), ...xenArgs, '--timeout', '300', file, 'guests/spin/spin.elf'];
    const { stdout, stderr, status } = spawnSync(REAL_XEN, args, { encoding: 'utf8', maxBuffer: 1 << 26 });
    if (status !== 0) throw new Error(`${scenario.name}: real-xen: exit status ${status}\n${stderr}\n${stdout.slice(-4000)}`);
    const measured = measure(scenario, stdout);
    writeFileSync(`${folder}/${scenario.name}.json`, `${JSON.stringify(measured, null, 2)}\n`);
    console.log(`${scenario.name}: ${measured.percent.join(' ')} % in ${measured.seconds} s`);
  }
} finally {
  rmSync(scratch, { recursive: true });
}
