/** `beneath conform`: the whole suite agrees with the real Xen, and what does not is told, counted and fails. */
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { compare, parseChecks, parseDifferences, tally } from '../../emulator/cli/conform_compare.ts';
import { BENEATH, beneath, runBeneath, runCommand } from '../support/command.ts';

t.setTimeout(240_000);
const SUITE = 'guests/conformance';
const folder = mkdtempSync(join(tmpdir(), 'beneath-'));
t.teardown(() => rmSync(folder, { recursive: true }));

t.test('every answer of the suite is that of the real Xen, or its difference is listed with a reason', async (t) => {
  const { status, stdout, stderr } = await runBeneath(['conform', '--json']);
  const result = JSON.parse(stdout);
  t.equal(status, 0, stderr);
  t.same(
    result.differences.filter(({ verdict }: { verdict: string }) => verdict !== 'listed'),
    [],
    'no silent difference',
  );
  t.equal(result.agree + result.listed, result.calls);
  t.ok(result.listed <= result.calls / 100, `${result.listed} of ${result.calls} differ: at most 1 %`);
  t.ok(result.differences.every(({ reason }: { reason?: string }) => reason !== undefined && reason.length > 20));
  for (const name of ['memory_op', 'mmu_update', 'mmuext_op', 'event_channel_op', 'grant_table_op', 'sched_op', 'vcpu_op', 'domctl'])
    t.ok(result.hypercalls[name].calls > 50, `${name}: ${result.hypercalls[name]?.calls} calls`);
});

t.test('the suite is whole: each guest has what the real Xen printed, to the end', (t) => {
  const guests = readdirSync(SUITE).filter((file) => file.endsWith('.elf'));
  let asked = 0;
  for (const guest of guests) {
    for (const as of ['domU', 'dom0']) {
      const tap = readFileSync(join(SUITE, guest.replace('.elf', `.${as}.tap`)), 'latin1');
      const checks = parseChecks(tap);
      t.match(tap, /^TAP version 13\n/, `${guest} as ${as}`);
      t.equal(tap.trimEnd().split('\n').at(-1), `1..${checks.length}`, `${guest} as ${as}: every line is a check`);
      if (as === 'domU') asked += checks.length;
    }
  }
  t.ok(asked >= 1200, `${asked} checks as domU`);
  t.end();
});

t.test('the readers', (t) => {
  const real = parseChecks('TAP version 13\nok 1 - a.b: x -> 0\nok 2 - a.b: x -> -EINVAL {y=1}\nok 3 - c: z: is it? -> yes\n1..3\n');
  t.same(real[1], { call: 'a.b', question: 'a.b: x', answer: '-EINVAL {y=1}' });
  const known = parseDifferences(
    '| question | real Xen | here | reason |\n| --- | --- | --- | --- |\n| `c: *` | `yes` | `no` | for a test |\n',
  );
  const here = parseChecks('ok 1 - a.b: x -> 0\nok 2 - a.b: x -> -EPERM\nok 3 - c: z: is it? -> no\nok 4 - d: more -> 0\n');
  const verdicts = compare('test as domU', real, here, known);
  t.same(
    verdicts.map(({ verdict, real: r, here: h }) => [verdict, r, h]),
    [
      ['agree', '0', '0'],
      ['differ', '-EINVAL {y=1}', '-EPERM'],
      ['listed', 'yes', 'no'],
      ['differ', undefined, '0'],
    ],
    'the same question again is the next one; one that only one side asks differs',
  );
  t.equal(verdicts[2]!.reason, 'for a test');
  t.same(tally(verdicts).all, { calls: 4, agree: 1, listed: 1, differ: 2 });
  t.same(tally(verdicts).hypercalls.get('a'), { calls: 2, agree: 1, listed: 0, differ: 1 });
  t.same(
    compare('test', real, [], known).map(({ verdict }) => verdict),
    ['differ', 'differ', 'differ'],
    'a guest that dies',
  );
  t.end();
});

t.test('what npm packs is enough, and a difference shows both answers and fails', async (t) => {
  const copy = join(folder, 'package');
  mkdirSync(join(copy, 'dist'), { recursive: true });
  cpSync(BENEATH, join(copy, 'dist/beneath.mjs'));
  cpSync('package.json', join(copy, 'package.json'));
  const packed = JSON.parse(readFileSync('package.json', 'utf8')).files as string[];
  t.ok(['dist', 'guests', 'docs/differences.md'].every((path) => packed.includes(path)));
  for (const file of readdirSync(SUITE).filter((name) => name.startsWith('version.'))) cpSync(join(SUITE, file), join(copy, SUITE, file));
  cpSync('docs/differences.md', join(copy, 'docs/differences.md'));
  const conform = (...args: string[]) => runCommand(process.execPath, [join(copy, 'dist/beneath.mjs'), 'conform', ...args]);
  const golden = join(copy, SUITE, 'version.domU.tap');
  t.equal((await conform()).status, 0);
  const good = readFileSync(golden, 'latin1');
  writeFileSync(golden, good.replace('xen_version.pagesize: NULL -> 4096', 'xen_version.pagesize: NULL -> 8192'));
  const table = await conform();
  t.equal(table.status, 2);
  t.match(table.stdout, /^version as domU: xen_version\.pagesize: NULL\n {4}real Xen {2}8192\n {4}here {6}4096$/m);
  t.match(table.stdout, /^hypercall +calls +agree +listed +differ\n/m);
  t.match(table.stdout, /^xen_version +\d+ +\d+ +0 +1$/m);
  t.match(table.stdout, /^all +\d+ +\d+ +0 +1$/m);
  t.equal((await conform('--as', 'dom0')).status, 0, 'as dom0 nothing differs');
  t.equal((await conform('--filter', 'vm_assist')).status, 0, 'nor in the calls that are looked at');
  const tap = await conform('--as', 'domU', '--filter', 'pagesize', '--tap');
  t.equal(tap.status, 2);
  t.match(tap.stdout, /^TAP version 14\n1\.\.\d+\n/);
  t.match(
    tap.stdout,
    /^not ok 1 - version as domU: xen_version\.pagesize: NULL\n {2}---\n {2}real Xen: "8192"\n {2}here: "4096"\n {2}\.\.\.$/m,
  );
  t.match(tap.stdout, /^ok 2 - version as domU: xen_version\.pagesize: /m);
});

t.test("a user's mistake is one line, status 1", async (t) => {
  for (const [run, args, message] of [
    [runBeneath, ['conform', 'nobody'], /the suite has no guest 'nobody'; it has batches, cpu, /],
    [beneath, ['conform', 'version', '--filter', '('], /--filter .* Give a regular expression/],
    [runBeneath, ['conform', 'version', '--filter', 'no such text'], /no check matches/],
    [beneath, ['conform', '--as', 'dom1'], /Allowed choices are domU, dom0/],
    [beneath, ['conform', '--tap', '--json'], /cannot be used with/],
  ] as const) {
    const { status, stdout, stderr } = await run(args);
    t.equal(status, 1, args.join(' '));
    t.match(stderr, message);
    t.match(stderr, /^beneath: [^\n]+\n$/);
    t.equal(stdout, '');
  }
  const help = await beneath(['conform', '--help']);
  t.equal(help.status, 0);
  for (const word of ['--as', '--filter', '--tap', '--json', 'Exit status: 0 ', '2 answers differ']) t.match(help.stdout, word);
});
