/** The verbs print what xl and xentop print: each recorded table, read back into data, comes out again letter for letter. */
import { readFileSync } from 'node:fs';
import t from 'tap';
import type { Flags, Outcome } from '../../emulator/cli/verbs/verb.ts';
import { verbs } from '../../emulator/cli/verbs/verbs.ts';
import type { Client } from '../../emulator/toolstack/socket_client.ts';

/** By command, the tables in their order. */
const recorded = new Map<string, string[]>();
for (const [, command, table] of readFileSync('test/golden/xl/tables.txt', 'latin1').matchAll(/^\$ (.*)\n((?:(?!\$ ).*\n)*)/gm))
  recorded.set(command!, [...(recorded.get(command!) ?? []), table!]);
const tablesOf = (command: string): readonly string[] => recorded.get(command)!;

/** What the verb prints when the host answers so. */
async function printed(name: string, answer: unknown, parameters: string[] = [], flags: Flags = {}): Promise<string> {
  const client = { ask: () => Promise.resolve(answer) } as unknown as Client;
  const outcome = (await verbs.find((verb) => verb.name === name)!.run(client, parameters, flags)) as Outcome;
  return outcome.text!;
}

const REASONS = '-rscwS';

/** The rows of a table, cut at white space. */
const rowsOf = (table: string, heads = 1): string[][] =>
  table
    .split('\n')
    .slice(heads, -1)
    .map((line) => line.trim().split(/\s+/));

const seconds = (text: string): number => Math.round(Number(text) * 1e9);

function listedDomain([name, domid, memory, vcpus, state, time, uuid]: readonly string[]): unknown {
  const [r, b, p, s, reason, d] = state!;
  return {
    name,
    domid: Number(domid),
    memory_kib: Number(memory) * 1024,
    vcpus: Number(vcpus),
    cpu_time: seconds(time!),
    uuid,
    running: r === 'r',
    blocked: b === 'b',
    paused: p === 'p',
    shutdown: s === 's',
    dying: d === 'd',
    shutdown_reason: s === 's' ? REASONS.indexOf(reason!) : undefined,
  };
}

const listFlags: readonly (readonly [command: string, flags: Flags])[] = [
  ['xl list -v', { verbose: true }],
  ['xl list -c', { cpupool: true }],
  ['xl list -n', { numa: true }],
  ['xl list -Z', { context: true }],
  ['xl list -c -v', { cpupool: true, verbose: true }],
  ['xl list -n -v -c -Z', { numa: true, verbose: true, cpupool: true, context: true }],
];

t.test('list', async (t) => {
  for (const [command, flags] of listFlags) {
    for (const table of tablesOf(command)) t.equal(await printed('list', rowsOf(table).map(listedDomain), [], flags), table, command);
  }
});

t.test('vcpu-list', async (t) => {
  for (const command of ['xl vcpu-list', 'xl vcpu-list one']) {
    for (const table of tablesOf(command)) {
      const vcpus = rowsOf(table).map(([name, domid, vcpu, cpu, state, time, hard, , soft]) => ({
        name,
        domid: Number(domid),
        vcpu: Number(vcpu),
        online: cpu !== '-',
        cpu: Number(cpu),
        running: state![0] === 'r',
        blocked: state![1] === 'b',
        cpu_time: seconds(time!),
        hard_affinity: hard,
        soft_affinity: soft,
      }));
      t.equal(await printed('vcpu-list', vcpus), table, command);
    }
  }
});

t.test('vm-list', async (t) => {
  const [table] = tablesOf('xl vm-list');
  const domains = rowsOf(table!).map(([uuid, domid, name]) => ({ uuid, domid: Number(domid), name }));
  t.equal(await printed('vm-list', domains), table);
});

t.test('sched-credit2', async (t) => {
  const scheduled = (rows: string[][]) =>
    rows.map(([name, domid, weight, cap]) => ({ name, domid: Number(domid), weight: Number(weight), cap: Number(cap) }));
  const all = tablesOf('xl sched-credit2')[0]!;
  t.equal(await printed('sched-credit2', { ratelimit_us: 1000, domains: scheduled(rowsOf(all, 2)) }), all);
  const one = tablesOf('xl sched-credit2 -d one')[0]!;
  t.equal(await printed('sched-credit2', { ratelimit_us: 1000, domains: scheduled(rowsOf(one)) }, [], { domain: 'one' }), one);
  t.equal(await printed('sched-credit2', { ratelimit_us: 1000 }, [], { schedparam: true }), tablesOf('xl sched-credit2 -s')[0]);
});

t.test('uptime', async (t) => {
  const [table] = tablesOf('xl uptime');
  const ups = rowsOf(table!).map(([name, domid, time]) => {
    const [hours, minutes, rest] = time!.split(':').map(Number);
    return { name, domid: Number(domid), uptime_s: hours! * 3600 + minutes! * 60 + rest! };
  });
  t.equal(await printed('uptime', ups), table);
});

t.test('info -n', async (t) => {
  const [table] = tablesOf('xl info -n');
  const pairs = [...table!.matchAll(/^(\w+) +: (.*)$/gm)].map(([, name, value]) => [name!, value!] as const);
  const firstOfXen = pairs.findIndex(([name]) => name === 'xen_major');
  const cpus = [...table!.matchAll(/^ +(\d+): +(\d+) +(\d+) +(\d+)$/gm)].map((row) => row.slice(1).map(Number));
  const isNode = cpus.length - 1;
  const answer = {
    system: pairs.slice(0, firstOfXen),
    xen: pairs.slice(firstOfXen),
    cpu_topology: cpus.slice(0, isNode).map(([cpu, core, socket, node]) => ({ cpu, core, socket, node })),
    numa: cpus.slice(isNode).map(([node, memsize, memfree, distance]) => ({ node, memsize, memfree, distances: [distance] })),
  };
  t.equal(await printed('info', answer, [], { numa: true }), table);
});

/** What it writes when the host answers so, one after the other. */
async function shownByTop(snapshots: unknown[], flags: Flags): Promise<string> {
  let out = '';
  const write = process.stdout.write;
  const client = { ask: () => Promise.resolve(snapshots.shift()) } as unknown as Client;
  process.stdout.write = ((text: string) => {
    out += text;
    return true;
  }) as typeof write;
  try {
    await verbs.find((verb) => verb.name === 'top')!.run(client, [], { batch: true, ...flags });
  } finally {
    process.stdout.write = write;
  }
  return out;
}

t.test('top -b', async (t) => {
  const GIB = 1024 * 1024;
  const batches = tablesOf('xentop -b -i 2 -d 1')[0]!.split(/(?=^ +NAME)/m);
  const snapshots = batches.map((batch, i) => ({
    now: 1e9 * i,
    total_kib: 2 * GIB,
    domains: rowsOf(batch).map(([name, state, , percent, memory, , maxmem, , vcpus], domid) => ({
      domid,
      name,
      dying: false,
      shutdown: false,
      blocked: false,
      paused: state!.includes('p'),
      running: state!.includes('r'),
      // The seconds are whole, the percents of this second: what ran before, and then this part of it.
      cpu_time: 1e9 * [49, 12, 96][domid]! + (i === 0 ? 0 : Number(percent) * 1e7),
      memory_kib: Number(memory),
      max_memory_kib: Number(maxmem),
      max_vcpus: Number(vcpus),
      nets: [],
      vbds: [],
      vcpu_loads: [],
    })),
  }));
  t.equal(await shownByTop(snapshots, { iterations: '2', delay: '0.001' }), batches.join(''));
});

t.test('top -b -v -n -x', async (t) => {
  const vcpu_loads = Array.from({ length: 7 }, (_, vcpu) => ({ vcpu, online: vcpu !== 2, cpu_time: vcpu * 1e9 }));
  const nets = [{ rx_bytes: 4096, rx_packets: 3, tx_bytes: 12_345_678, tx_packets: 9 }];
  const vbds = [{ dev: 51712, rd_reqs: 1, wr_reqs: 2, rd_sects: 8, wr_sects: 16 }];
  const domain = { domid: 1, name: 'a', cpu_time: 0, memory_kib: 4096, max_memory_kib: 4096, max_vcpus: 7, nets, vbds, vcpu_loads };
  const snapshot = { now: 0, total_kib: 8192, domains: [domain] };
  const lines = (await shownByTop([snapshot], { iterations: '1', vcpus: true, networks: true, vbds: true })).split('\n');
  t.match(lines[1], / 7 {4}1 {4}12056 {8}4 {4}1 {8}0 {8}1 {8}2 {10}8 {9}16 {4}0$/, 'their sums are columns');
  t.same(lines.slice(2), [
    'VCPUs(sec):   0:          0s  1:          1s  3:          3s  4:          4s',
    '          5:          5s  6:          6s',
    'Net0 RX:     4096bytes        3pkts        0err        0drop  TX: 12345678bytes        9pkts        0err        0drop',
    'VBD BlkBack 51712 [ca: 0]  OO:        0   RD:        1   WR:        2   RSECT:          8   WSECT:         16',
    '',
  ]);
});

t.test('README lists the verbs as they are', (t) => {
  const rows = verbs.map(({ name, parameters, description, flags = [] }) => {
    const short = flags.map(([flag]) => `\`${flag.split(/[, ]/)[0]}\``).join(', ');
    return `| \`${`${name} ${parameters}`.trim()}\` | ${description}${short === '' ? '' : ` (${short})`} |\n`;
  });
  t.ok(readFileSync('README.md', 'utf8').includes(rows.join('')), `README.md has these rows:\n${rows.join('')}`);
  t.end();
});
