/** A host as its user meets it: started, asked, maltreated and ended, in processes of their own. */
import type { ChildProcess } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { BENEATH, beneath, type Outcome, runBeneath, runCommand, startBeneath } from '../support/command.ts';
import { makeFatImage } from '../support/fat_image.ts';
import { environmentBlock, GRUB, grubIsMissing } from '../support/grub.ts';
import { images } from '../support/small_images.ts';
import { quickOr } from '../support/thorough.ts';

const folder = mkdtempSync(join(tmpdir(), 'beneath-'));
t.teardown(() => rmSync(folder, { recursive: true }));
t.setTimeout(300_000);
process.env.XDG_RUNTIME_DIR = folder;
for (const [name, image] of Object.entries(images)) writeFileSync(join(folder, `${name}.elf`), image);

/** The file with `text` behind a small [host]. */
function hostFile(name: string, text: string): string {
  const path = join(folder, `${name}.toml`);
  writeFileSync(path, `[host]\nmemory = "64M"\nengine = "interpret"\n${text}`);
  return path;
}

const domain = (name: string, kernel: string, more = ''): string =>
  `[[domain]]\nname = "${name}"\nkernel = "${kernel}.elf"\nmemory = "8M"\n${more}`;

const grubSettings = (name: string, disk: string): string[] => [`name="${name}"`, `kernel="${GRUB}"`, 'memory=16', `disk=["${disk}"]`];
const grubDomain = (name: string, disk: string): string => `[[domain]]\n${grubSettings(name, disk).join('\n')}\n`;

class TestHost {
  readonly process: ChildProcess;
  readonly ended: Promise<number | null>;
  said = '';
  printed = '';

  constructor(file: string, ...args: string[]) {
    this.process = startBeneath(['host', file, ...args], ['ignore', 'pipe', 'pipe']);
    this.process.stdout!.on('data', (bytes: Buffer) => {
      this.printed += bytes;
    });
    this.process.stderr!.on('data', (bytes: Buffer) => {
      this.said += bytes;
    });
    this.ended = new Promise((resolve) => this.process.on('close', resolve));
  }

  says(what: RegExp): Promise<void> {
    return this.#until(() => what.test(this.said));
  }

  prints(what: RegExp): Promise<void> {
    return this.#until(() => what.test(this.printed));
  }

  async #until(isSo: () => boolean): Promise<void> {
    while (!isSo()) {
      if (this.process.exitCode !== null) throw new Error(`it has ended: ${this.said}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  static async start(file: string, ...args: string[]): Promise<TestHost> {
    const host = new TestHost(file, ...args);
    await host.says(/ runs with /);
    return host;
  }

  end(signal: NodeJS.Signals = 'SIGTERM'): Promise<number | null> {
    this.process.kill(signal);
    return this.ended;
  }
}

const ask = (...args: string[]): Promise<Outcome> => beneath(args);

/** Lines over the control socket itself. */
function raw(name: string): Promise<{ socket: Socket; reply(): Promise<unknown>; closed: Promise<void> }> {
  return new Promise((resolve, reject) => {
    const socket = connect(join(folder, 'beneath', `${name}.sock`));
    const lines: string[] = [];
    const waiting: ((line: string) => void)[] = [];
    let text = '';
    socket.setEncoding('utf8').on('data', (more: string) => {
      text += more;
      for (let end = text.indexOf('\n'); end >= 0; end = text.indexOf('\n')) {
        const line = text.slice(0, end);
        text = text.slice(end + 1);
        const taker = waiting.shift();
        if (taker) taker(line);
        else lines.push(line);
      }
    });
    const closed = new Promise<void>((done) => socket.on('close', () => done()));
    const reply = async (): Promise<unknown> => JSON.parse(lines.shift() ?? (await new Promise<string>((take) => waiting.push(take))));
    socket.on('error', reject);
    socket.on('connect', () => resolve({ socket, reply, closed }));
  });
}

t.test('a host file that is wrong is one line and status 1', { timeout: 200_000 }, async (t) => {
  const { status, stderr } = await runBeneath(['host', hostFile('wrong', `${domain('a', 'spin')}memroy = 64\n`)]);
  t.equal(status, 1);
  t.match(stderr, /^beneath: .*wrong\.toml:8: there is no key 'memroy'; do you mean memory\?\n$/);
  const missing = await ask('host', join(folder, 'nowhere.toml'));
  t.match(missing, { status: 1, stderr: /nowhere\.toml: the host file cannot be read: there is no such file; check the path\n$/ });
  const noKernel = await ask('host', hostFile('nokernel', domain('a', 'nowhere')));
  t.match(noKernel, { status: 1, stderr: /nowhere\.elf: the kernel cannot be read: there is no such file/ });
  t.match(await ask('list'), { status: 1, stdout: '', stderr: 'no host runs; start one with beneath host HOST.toml\n' });
});

t.test('a host and the verbs', { timeout: 200_000 }, async (t) => {
  const file = hostFile('verbs', domain('busy', 'spin', 'weight = 512\n') + domain('idle', 'sleep') + domain('end', 'poweroff'));
  const host = await TestHost.start(file);
  await host.says(/Domain 3 \(end\) has shut down, reason code 0 0x0\nbeneath: Action for shutdown reason code 0 is destroy/);
  const listed = await runBeneath(['list']);
  t.match(listed, { status: 0, stderr: '', stdout: /^Name {40}ID .*\nbusy +1 +8 +1 +r----- +\d+\.\d\nidle +2 +8 +1 +-b---- +0\.0\n$/ });
  const json = JSON.parse((await ask('list', '--json')).stdout) as Record<string, unknown>[];
  t.same(Object.keys(json[0]!), ['id', 'name', 'memory_mib', 'vcpus', 'state', 'time_s']);
  t.match(json[1], { id: 2, name: 'idle', memory_mib: 8, vcpus: 1, state: '-b----' });
  t.match(await runBeneath(['pause', 'busy']), { status: 0, stdout: '', stderr: '' });
  t.match(await ask('list', 'busy'), { stdout: /busy +1 +8 +1 +--p---/ });
  t.match(await runBeneath(['list', 'nosuch']), { status: 1, stdout: '', stderr: 'nosuch is an invalid domain identifier (rc=-6)\n' });
  t.match(await ask('list', '99'), { status: 1, stderr: "Error: Domain '99' does not exist.\n" });
  t.match(await runBeneath(['pause']), { status: 2, stderr: /^beneath: missing required argument 'domain'; see beneath pause --help\n$/ });
  t.match(await ask('list', '-x'), { status: 2, stderr: /unknown option '-x'/ });
  t.match(await ask('shutdown'), { status: 1, stderr: 'You must specify -a or a domain id.\n' });
  t.match(await ask('sched-credit2', '-d', 'busy'), { stdout: /\nbusy +1 +512 +0\n$/ });
  t.match(await ask('sched-credit2', '-d', 'busy', '-c', '500'), {
    status: 1,
    stderr: /^Cpu cap out of range, valid range is from 0 to 100 /,
  });
  t.match(await ask('vcpu-pin', 'busy', '0', 'abc'), { status: 1, stderr: 'Invalid pcpu range: abc.\n' });
  t.match(await ask('vcpu-pin', 'busy', 'x', '0'), { status: 1, stderr: 'Error: Invalid argument x as VCPU.\n' });
  t.match(await ask('create', '/dev/null', 'name=new', `kernel=${folder}/sleep.elf`, 'memory=8', '-q'), { status: 0, stderr: '' });
  t.match(await ask('create', '/dev/null', 'name=new', `kernel=${folder}/sleep.elf`, '-q'), {
    status: 3,
    stderr: 'Domain with name "new" already exists.\n',
  });
  t.match(await ask('create', '/nowhere'), { status: 3, stderr: 'Failed to read config file: /nowhere: No such file or directory\n' });
  t.match(await ask('create', '/dev/null', '-q'), { status: 1, stderr: /^\/dev\/null: name is missing; write name = "web"\n$/ });
  t.match(await ask('create', '-q'), { status: 6, stderr: 'Config file not specified and none in save file\n' });
  t.match(await ask('create', '-q', 'a', 'b'), { status: 2, stderr: /^create takes one file, and these are two: a, b; / });
  const ended = ['-q', '-f', '/dev/null', 'name=short', `kernel=${folder}/poweroff.elf`, 'memory=8'];
  t.match(JSON.parse((await ask('create', '-n', ...ended)).stdout), { c_info: { name: 'short' }, b_info: { target_memkb: 8192 } });
  const died = (domid: number, action: string): RegExp =>
    new RegExp(
      `^Waiting for domain short \\(domid ${domid}\\) to die \\[pid \\d+\\]\nDomain ${domid} has shut down, reason code 0 0x0\nAction for shutdown reason code 0 is ${action}\n$`,
    );
  t.match(await ask('create', '-F', ...ended), { status: 0, stderr: died(5, 'destroy') });
  t.match(await ask('create', '-e', '-F', ...ended), { status: 0, stderr: died(6, 'preserve') });
  t.match(await ask('list', 'short'), { stdout: /short +6 +8 +1 +---s-- / }, 'with -e nobody acts on the end');
  t.match(await ask('domname', 'short'), { status: 1, stderr: 'Invalid domain id.\n' });
  t.match(await ask('domid', 'new'), { stdout: '4\n' });
  t.match(await ask('destroy', 'new'), { status: 0 });
  t.match(await ask('domid', 'new'), { status: 1, stderr: "Can't get domid of domain name 'new', maybe this domain does not exist.\n" });
  t.match(await ask('top', '-b', '-i', '1'), { stdout: /\n {6}busy ----p- / });
  t.equal(await host.end('SIGINT'), 0, 'a signal ends it');
  t.match(host.said, /beneath: host 'verbs' has ended\n$/);
  t.notOk(existsSync(join(folder, 'beneath', 'verbs.sock')), 'its socket is gone');
});

// The hosts of other tests are ended by the others.
for (const signal of quickOr<readonly NodeJS.Signals[]>(['SIGHUP'], ['SIGINT', 'SIGTERM', 'SIGHUP'])) {
  t.test(`${signal} ends a host, and what its domains wrote is on their disks`, { timeout: 200_000, skip: grubIsMissing }, async (t) => {
    const imageOf = (contents: string): Uint8Array => makeFatImage([{ name: 'GRUBENV    ', contents }]);
    writeFileSync(join(folder, 'disk.img'), imageOf(environmentBlock()));
    const name = `ended-${signal}`;
    const host = await TestHost.start(hostFile(name, grubDomain('a', 'disk.img') + domain('busy', 'spin')));
    t.match(await ask('create', '-q', '/dev/null', ...grubSettings('b', `${folder}/./disk.img`)), {
      status: 3,
      stderr: /disk\.img: the disk is mounted read-write in domain 'a', and so cannot be mounted read-write now; give each its own copy/,
    });
    const { socket, reply, closed } = await raw(name);
    socket.write('{"operation":"console","domain":"a"}\n');
    t.match(await reply(), { result: { domid: 1 } });
    const typed = `set colour=${signal}\rsave_env -f (hd0,msdos1)/grubenv colour\recho saved\r`;
    socket.write(`${JSON.stringify({ input: Buffer.from(typed).toString('base64') })}\n`);
    await host.prints(/^a: saved$/m);
    t.equal(await host.end(signal), 0);
    t.match(host.said, new RegExp(`\nbeneath: host '${name}' has ended\n$`));
    await closed;
    t.notOk(existsSync(join(folder, 'beneath', `${name}.sock`)), 'its socket is gone');
    t.same(readFileSync(join(folder, 'disk.img')), Buffer.from(imageOf(environmentBlock(`colour=${signal}`))));
  });
}

t.test('a domain goes on in another host', { timeout: 200_000 }, async (t) => {
  const file = join(folder, 'counting.save');
  const firstFile = hostFile('first', domain('counting', `${process.cwd()}/guests/patience/patience`, 'cmdline = "watch"\n'));
  const first = await TestHost.start(firstFile);
  await first.prints(/^counting: +\d+ /m);
  t.match(await ask('save', 'counting', join(folder, 'nowhere', 'f')), {
    status: 1,
    stderr: /nowhere\/f cannot be written: there is no such file\n$/,
  });
  const saving =
    /^Saving to .*\nxc: info: Saving domain 1, type x86 PV\nxc: progress: Frames: (\d+)\/\1 {2}100%\nxc: progress: End of stream: 0\/0 {4}0%\n$/;
  t.match(await ask('save', '-c', 'counting', file), { status: 0, stdout: '', stderr: saving });
  t.match(await ask('list', 'counting'), { status: 0 }, 'it runs on');
  t.match(await ask('save', 'counting', file), { status: 0, stdout: '', stderr: saving });
  t.match(await ask('list', 'counting'), { status: 1 }, 'it has ended');
  t.notOk(existsSync(`${file}.part`));
  await first.end();
  const second = await TestHost.start(hostFile('second', ''));
  const restoring =
    /^Loading save file .*\nxc: info: Found x86 PV domain from Xen 4\.17\nxc: info: Restore successful\nxc: info: XenStore: mfn 0x\w+, dom 0, evt 1\nxc: info: Console: mfn 0x\w+, dom 0, evt 2\n$/;
  t.match(await ask('restore', file), { status: 0, stdout: '', stderr: restoring });
  await second.prints(/^counting: +\d+ /m);
  t.match(await ask('restore', file), { status: 1, stderr: /\nDomain with name "counting" already exists\.\n$/ });
  t.match(await ask('restore', firstFile), { status: 1, stderr: /\n.*first\.toml holds no saved domain\n$/ });
  t.equal(await second.end(), 0);
});

t.test('a console', { timeout: 200_000 }, async (t) => {
  const file = hostFile('console', '');
  writeFileSync(
    file,
    `${readFileSync(file, 'utf8')}[[domain]]\nname = "hello"\nkernel = "${process.cwd()}/guests/hello/hello.elf"\nmemory = "8M"\non_poweroff = "preserve"\n`,
  );
  const host = await TestHost.start(file);
  await host.says(/is preserve/);
  t.match(host.printed, /^hello: hello from ring 3/m, 'the host shows what its domains print');
  const { status, stdout } = await runBeneath(['console', 'hello']);
  t.equal(status, 0);
  t.match(stdout, /^hello from ring 3.*\n[\s\S]*bye\r?\n$/, 'what was printed before somebody looked');
  t.match(await ask('list'), { stdout: /hello +1 +8 +1 +---s-- / });
  const created = await runBeneath(['create', '-c', '-q', '/dev/null', 'name=next', 'kernel=guests/hello/hello.elf', 'memory=8']);
  t.match(created, { status: 0, stderr: '', stdout: /^hello from ring 3[\s\S]*bye\r?\n$/ }, 'of a domain that is made: all of it');
  t.equal(await host.end('SIGTERM'), 0);
});

const hasPython = (await runCommand('python3', ['-c', 'import pty']).catch(() => undefined))?.status === 0;

t.test('a console on a terminal', { timeout: 200_000, skip: hasPython ? false : 'needs python3, which makes the terminal' }, async (t) => {
  const file = hostFile('terminal', '');
  writeFileSync(
    file,
    `${readFileSync(file, 'utf8')}[[domain]]\nname = "keys"\nkernel = "${process.cwd()}/guests/keys/keys.elf"\ncmdline = "wait"\nmemory = "8M"\n`,
  );
  const host = await TestHost.start(file);
  const steps = [
    ['ends\r\n', 'ab'],
    ['ab', '\r'],
    ['line of 2: ab', '\x1d'],
  ];
  const { stdout } = await runCommand('python3', [
    'test/support/terminal.py',
    JSON.stringify(steps),
    process.execPath,
    BENEATH,
    'console',
    'keys',
  ]);
  t.match(JSON.parse(stdout), { status: 0, isRaw: true, isRestored: true, stepsLeft: 0 }, 'keys go to the guest, Ctrl-] leaves');
  t.match(await ask('list'), { stdout: /^keys +1 /m }, 'and the domain lives on');
  t.equal(await host.end(), 0);
});

t.test('sockets', { timeout: 200_000 }, async (t) => {
  const file = hostFile('sockets', domain('a', 'sleep'));
  const host = await TestHost.start(file);
  const path = join(folder, 'beneath', 'sockets.sock');
  t.equal(statSync(path).mode & 0o777, 0o600);
  t.equal(statSync(join(folder, 'beneath')).mode & 0o777, 0o700);

  const second = await runBeneath(['host', file]);
  t.match(second, { status: 1, stderr: "beneath: a host 'sockets' runs already; give this one another --name\n" });
  const other = await TestHost.start(file, '--name', 'other');
  t.match(await ask('list'), { status: 1, stderr: 'several hosts run: other, sockets; say which with --host NAME\n' });
  t.match(await ask('list', '--host', 'other'), { status: 0, stdout: /\na / });
  other.process.kill('SIGKILL');
  await other.ended;
  t.ok(existsSync(join(folder, 'beneath', 'other.sock')), 'who is killed leaves a socket');
  t.match(await ask('list'), { status: 0, stdout: /\na / }, 'which nobody takes for a host');
  t.match(await ask('list', '--host', 'other'), { status: 1, stderr: /^no host 'other' runs; start it with / });
  const next = await TestHost.start(file, '--name', 'other');
  t.equal(await next.end(), 0, 'and the next of that name replaces');

  const { socket, reply, closed } = await raw('sockets');
  for (const line of [
    'garbage',
    '[]',
    '7',
    'null',
    '"x"',
    '{}',
    '{"operation":7}',
    '{"operation":"__proto__"}',
    '{"operation":"toString"}',
    '{"operation":"list","domain":[]}',
    '\0\xff{',
  ]) {
    socket.write(`${line}\n`);
    t.match(await reply(), { error: /./, code: -6 }, `${JSON.stringify(line)} is refused`);
  }
  socket.write('{"oper');
  socket.write('ation":"list"}\n{"operation":"list"}\n\n{"opera');
  t.match(await reply(), { result: [{ name: 'a' }] }, 'a request in two halves');
  t.match(await reply(), { result: [{ name: 'a' }] }, 'and two in one');
  socket.pause();
  socket.write('{"operation":"dmesg"}\n'.repeat(20_000));
  t.match(await ask('list'), { status: 0 }, 'one who asks and does not read keeps nobody waiting');
  socket.resume();
  for (let i = 0; i < 20_000; i++) await reply();
  t.pass('and gets every answer when it reads');
  socket.write('x'.repeat(2 * 1024 * 1024));
  t.match(await reply(), { error: 'a request has at most 1048576 bytes' });
  await closed;

  const clients = await Promise.all(Array.from({ length: 100 }, () => raw('sockets')));
  for (const client of clients) client.socket.write('{"operation":"list"}\n');
  const replies = await Promise.all(clients.map((client) => client.reply()));
  t.ok(
    replies.every((each) => JSON.stringify(each) === JSON.stringify(replies[0])),
    'a hundred at once',
  );
  clients[0]!.socket.write('{"operation":"console","domain":"a"}\n');
  t.match(await clients[0]!.reply(), { result: { domid: 1 } });
  clients[1]!.socket.write('{"operation":"wait","domid":1}\n{"operation":"list"}\n');
  for (const client of clients) client.socket.destroy();
  t.match(await ask('destroy', 'a'), { status: 0 }, 'killed clients are forgotten');
  t.match(await ask('list', '--json'), { stdout: '[]\n' });
  t.equal(await host.end(), 0);
});

t.test('what is no socket of a host', { timeout: 200_000 }, async (t) => {
  mkdirSync(join(folder, 'beneath'), { recursive: true, mode: 0o700 });
  const silent = createServer().listen(join(folder, 'beneath', 'silent.sock'));
  await new Promise((resolve) => silent.on('listening', resolve));
  t.match(await ask('host', hostFile('silent', '')), { status: 1, stderr: /a host 'silent' runs already/ });
  silent.close();
  t.match(await ask('host', hostFile('n', ''), '--name', 'a/b'), { status: 1, stderr: /--name a\/b: a name is made of letters/ });
});

// As xl 4.17 was heard to say, but for libxl's prefixes and the names of its functions.
// biome-ignore format: a table
const refusals: readonly (readonly [words: string, said: string, status: number])[] = [
  ['list nosuch',                  'nosuch is an invalid domain identifier (rc=-6)', 1],
  ['list 1x',                      '1x is an invalid domain identifier (rc=-6)', 1],
  ['list 99',                      "Error: Domain '99' does not exist.", 1],
  ['domid 1',                      "Can't get domid of domain name '1', maybe this domain does not exist.", 1],
  ['domname 99',                   "Can't get domain name of domain id '99', maybe this domain does not exist.", 1],
  ['domname a',                    'Invalid domain id.', 1],
  ['unpause a',                    'Domain 1:Unpausing domain: Invalid argument', 0],
  ['rename a b',                   'Domain with name "b" already exists.\nCan\'t rename domain \'a\'.', 1],
  ['rename a a',                   '', 0],
  ['sched-credit2 -d a -w 0',      'Cpu weight out of range, valid values are within range from 1 to 65535', 1],
  ['sched-credit2 -d a -w -5',     'Cpu weight out of range, valid values are within range from 1 to 65535', 1],
  ['sched-credit2 -d a -w abc',    'Cpu weight out of range, valid values are within range from 1 to 65535', 1],
  ['sched-credit2 -d a -w -1',     '', 0],
  ['sched-credit2 -d a -c 401',    'Cpu cap out of range, valid range is from 0 to 400 for specified number of vcpus', 1],
  ['sched-credit2 -d a -c -1',     '', 0],
  ['sched-credit2 -w 5',           'Must specify a domain.', 1],
  ['sched-credit2 -s -r 50',       'Ratelimit out of range, valid range is from 100 to 500000', 1],
  ['sched-credit2 -p nosuch',      "unknown cpupool 'nosuch'", 1],
  ['sched-credit2 -p Pool-0 -d a', 'Specifying a cpupool is not allowed with other options.', 1],
  ['vcpu-set a 0',                 'Requested 0 VCPUs!', 1],
  ['vcpu-set a 3',                 'You are overcommmitting! You have 2 physical CPUs and want 3 vCPUs! Aborting, use --ignore-host to continue', 1],
  ['vcpu-set -i a 5',              'Requested 5 VCPUs, however maxcpus is 4!', 1],
  ['vcpu-set a abc',               'Error: Invalid argument.', 1],
  ['vcpu-pin a x 0',               'Error: Invalid argument x as VCPU.', 1],
  ['vcpu-pin a 9 0',               "Could not set affinity for vcpu `9'.", 1],
  ['vcpu-pin a 0 - -',             "Could not set affinity for vcpu `0'.", 1],
  ['vcpu-pin a 0 7',               "Could not set affinity for vcpu `0'.", 1],
  ['vcpu-pin a 0 0,7',             '', 0],
  ['vcpu-pin a all ^0',            'vcpu hard affinity map is empty', 1],
  ['vcpu-pin a 0 nodes:1',         'vcpu hard affinity map is empty', 1],
  ['vcpu-pin a 0 none',            'Invalid pcpu range: none.', 1],
  ['vcpu-pin a 0 1-0',             'Invalid pcpu range: 1-0.', 1],
  ['vcpu-pin a 0 all 7',           'Domain 1:All cpus in soft affinity of vcpu 0 are unreachable. Only hard affinity will be considered for scheduling', 0],
  ['console -t foo a',             'console type supported are: pv, serial, vuart', 1],
  ['shutdown',                     'You must specify -a or a domain id.', 1],
];

t.test('what a verb refuses it refuses as xl does', { timeout: 200_000 }, async (t) => {
  const host = await TestHost.start(
    hostFile('refusals', `cores = 2\n${domain('a', 'sleep', 'vcpus = 1\nmaxvcpus = 4\n')}${domain('b', 'sleep')}`),
  );
  for (const [words, said, status] of refusals) {
    t.match(await ask(...words.split(' ')), { status, stdout: '', stderr: said === '' ? '' : `${said}\n` }, words);
  }
  t.match(await ask('sched-credit2', '-d', 'a'), { stdout: /\na +1 +256 +0\n$/ }, 'nothing of it was done');
  t.equal(await host.end(), 0);
});
