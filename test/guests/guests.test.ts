/** Our own guests print here what they print on the real Xen (guests/record-xen.sh), and are what their sources make. */
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { type EngineKind, engineKinds } from '../../emulator/cpu/index.ts';
import { SHUTDOWN_poweroff } from '../../hypercalls/abi/sched.ts';
import { beneath, type Outcome, runBeneath, runCommand } from '../support/command.ts';
import { bootGuest, expectedConsole, guestFile, guestKernel, guestNames, kinds } from '../support/guest_run.ts';
import { isThorough, quickOr } from '../support/thorough.ts';

const folder = mkdtempSync(join(tmpdir(), 'beneath-'));
t.teardown(() => rmSync(folder, { recursive: true }));
t.setTimeout(240_000);

/** Those whose traces are compared, and those that run in other slices. */
const compared = quickOr(['hypercalls', 'pagetables', 'traps'], guestNames);
const sliced = quickOr([...compared, 'clock', 'events', 'smp'], guestNames);

/** What is left of each domU of the first test. */
const first = new Map<string, { readonly trace: readonly string[]; readonly instructions: number }>();

t.test('each guest prints what it prints on the real Xen, and powers off', async (t) => {
  for (const name of guestNames) {
    for (const as of kinds) {
      const run = bootGuest(name, { as, isTraced: as === 'domU' && compared.includes(name) });
      run.run();
      t.equal(run.console, expectedConsole(name, as), `${name} as ${as}: its console`);
      t.equal(run.shutdownReason, SHUTDOWN_poweroff, `${name} as ${as}: powers off`);
      if (as === 'domU') first.set(name, { trace: run.trace, instructions: run.instructions });
    }
  }
});

t.test('keys typed come out as on the real Xen', async (t) => {
  for (const name of guestNames.filter((name) => existsSync(guestFile(name, 'input.txt')))) {
    for (const as of kinds) {
      const run = bootGuest(name, { as, cmdline: 'wait' });
      run.run({ limit: 1_000_000 });
      t.equal(run.shutdownReason, undefined, `${name} as ${as}: waits`);
      run.type(readFileSync(guestFile(name, 'input.txt')));
      run.run();
      t.equal(run.console, readFileSync(guestFile(name, 'expected-input.txt'), 'latin1'), `${name} as ${as}: its console`);
      t.equal(run.shutdownReason, SHUTDOWN_poweroff, `${name} as ${as}: powers off`);
    }
  }
});

t.test('how a run is sliced does not show on the console', async (t) => {
  for (const name of sliced) {
    const run = bootGuest(name, { isTraced: false });
    run.run({ size: 7919 });
    t.equal(run.console, expectedConsole(name, 'domU'), name);
  }
});

t.test('hot code translated to WebAssembly makes no difference', async (t) => {
  for (const name of compared) {
    const run = bootGuest(name, { engine: 'translate' });
    run.run();
    t.equal(run.console, expectedConsole(name, 'domU'), `${name}: the console`);
    t.equal(run.trace.join('\n'), first.get(name)?.trace.join('\n'), `${name}: the trace`);
    t.equal(run.instructions, first.get(name)?.instructions, `${name}: the instructions`);
  }
});

t.test('system calls that nobody watches happen within the run, and make no difference', async (t) => {
  for (const name of guestNames) {
    for (const engine of quickOr<readonly EngineKind[]>(['translate'], engineKinds)) {
      const run = bootGuest(name, { engine, isTraced: false });
      run.run();
      t.equal(run.console, expectedConsole(name, 'domU'), `${name}, ${engine}: the console`);
      t.equal(run.instructions, first.get(name)?.instructions, `${name}, ${engine}: the instructions`);
    }
  }
});

t.test('an instruction budget is met to the instruction, and a run up to there repeats', async (t) => {
  for (const [name, limit] of [
    ['hello', 1],
    ['hello', 2],
    ['hello', 1009],
    ['traps', 300_007],
    ['clock', 8_000_009],
  ] as const) {
    const [one, other] = [1, 2].map(() => {
      const run = bootGuest(name);
      run.run({ limit });
      return run;
    });
    t.equal(one!.instructions, limit, `${name}: stops after ${limit}`);
    t.same(other!.trace, one!.trace, `${name}: ${limit} instructions leave the same trace`);
    t.equal(other!.machine.cpu.rip, one!.machine.cpu.rip);
  }
});

t.test('the command runs them: console on stdout, status 0', async (t) => {
  const check = (claim: string, outcome: Outcome, console: string) => {
    t.equal(outcome.stdout, console, `${claim}: stdout`);
    t.equal(outcome.status, 0, `${claim}: status`);
  };
  for (const as of kinds)
    check(`traps as ${as}`, await runBeneath(['run', guestKernel('traps'), '--as', as]), expectedConsole('traps', as));
  const several = ['run', guestKernel('smp'), '--vcpus', '4', '--deterministic'];
  check('four vCPUs', await beneath(several), expectedConsole('smp', 'domU'));
  const input = readFileSync(guestFile('keys', 'input.txt'), 'latin1');
  const typed = readFileSync(guestFile('keys', 'expected-input.txt'), 'latin1');
  for (const as of kinds) {
    const args = ['run', guestKernel('keys'), '--cmdline', 'wait', '--as', as];
    check(`keys from a pipe as ${as}`, await runBeneath(args, input), typed);
    check(`keys from a pipe as ${as} in virtual time`, await beneath([...args, '--deterministic'], input), typed);
  }
});

t.test('--deterministic gives the same trace twice, to the byte', async (t) => {
  const traces: string[] = [];
  for (const [name, run] of Object.entries({ 'in a process': runBeneath, 'in this one': beneath })) {
    const file = join(folder, name);
    const { stdout } = await run(['run', guestKernel('clock'), '--deterministic', '--trace', `hypercalls,traps,exits:${file}`]);
    t.equal(stdout, expectedConsole('clock', 'domU'), name);
    traces.push(readFileSync(file, 'utf8'));
  }
  t.equal(traces[1], traces[0]);
  t.match(traces[0], /^d1v0 vcpu_op\.set_periodic_timer\(0, \{period_ns=\d+\}\) = 0$/m);
  t.match(traces[0], /^d1v0 event at /m);
  t.match(traces[0], /^d1v0 budget at /m);
});

t.test('the committed kernels are what gcc makes of the sources', { skip: await cannotRebuild() }, async (t) => {
  const copy = join(folder, 'guests');
  cpSync('guests', copy, { recursive: true, filter: (path) => !/\.elf$|\.build$/.test(path) });
  const { status, stderr } = await runCommand('make', ['-s', '-j2', '-C', copy]);
  t.equal(status, 0, stderr);
  const suite = readdirSync('guests/conformance').filter((file) => file.endsWith('.elf'));
  for (const file of [...guestNames.map((name) => `${name}/${name}.elf`), ...suite.map((name) => `conformance/${name}`)]) {
    t.ok(readFileSync(join(copy, file)).equals(readFileSync(join('guests', file))), `${file}: the same bytes; npm run guests`);
  }
});

/** Why the kernels are not rebuilt, if so. */
async function cannotRebuild(): Promise<string | false> {
  if (!isThorough) return 'a thorough run does: THOROUGH=1 npm test';
  const needs = 'needs gcc 12.2, binutils 2.40, make and libxen-dev of Debian 12';
  if (process.arch !== 'x64') return `${needs}; this is ${process.arch}`;
  for (const [command, option, version] of [
    ['gcc', '-dumpfullversion', /^12\.2\./],
    ['ld', '--version', / 2\.40\b/],
    ['make', '--version', /^GNU Make/],
  ] as const) {
    const found = await runCommand(command, [option]).catch(() => undefined);
    if (found?.status !== 0) return `${needs}; there is no ${command}`;
    if (!version.test(found.stdout)) return `${needs}; ${command} is ${found.stdout.split('\n')[0]}`;
  }
  return existsSync('/usr/include/xen/xen.h') ? false : `${needs}; libxen-dev is not installed`;
}
