/** `beneath top`: xentop's table (xen:tools/xentop/xentop.c), live on a terminal, or in batches. */
import type { RunqueueInfo } from '../../toolstack/scheduling.ts';
import type { Client } from '../../toolstack/socket_client.ts';
import { ToolstackError } from '../../toolstack/toolstack_error.ts';
import type { ListedDomain, Top, TopDomain, TopNet, TopVbd } from '../../toolstack/top_info.ts';
import { openKeyboard } from '../keyboard.ts';
import { type Flags, linesOf, pad, type Verb } from './verb.ts';

const DEFAULT_DELAY_S = 3;
const SHUTDOWN_CRASH = 3;
const NAME_WIDTH = 10;

type Column = readonly [name: string, width: number, value: (domain: TopDomain, at: Moment) => string | number];

/** A snapshot and the one before. */
interface Moment {
  readonly now: Top;
  readonly before: Top | undefined;
}

const percent = (part: number, whole: number): string => (whole > 0 ? (part * 100) / whole : 0).toFixed(1);

/** Of one CPU, since the snapshot before. */
function cpuPercent({ domid, cpu_time }: TopDomain, { now, before }: Moment): string {
  const then = before?.domains.find((each) => each.domid === domid);
  return before === undefined || then === undefined ? '0.0' : percent(cpu_time - then.cpu_time, now.now - before.now);
}

/** Of the vCPUs that are online, all together: could have run and did not. */
function stealPercent({ domid, vcpu_loads }: TopDomain, { now, before }: Moment): string {
  const then = before?.domains.find((each) => each.domid === domid);
  if (before === undefined || then === undefined) return '0.0';
  const online = vcpu_loads.filter((each) => each.online);
  const stolen = online.reduce((sum, { vcpu, stolen_time }) => sum + stolen_time - (then.vcpu_loads[vcpu]?.stolen_time ?? stolen_time), 0);
  return percent(stolen, now.now - before.now);
}

function runqueueLine({ runqueue, load, max_weight, cpus, waiting }: RunqueueInfo): string {
  const running = cpus.map(({ cpu, vcpu }) => `${cpu}: ${vcpu ?? 'idle'}`).join('  ');
  return `Runqueue ${runqueue}: load ${load}, max weight ${max_weight}   CPU ${running}   waiting: ${waiting.join(' ') || 'nobody'}`;
}

function stateOf({ dying, shutdown, shutdown_reason, blocked, paused, running }: ListedDomain): string {
  const crashed = shutdown && shutdown_reason === SHUTDOWN_CRASH;
  return [
    dying ? 'd' : '-',
    shutdown && !crashed ? 's' : '-',
    blocked ? 'b' : '-',
    crashed ? 'c' : '-',
    paused ? 'p' : '-',
    running ? 'r' : '-',
  ].join('');
}

const sumOf = <K extends string>(list: readonly Readonly<Record<K, number>>[], key: K): number =>
  list.reduce((sum, each) => sum + each[key], 0);

// biome-ignore format: a table
const COLUMNS: readonly Column[] = [
  ['STATE',      6, stateOf],
  ['CPU(sec)',  10, ({ cpu_time }) => Math.floor(cpu_time / 1e9)],
  ['CPU(%)',     6, cpuPercent],
  ['MEM(k)',    10, ({ memory_kib }) => memory_kib],
  ['MEM(%)',     6, ({ memory_kib }, { now }) => percent(memory_kib, now.total_kib)],
  ['MAXMEM(k)', 10, ({ max_memory_kib }) => max_memory_kib],
  ['MAXMEM(%)',  9, ({ max_memory_kib }, { now }) => percent(max_memory_kib, now.total_kib)],
  ['VCPUS',      5, ({ max_vcpus }) => max_vcpus],
  ['NETS',       4, ({ nets }) => nets.length],
  ['NETTX(k)',   8, ({ nets }) => Math.floor(sumOf(nets, 'tx_bytes') / 1024)],
  ['NETRX(k)',   8, ({ nets }) => Math.floor(sumOf(nets, 'rx_bytes') / 1024)],
  ['VBDS',       4, ({ vbds }) => vbds.length],
  ['VBD_OO',     8, () => 0],
  ['VBD_RD',     8, ({ vbds }) => sumOf(vbds, 'rd_reqs')],
  ['VBD_WR',     8, ({ vbds }) => sumOf(vbds, 'wr_reqs')],
  ['VBD_RSECT', 10, ({ vbds }) => sumOf(vbds, 'rd_sects')],
  ['VBD_WSECT', 10, ({ vbds }) => sumOf(vbds, 'wr_sects')],
  ['SSID',       4, () => 0],
];

/** What a person watches Credit2 by; credits in milliseconds of a CPU, the least of the domain's vCPUs. */
// biome-ignore format: a table
const LIVE_COLUMNS: readonly Column[] = [
  ['STATE',      6, stateOf],
  ['CPU(sec)',   8, ({ cpu_time }) => Math.floor(cpu_time / 1e9)],
  ['CPU(%)',     6, cpuPercent],
  ['STEAL(%)',   8, stealPercent],
  ['CREDIT',     7, ({ vcpu_loads }) => (Math.min(...vcpu_loads.filter(({ online }) => online).map(({ credit }) => credit)) / 1e6).toFixed(1)],
  ['WEIGHT',     6, ({ weight }) => weight],
  ['CAP',        4, ({ cap }) => cap],
  ['VCPUS',      5, ({ vcpus }) => vcpus],
  ['MEM(k)',     8, ({ memory_kib }) => memory_kib],
];

const header = (columns = COLUMNS): string => [pad('NAME', NAME_WIDTH), ...columns.map(([name, width]) => pad(name, width))].join(' ');

function rowsOf(at: Moment, flags: Flags, columns = COLUMNS): string[] {
  const domains = [...at.now.domains].sort((a, b) => (a.name.toLowerCase() < b.name.toLowerCase() ? -1 : 1));
  return domains.flatMap((domain, i) => {
    const name = flags.fullName === true ? domain.name : domain.name.slice(0, NAME_WIDTH);
    const row = [pad(name, NAME_WIDTH), ...columns.map(([, width, value]) => pad(value(domain, at), width))].join(' ');
    return [
      ...(flags.repeatHeader === true && i > 0 ? [header(columns)] : []),
      row,
      ...(flags.vcpus === true ? vcpuLines(domain) : []),
      ...(flags.networks === true ? domain.nets.map(netLine) : []),
      ...(flags.vbds === true ? domain.vbds.map(vbdLine) : []),
    ];
  });
}

/** Five vCPUs a line. */
function vcpuLines({ vcpu_loads }: TopDomain): string[] {
  const lines = ['VCPUs(sec): '];
  for (const { vcpu, online, cpu_time } of vcpu_loads) {
    if (!online) continue;
    if (vcpu !== 0 && vcpu % 5 === 0) lines.push('        ');
    lines.push(`${lines.pop()} ${pad(vcpu, 2)}: ${pad(Math.floor(cpu_time / 1e9), 10)}s`);
  }
  return lines;
}

function netLine({ rx_bytes, rx_packets, tx_bytes, tx_packets }: TopNet, id: number): string {
  const counts = (bytes: number, packets: number): string =>
    `${pad(bytes, 8)}bytes ${pad(packets, 8)}pkts ${pad(0, 8)}err ${pad(0, 8)}drop`;
  return `Net${id} RX: ${counts(rx_bytes, rx_packets)}  TX: ${counts(tx_bytes, tx_packets)}`;
}

function vbdLine({ dev, rd_reqs, wr_reqs, rd_sects, wr_sects }: TopVbd): string {
  const number = `[${pad((dev >> 8).toString(16), 2)}:${pad((dev & 0xff).toString(16), 2)}]`;
  const requests = `OO: ${pad(0, 8)}   RD: ${pad(rd_reqs, 8)}   WR: ${pad(wr_reqs, 8)}`;
  return `VBD BlkBack ${pad(dev, 4)} ${number}  ${requests}   RSECT: ${pad(rd_sects, 10)}   WSECT: ${pad(wr_sects, 10)}`;
}

/** What xentop shows above the table. */
function summary({ now: { domains, total_kib, free_kib, cpus, cpu_khz } }: Moment): string[] {
  const count = (has: (domain: TopDomain) => boolean): number => domains.filter(has).length;
  const crashed = count((each) => each.shutdown && each.shutdown_reason === SHUTDOWN_CRASH);
  const states = [
    `${count((each) => each.running)} running`,
    `${count((each) => each.blocked)} blocked`,
    `${count((each) => each.paused)} paused`,
    `${crashed} crashed`,
    `${count((each) => each.dying)} dying`,
    `${count((each) => each.shutdown) - crashed} shutdown`,
  ];
  return [
    `xentop - ${new Date().toTimeString().slice(0, 8)}   Xen 4.17.7`,
    `${domains.length} domains: ${states.join(', ')} `,
    `Mem: ${total_kib}k total, ${total_kib - free_kib}k used, ${free_kib}k free    CPUs: ${cpus} @ ${Math.floor(cpu_khz / 1000)}MHz`,
  ];
}

/** The rows of a terminal are few: what does not fit is cut, as on xentop's screen. */
function screen(at: Moment, flags: Flags): string {
  // A terminal that does not know its size says 0.
  const columns = process.stdout.columns || 80;
  const rows = process.stdout.rows || 24;
  const lines = [...summary(at), header(LIVE_COLUMNS), ...rowsOf(at, flags, LIVE_COLUMNS), '', ...at.now.runqueues.map(runqueueLine)]
    .slice(0, rows - 1)
    .map((line) => line.slice(0, columns));
  return `\x1b[H${lines.map((line) => `${line}\x1b[K\r\n`).join('')}\x1b[J`;
}

function numberOf(flags: Flags, name: string, otherwise: number): number {
  const text = flags[name] ?? otherwise;
  const value = Number(text);
  if (!(value >= 0 && value <= 1e6)) throw new ToolstackError(`--${name} ${text}: give a number from 0 to 1000000`);
  return value;
}

const asData = (at: Moment) => ({
  ...at.now,
  domains: at.now.domains.map((domain) => ({ ...domain, cpu_percent: Number(cpuPercent(domain, at)) })),
});

async function showBatches(client: Client, flags: Flags, iterations: number, delayMs: number): Promise<undefined> {
  let before: Top | undefined;
  for (let i = 0; i < iterations; i++) {
    if (i > 0) await new Promise((resolve) => setTimeout(resolve, delayMs));
    const now = (await client.ask('top')) as Top;
    const at = { now, before };
    process.stdout.write(flags.json === true ? `${JSON.stringify(asData(at))}\n` : linesOf([header(), ...rowsOf(at, flags)]));
    before = now;
  }
  return undefined;
}

/** xentop's keys, and what they show or hide. */
const TOGGLES: Readonly<Record<string, string>> = { n: 'networks', b: 'vbds', v: 'vcpus', r: 'repeatHeader' };

async function showLive(client: Client, given: Flags, iterations: number, delayMs: number): Promise<undefined> {
  const flags = { ...given };
  let wantsToLeave = false;
  let isChanged = false;
  const keyboard = openKeyboard((keys) => {
    for (const key of Buffer.from(keys).toString('latin1').toLowerCase()) {
      const name = TOGGLES[key];
      if (name !== undefined) flags[name] = flags[name] !== true;
      isChanged ||= name !== undefined;
      wantsToLeave ||= key === 'q' || key === '\x03';
    }
  });
  process.stdout.write('\x1b[?1049h\x1b[?25l');
  try {
    let before: Top | undefined;
    for (let i = 0; i < iterations && !wantsToLeave && !keyboard.wantsToLeave; i++) {
      const now = (await client.ask('top')) as Top;
      process.stdout.write(screen({ now, before }, flags));
      before = now;
      const until = performance.now() + delayMs;
      isChanged = false;
      for (let left = delayMs; left > 0 && !wantsToLeave && !isChanged && !keyboard.wantsToLeave; left = until - performance.now())
        await keyboard.wait(left);
    }
  } finally {
    process.stdout.write('\x1b[?25h\x1b[?1049l');
    keyboard.close();
  }
  return undefined;
}

export const topVerbs: readonly Verb[] = [
  {
    name: 'top',
    parameters: '',
    description: 'watch the domains (n, b, v and r show networks, disks, vCPUs and headers or hide them, q leaves)',
    flags: [
      ['-b, --batch', 'print one table after the other'],
      ['-i, --iterations <count>', 'end after so many; 0, the default: never'],
      ['-d, --delay <seconds>', 'seconds between two; default 3'],
      ['-v, --vcpus', 'with the time of each vCPU'],
      ['-n, --networks', 'with networks'],
      ['-x, --vbds', 'with disks'],
      ['-r, --repeat-header', 'with the header before each domain'],
      ['-f, --full-name', 'with whole names'],
    ],
    run(client, _parameters, flags) {
      const iterations = numberOf(flags, 'iterations', 0) || Number.POSITIVE_INFINITY;
      const delayMs = numberOf(flags, 'delay', DEFAULT_DELAY_S) * 1000;
      const isLive = flags.batch !== true && flags.json !== true && process.stdin.isTTY && process.stdout.isTTY;
      return (isLive ? showLive : showBatches)(client, flags, iterations, delayMs);
    },
  },
];
