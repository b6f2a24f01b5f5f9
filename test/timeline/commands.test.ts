/** beneath trace, beneath plot and --timeline as their user meets them. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import t from 'tap';
import { beneath, expectMistake, runBeneath, startBeneath } from '../support/command.ts';

const folder = mkdtempSync(join(tmpdir(), 'beneath-'));
t.teardown(() => rmSync(folder, { recursive: true }));
t.setTimeout(300_000);
process.env.XDG_RUNTIME_DIR = folder;

const path = (name: string): string => join(folder, name);
const domain = (name: string, guest: string, more = ''): string =>
  `[[domain]]\nname = "${name}"\nkernel = "${resolve(`guests/${guest}/${guest}.elf`)}"\nmemory = "8M"\n${more}`;

function hostFile(name: string, host = ''): string {
  const text = `[host]\nmemory = "64M"\ncores = 2\n${host}`;
  const domains = [
    domain('web', 'spin', 'vcpus = 2\ncmdline = "work=300 sleep=1700"\n'),
    domain('hello', 'hello'),
    domain('batch', 'spin', 'cap = 20\n'),
  ];
  writeFileSync(path(name), text + domains.join(''));
  return path(name);
}

const pause = (ms: number): Promise<void> => new Promise((done) => setTimeout(done, ms));
const eventsOf = (file: string): { ph: string; name: string; cat?: string }[] => JSON.parse(readFileSync(file, 'utf8')).traceEvents;

t.test('the same host file gives the same hash and the same file, on both engines', async (t) => {
  const seen = new Set<string>();
  for (const engine of ['translate', 'interpret']) {
    const file = hostFile(`${engine}.toml`, `engine = "${engine}"\n`);
    const timeline = path(`${engine}.json`);
    const args = ['host', file, '-q', '--deterministic', '--seconds', '0.1', '--timeline', timeline, '--timeline-hash'];
    const { status, stderr } = await runBeneath(args);
    t.equal(status, 0, stderr);
    seen.add(`${/the timeline's hash is ([0-9a-f]{16})\n/.exec(stderr)?.[1]} ${readFileSync(timeline, 'utf8')}`);
  }
  t.equal(seen.size, 1);
});

t.test('a running host is recorded, and drawn', async (t) => {
  const process_ = startBeneath(['host', hostFile('live.toml'), '-q', '--name', 'live'], ['ignore', 'ignore', 'pipe']);
  const ended = new Promise((done) => process_.on('close', done));
  await new Promise<void>((done) => process_.stderr!.on('data', (bytes: Buffer) => bytes.includes(' runs with ') && done()));
  const trace = path('live.json');
  const { status, stdout, stderr } = await runBeneath(['trace', '--host', 'live', '--seconds', '0.05', '--out', trace]);
  t.equal(stderr, '');
  t.equal(status, 0);
  t.match(stdout, /live\.json: \d+ events; see it with beneath plot /);
  t.ok(eventsOf(trace).some(({ cat, name }) => cat === 'runstate' && name === 'running'));

  const endless = startBeneath(['trace', '--host', 'live', '--out', path('endless.json'), '--json'], ['ignore', 'pipe', 'inherit']);
  let printed = '';
  endless.stdout!.on('data', (bytes: Buffer) => {
    printed += bytes;
  });
  const closed = new Promise((done) => endless.on('close', done));
  for (let size = 0; size < 2000; ) {
    await pause(50);
    // A look in the middle of a write sees halves; as if it had ended suddenly, it sees what was written.
    endless.kill('SIGSTOP');
    await pause(20);
    try {
      size = eventsOf(path('endless.json')).length;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') t.fail(`a file that is being written is no JSON: ${error}`);
    }
    endless.kill('SIGCONT');
  }
  t.match(await beneath(['trace', '--host', 'live', '--seconds', '1', '--out', path('second.json')]), {
    status: 1,
    stderr: 'this host is being recorded already\n',
  });
  endless.kill('SIGINT');
  t.equal(await closed, 0, 'Ctrl-C ends a recording');
  t.match(JSON.parse(printed), { complete: true, events: eventsOf(path('endless.json')).length - 1 });

  t.match(await beneath(['trace', '--host', 'live', '--out', path('no/where.json')]), {
    status: 1,
    stderr: /where\.json: the timeline cannot be written: there is no such file; name a file that can\n$/,
  });
  t.match(await beneath(['plot', trace]), { status: 0, stderr: '', stdout: `${path('live.svg')}\n` });
  t.match(readFileSync(path('live.svg'), 'utf8'), /Runstates of \d vCPUs: live\.json/);
  process_.kill('SIGTERM');
  t.equal(await ended, 0);
});

t.test('time passes for a host without a domain, too', async (t) => {
  writeFileSync(path('empty.toml'), '[host]\nmemory = "64M"\n');
  const host = startBeneath(['host', path('empty.toml')], ['ignore', 'ignore', 'pipe']);
  await new Promise<void>((done) => host.stderr!.on('data', (bytes: Buffer) => bytes.includes(' runs with ') && done()));
  await new Promise((done) => setTimeout(done, 1500));
  const begun = performance.now();
  t.match(await beneath(['trace', '--host', 'empty', '--seconds', '1', '--out', path('empty.json')]), { status: 0, stderr: '' });
  t.ok(performance.now() - begun >= 1000, 'not what was slept before');
  host.kill('SIGTERM');
  t.match(await beneath(['plot', path('empty.json')]), { status: 1, stderr: /: there are no runstates in it; / });
});

t.test('a guest of beneath run has a timeline, too', async (t) => {
  const timeline = path('run.json');
  const { status } = await beneath(['run', 'guests/hello/hello.elf', '--deterministic', '--timeline', timeline, '--timeline-hash']);
  t.equal(status, 0);
  t.ok(eventsOf(timeline).some(({ name }) => name === 'sched_op.shutdown'));
});

// biome-ignore format: one command a line
const mistakes: readonly (readonly [claim: string, args: string[], message: RegExp])[] = [
  ['no file',                     ['plot'],                                                   /missing required argument 'file'/],
  ['a file that is not there',    ['plot', 'nowhere.json'],                                   /^beneath: nowhere\.json: the timeline cannot be read: there is no such file/],
  ['a file that is no timeline',  ['plot', 'package.json', '--out', '/dev/null'],             /^beneath: package\.json: it is JSON, but no trace: it has no traceEvents\n/],
  ['a file that is no JSON',      ['plot', 'README.md'],                                      /^beneath: README\.md: it is no JSON: /],
  ['a timeline into nowhere',     ['run', 'guests/hello/hello.elf', '--timeline', path('a/b')], /a\/b: the timeline cannot be written: there is no such file; name a file that can\n/],
  ['no time at all',              ['host', 'x.toml', '--seconds', '0'],                       /argument '0' is invalid\. Give seconds/],
];

t.test("a user's mistake is one line with the reason, and status 1", async (t) => {
  for (const mistake of mistakes) await expectMistake(t, ...mistake);
  t.match(await beneath(['trace', '--host', 'none']), { status: 1, stderr: /^no host 'none' runs; start it with / });
});
