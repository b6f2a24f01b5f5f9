/** The operations on a host's domains, and their lives from creation to the end that their description names. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { checkInvariants } from '../../emulator/memory/invariants.ts';
import { runSlice } from '../../emulator/run.ts';
import { writeCore } from '../../emulator/toolstack/core_file.ts';
import type { OpenDisk } from '../../emulator/toolstack/disk_sharing.ts';
import type { DiskDescription } from '../../emulator/toolstack/disk_spec.ts';
import { domainInfo } from '../../emulator/toolstack/domain_info.ts';
import { readDomainFile, readHostFile } from '../../emulator/toolstack/host_file.ts';
import { settleEnds } from '../../emulator/toolstack/lifecycle.ts';
import { type Arguments, operations } from '../../emulator/toolstack/requests.ts';
import { Toolstack } from '../../emulator/toolstack/toolstack.ts';
import { ToolstackError } from '../../emulator/toolstack/toolstack_error.ts';
import { images } from '../support/small_images.ts';

const SPIN = 'guests/spin/spin.elf';

/** A host in this process, and what it says. */
class TestHost {
  readonly said: string[] = [];
  readonly written = new Map<string, Buffer>();
  /** Paths of disks; their endings tell the media apart, and none is one that is not there. */
  readonly closed: string[] = [];
  readonly toolstack: Toolstack;

  constructor(text = '[host]\nmemory = "64M"\nengine = "interpret"\n') {
    this.toolstack = new Toolstack(readHostFile('h.toml', text), {
      files: {
        read(path) {
          const image = images[path] ?? (path === SPIN ? readFileSync(SPIN) : undefined);
          if (image === undefined) throw new ToolstackError(`${path}: there is no such file`);
          return image;
        },
        openDisk: (disk) => this.#openDisk(disk),
        write: this.#write,
        replace: async (path, parts) => {
          const pieces: Uint8Array[] = [];
          for await (const part of parts) pieces.push(part);
          this.#write(path, pieces);
        },
        pack: async (bytes) => bytes,
        unpack: (bytes) => bytes,
      },
      report: (line) => this.said.push(line),
    });
  }

  #openDisk({ path, isReadonly }: DiskDescription): OpenDisk {
    const identity = path.split('.').pop()!;
    if (identity === 'none') throw new ToolstackError(`${path}: there is no such disk`);
    const yes = (): boolean => true;
    const close = (): void => {
      this.closed.push(path);
      if (path.startsWith('full')) throw new ToolstackError(`${path}: the disk cannot be written back: the medium is full`);
    };
    return { sectors: 8, isReadonly, path, identity, read: yes, write: yes, flush: yes, discard: yes, close };
  }

  readonly #write = (path: string, parts: Iterable<Uint8Array>): void => {
    this.written.set(path, Buffer.concat([...parts].map((part) => Buffer.from(part))));
  };

  create(name: string, ...settings: string[]): number {
    const text = `name = "${name}"\nkernel = "spin"\nmemory = 8\n`;
    return this.toolstack.create(readDomainFile('d.cfg', text, settings)).id;
  }

  ask(operation: string, given: Arguments = {}): unknown {
    const host = {
      toolstack: this.toolstack,
      systemName: { host: 'h', release: 'r', version: 'v', machine: 'm' },
      resolvePath: (_folder: string, path: string) => path,
    };
    return operations[operation]!(host, given, () => {});
  }

  run(slices = 5): void {
    for (let i = 0; i < slices; i++) {
      runSlice(this.toolstack.machine, 20_000);
      settleEnds(this.toolstack);
    }
  }

  instructionsOf(slices: number, domid: number): number {
    const time = (): number => domainInfo(this.toolstack.machine, this.toolstack.record(domid).domain).cpu_time;
    const before = time();
    this.run(slices);
    return time() - before;
  }
}

t.test('domains come and go', (t) => {
  const host = new TestHost();
  const { machine } = host.toolstack;
  const free = machine.memory.freeCount;
  t.equal(host.create('a'), 1);
  t.equal(host.create('b'), 2);
  host.run();
  host.toolstack.destroy(1);
  t.equal(host.create('c'), 3, 'a number is not given twice');
  t.throws(() => host.create('b'), { message: 'Domain with name "b" already exists.' });
  t.throws(() => host.create('d', 'kernel=nowhere'), { message: 'nowhere: there is no such file' });
  t.throws(() => host.create('d', 'kernel=text'), { message: /^text: not an ELF file/ });
  t.throws(() => host.create('d', 'memory=128'), {
    message: /^d: memory = 128M, and the host has \d+M left; give it less, or destroy another$/,
  });
  t.throws(() => host.create('d', 'disk=["img.none"]'), { message: 'img.none: there is no such disk' });
  t.throws(() => host.create('d', 'cap=500'), { message: 'd.cfg: cap = 500: give at most 100, 100 for each vCPU' });
  t.same(
    host.toolstack.records.map(({ domain }) => domain.name),
    ['b', 'c'],
    'what could not be made is not there',
  );
  host.run();
  for (const { domain } of host.toolstack.records) host.toolstack.destroy(domain.id);
  checkInvariants(machine.memory);
  t.ok(free - machine.memory.freeCount < 64, `nearly all memory is free again: ${free - machine.memory.freeCount} frames are not`);
  t.equal(runSlice(machine, 1000).kind, 'over');
  t.end();
});

t.test('a disk has many readers, or one writer', (t) => {
  const host = new TestHost();
  host.create('a', 'disk=["x.1,ro"]');
  host.create('b', 'disk=["x.1,ro", "y.1,ro", "x.2"]');
  const refused = (disks: string, message: string) => {
    t.throws(() => host.create('c', `disk=${disks}`), { message: `${message}; give each its own copy, or let all only read it: ,ro` });
  };
  refused('["y.1"]', "y.1: the disk is mounted read-only in domain 'a', and so cannot be mounted read-write now");
  refused('["z.2,ro"]', "z.2: the disk is mounted read-write in domain 'b', and so cannot be mounted now");
  refused('["z.3", "y.3"]', "y.3: the disk is mounted read-write in domain 'c', and so cannot be mounted read-write now");
  t.same(host.closed, ['y.1', 'z.2', 'z.3', 'y.3'], 'what was opened for nothing is closed');
  host.toolstack.destroy(2);
  host.create('c', 'disk=["z.2"]');
  t.end();
});

t.test('the end of a host closes every disk', (t) => {
  const host = new TestHost();
  host.create('a', 'disk=["full.1", "x.2"]');
  host.create('b', 'disk=["x.3"]');
  host.toolstack.close();
  t.same(host.closed, ['full.1', 'x.2', 'x.3']);
  t.match(host.said.at(-1), 'full.1: the disk cannot be written back: the medium is full');
  t.notOk(host.toolstack.areDisksSafe);
  t.end();
});

t.test('a paused domain stands still', (t) => {
  const host = new TestHost();
  const a = host.create('a');
  const b = host.create('b');
  t.ok(host.instructionsOf(20, a) > 0);
  host.ask('pause', { domain: 'a' });
  host.ask('pause', { domain: 'a' });
  t.match(host.ask('list', { domain: 'a' }), [{ paused: true }]);
  t.equal(host.instructionsOf(20, a), 0);
  t.ok(host.instructionsOf(20, b) > 0, 'another goes on');
  host.ask('unpause', { domain: '1' });
  t.equal(host.instructionsOf(20, a), 0, 'pauses are counted');
  host.ask('unpause', { domain: 'a' });
  t.ok(host.instructionsOf(20, a) > 0);
  host.ask('unpause', { domain: 'a' });
  t.match(host.ask('list', { domain: 'a' }), [{ paused: false }], 'one unpause too many does nothing');
  t.end();
});

// biome-ignore format: one life a line
const lives: readonly (readonly [image: string, setting: string, state: object | undefined, said: RegExp[]])[] = [
  ['poweroff', '',                            undefined, [/^Domain 1 \(a\) has shut down, reason code 0 0x0$/, /^Action for shutdown reason code 0 is destroy$/]],
  ['poweroff', 'on_poweroff="preserve"',      { shutdown: true, shutdown_reason: 0 }, [/reason code 0/, /is preserve$/]],
  ['reboot',   'on_reboot="destroy"',         undefined, [/reason code 1/, /is destroy$/]],
  ['crash',    'on_crash="preserve"',         { shutdown: true, shutdown_reason: 3 }, [/reason code 3 0x3: unhandled #UD at 0xffffffff80100000/, /is preserve$/]],
  ['crash',    '',                            undefined, [/reason code 3/, /is destroy$/]],
  ['crash',    'on_crash="coredump-destroy"', undefined, [/reason code 3/, /is coredump-destroy$/, /^Domain 1 \(a\): its memory and registers are in a-1\.core$/]],
];

t.test('what becomes of a domain that ends', (t) => {
  for (const [image, setting, state, said] of lives) {
    const host = new TestHost();
    host.create('a', `kernel=${image}`, ...(setting === '' ? [] : [setting]));
    host.run();
    const claim = `${image} ${setting}`;
    t.match(host.said, said, `${claim}: is said`);
    if (state === undefined) t.same(host.ask('list'), [], `${claim}: is gone`);
    else t.match(host.ask('list', { domain: 'a' }), [state], `${claim}: is kept`);
  }
  const host = new TestHost();
  host.create('a', 'kernel=reboot');
  host.run(1);
  const [first] = host.toolstack.records;
  t.match(first, { domain: { id: 2, name: 'a' } }, 'restart: the same domain with a new number');
  t.match(host.said, [/reason code 1/, /is restart$/, /^Domain 2 \(a\) is its next life$/]);
  host.run(10);
  t.equal(host.said.at(-1), 'a is not started again: it ended 5 times within a second of its start');
  t.same(host.ask('list'), []);
  t.end();
});

t.test('a crash leaves its reason in the messages', (t) => {
  const host = new TestHost();
  t.match(host.ask('dmesg'), {
    text: /^\(XEN\) Xen version 4\.17\.7 \(beneath\)\n\(XEN\) System RAM: 64MB \(65536kB\)\n[\s\S]*\(XEN\) Adding cpu 0 to runqueue 0\n/,
  });
  host.create('a', 'kernel=crash');
  host.run();
  const { text } = host.ask('dmesg', { clear: true }) as { text: string };
  t.match(text, /^\(XEN\) domain_crash called: .*\n\(XEN\) Domain 1 /m);
  t.same(host.ask('dmesg'), { text: '' }, 'cleared');
  host.create('b');
  host.ask('debug_keys', { keys: 'egrq' });
  const dumped = (host.ask('dmesg', { clear: true }) as { text: string }).text;
  for (const line of [
    '\tDomain: 2 w 256 c 0 v 1',
    '       1 [0/0/0]: s=3 n=0 x=0 d=0 p=1',
    '  1 frames (64 max), 0 maptrack frames (1024 max)',
    "gnttab_usage_print_all [ key 'g' pressed",
    'Polling vCPUs: {}',
    '    nr_pages=2048 xenheap_pages=2 dirty_cpus={} max_pages=2304',
    'Rangesets belonging to domain 2:',
    '    I/O Ports  { }',
    'NODE affinity for domain 2: [0]',
    'VCPU information and callbacks for domain 2:',
    '100 Hz periodic timer (period 10 ms)',
    'Notifying guest 2:0 (virq 1, port 0)',
  ]) {
    t.match(dumped, `(XEN) ${line}\n`);
  }
  t.match(dumped, /\(XEN\) \[0x000\] {6}0 0x\w+ 0x0000000\d {10}0 0x\w{6} 0x19\n/);
  host.ask('debug_keys', { keys: 'hZ' });
  t.match(host.ask('dmesg'), {
    text: /^\(XEN\) 'h' pressed -> showing installed handlers\n\(XEN\) {2}key 'e' .*\n\(XEN\) {2}key 'g' .*\n\(XEN\) {2}key 'h' \(ascii '68'\) => show this message\n/,
  });
  t.end();
});

t.test('names, vCPUs and schedules', (t) => {
  const host = new TestHost();
  host.create('a', 'vcpus=2', 'maxvcpus=4', 'maxmem=16');
  host.create('b');
  const { xenstore } = host.toolstack.machine;
  host.ask('rename', { domain: 'a', to: 'z' });
  t.equal(xenstore.read('/local/domain/1/name'), 'z');
  host.ask('rename', { domain: 'z', to: 'z' });
  t.throws(() => host.ask('rename', { domain: 'z', to: 'b' }), { message: 'Domain with name "b" already exists.' });
  t.throws(() => host.ask('pause', { domain: 'a' }), { message: 'a is an invalid domain identifier (rc=-6)' });
  t.throws(() => host.ask('pause', { domain: '9' }), { message: "Error: Domain '9' does not exist." });
  const availability = (): (string | undefined)[] => [0, 1, 2, 3].map((vcpu) => xenstore.read(`/local/domain/1/cpu/${vcpu}/availability`));
  t.same(availability(), ['online', 'online', 'offline', 'offline']);
  host.ask('set_vcpus', { domain: 'z', count: 3 });
  t.same(availability(), ['online', 'online', 'online', 'offline']);
  t.throws(() => host.ask('set_vcpus', { domain: 'z', count: 5 }), { message: 'Requested 5 VCPUs, however maxcpus is 4!' });
  t.throws(() => host.ask('set_vcpus', { domain: 'z', count: 0 }), { message: 'Requested 0 VCPUs!' });
  t.equal(xenstore.read('/local/domain/1/memory/static-max'), '16384');
  host.ask('set_schedule', { domain: 'z', weight: 512, cap: 150 });
  t.match(host.ask('schedule'), {
    ratelimit_us: 1000,
    domains: [
      { name: 'z', weight: 512, cap: 150 },
      { name: 'b', weight: 256, cap: 0 },
    ],
  });
  t.throws(() => host.ask('set_schedule', { domain: 'z', weight: 70000 }), {
    message: /^Cpu weight out of range, valid values are within range from 1 to 65535$/,
  });
  t.match(host.ask('config', { domain: 'z' }), [
    {
      domid: 1,
      config: {
        c_info: { type: 'pv', name: 'z' },
        b_info: { max_vcpus: 4, avail_vcpus: [0, 1, 2], max_memkb: 16384, target_memkb: 8192, sched_params: { weight: 512 } },
      },
    },
  ]);
  const described = host.ask('check', { file: 'd.cfg', text: 'name = "d"\nkernel = "spin"\n', changes: ['vcpus=2', 'disk=["x.1,ro"]'] });
  t.match(described, {
    c_info: { type: 'pv', name: 'd' },
    b_info: { max_vcpus: 2, avail_vcpus: [0, 1], max_memkb: 131072, kernel: 'spin' },
    disks: [{ pdev_path: 'x.1', vdev: 'xvda', readwrite: 0 }],
    on_crash: 'destroy',
  });
  t.throws(() => host.ask('set_ratelimit', { us: 5 }), { message: 'Ratelimit out of range, valid range is from 100 to 500000' });
  t.end();
});

t.test('a guest uses the vCPUs that it is asked to use', (t) => {
  const host = new TestHost('[host]\nmemory = "64M"\ncores = 4\n');
  host.create('a', `kernel="${SPIN}"`, 'vcpus=2', 'maxvcpus=4', 'cmdline="work=100"');
  const online = (): unknown => (host.ask('vcpus', { domain: 'a' }) as { online: boolean }[]).map((vcpu) => vcpu.online);
  const yes = true;
  const no = false;
  host.run(100);
  t.same(online(), [yes, yes, no, no]);
  for (const [count, expected] of [
    [4, [yes, yes, yes, yes]],
    [1, [yes, no, no, no]],
    [3, [yes, yes, yes, no]],
  ] as const) {
    host.ask('set_vcpus', { domain: 'a', count });
    host.run(100);
    t.same(online(), expected, `vcpu-set a ${count}`);
  }
  t.end();
});

t.test('arguments from anybody', async (t) => {
  const host = new TestHost();
  host.create('a');
  const keys = [
    'domain',
    'to',
    'vcpu',
    'hard',
    'soft',
    'count',
    'weight',
    'cap',
    'us',
    'keys',
    'file',
    'folder',
    'text',
    'changes',
    'domid',
  ];
  const junk = [undefined, null, 7, 'x', '', [], {}, true, 1e99, -1, '../../x', '__proto__', '4294967296', '\ud800'];
  for (const name of Object.keys(operations).filter((each) => each !== 'wait' && each !== 'shutdown')) {
    for (const value of junk) {
      const given: Record<string, unknown> = Object.fromEntries(keys.map((key) => [key, value]));
      for (const domain of name === 'destroy' ? [value] : [value, 'a']) {
        try {
          await host.ask(name, { ...given, domain });
        } catch (error) {
          t.type(error, ToolstackError, `${name} with ${JSON.stringify(value)}: ${error}`);
        }
      }
    }
  }
  host.run();
});

t.test('a guest is asked to shut down through xenstore', async (t) => {
  const host = new TestHost();
  host.create('a');
  const { xenstore, timers, clock } = host.toolstack.machine;
  const answered = host.ask('shutdown', { domain: 'a' }) as Promise<unknown>;
  t.equal(xenstore.read('/local/domain/1/control/shutdown'), 'poweroff');
  xenstore.write('/local/domain/1/control/shutdown', '');
  await answered;
  const ignored = host.ask('shutdown', { domain: 'a', reboot: true }) as Promise<unknown>;
  t.equal(xenstore.read('/local/domain/1/control/shutdown'), 'reboot');
  timers.fireDue(clock.ns + 60e9);
  await t.rejects(ignored, { message: "guest didn't acknowledge control request: -9", code: -9 });
  const destroyed = host.ask('shutdown', { domain: 'a' }) as Promise<unknown>;
  const waited = host.ask('wait', { domid: 1 }) as Promise<unknown>;
  host.toolstack.destroy(1);
  await destroyed;
  t.same(await waited, { reason: null, action: null });
});

t.test('what a console showed to nobody is for the first who looks', (t) => {
  const host = new TestHost();
  host.create('a', 'kernel=poweroff', 'on_poweroff="preserve"');
  const { console } = host.toolstack.record(1);
  console.output(Buffer.from('early '));
  let seen = '';
  let ends = 0;
  const viewer = {
    output(bytes: Uint8Array) {
      seen += Buffer.from(bytes);
    },
    end() {
      ends++;
    },
  };
  const leave = console.view(viewer);
  console.output(Buffer.from('live '));
  t.equal(seen, 'early live ');
  leave();
  console.output(Buffer.from('later'));
  console.view(viewer);
  t.equal(seen, 'early live later', 'and is shown once');
  host.toolstack.destroy(1);
  t.equal(ends, 1);
  t.end();
});

const hasReadelf = spawnSync('readelf', ['--version']).status === 0;
const hasGdb = spawnSync('gdb', ['--version']).status === 0;

t.test('a core file', (t) => {
  const host = new TestHost();
  const id = host.create('a', 'kernel=registers', 'vcpus=2');
  host.run(2);
  const folder = mkdtempSync(join(tmpdir(), 'beneath-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const core = join(folder, 'core');
  const kernel = join(folder, 'kernel');
  writeFileSync(
    core,
    Buffer.concat([...writeCore(host.toolstack.machine, host.toolstack.record(id).domain)].map((part) => Buffer.from(part))),
  );
  writeFileSync(kernel, images.registers!);
  t.test('readelf reads it', { skip: hasReadelf ? false : 'readelf is not installed: install the Debian package binutils' }, (t) => {
    const { stdout, stderr } = spawnSync('readelf', ['-lnW', core], { encoding: 'utf8' });
    t.equal(stderr, '');
    t.match(stdout, /CORE .*NT_PRSTATUS/);
    t.match(stdout, /LOAD +0x\w+ 0xffffffff80000000/);
    t.end();
  });
  t.test('gdb reads it', { skip: hasGdb ? false : 'gdb is not installed: install the Debian package gdb' }, (t) => {
    const { stdout } = spawnSync('gdb', ['-batch', '-nx', '-ex', 'info registers rax rip', '-ex', 'x/i $rip', kernel, core], {
      encoding: 'utf8',
    });
    t.match(stdout, /rax +0x123456789abcdef0/);
    t.match(stdout, /=> 0xffffffff8\w+:\s+jmp/);
    t.end();
  });
  t.end();
});
