/** The verbs about the host as a whole (xen:tools/xl/xl_info.c, xl_misc.c). */
import type { HostInfo, InfoRows } from '../../toolstack/host_info.ts';
import { linesOf, pad, type Verb } from './verb.ts';

const info: Verb = {
  name: 'info',
  parameters: '',
  description: 'tell about the host',
  flags: [['-n, --numa', 'with its CPUs and NUMA nodes']],
  async run(client, _parameters, flags) {
    const answer = (await client.ask('info')) as HostInfo;
    const { system, cpu_topology, numa, xen } = answer;
    const rows = (list: InfoRows): string[] => list.map(([name, value]) => `${pad(name, -22)} : ${value}`);
    const topology = [
      `${pad('cpu_topology', -22)} :`,
      'cpu:    core    socket     node',
      ...cpu_topology.map(({ cpu, core, socket, node }) => `${pad(cpu, 3)}:    ${pad(core, 4)}     ${pad(socket, 4)}     ${pad(node, 4)}`),
      'device topology        :',
      'device           node',
      'No device topology data available',
      `${pad('numa_info', -22)} :`,
      'node:    memsize    memfree    distances',
      ...numa.map(
        ({ node, memsize, memfree, distances }) =>
          `${pad(node, 4)}:    ${pad(memsize, 6)}     ${pad(memfree, 6)}      ${distances.join(',')}`,
      ),
    ];
    const data = { ...Object.fromEntries([...system, ...xen]), ...(flags.numa === true && { cpu_topology, numa_info: numa }) };
    return { data, text: linesOf([...rows(system), ...(flags.numa === true ? topology : []), ...rows(xen)]) };
  },
};

const dmesg: Verb = {
  name: 'dmesg',
  parameters: '',
  description: "print ring -1's own messages",
  flags: [['-c', 'and clear them']],
  async run(client, _parameters, flags) {
    const { text } = (await client.ask('dmesg', { clear: flags.c === true })) as { text: string };
    return { data: { lines: text.split('\n').slice(0, -1) }, text };
  },
};

const debugKeys: Verb = {
  name: 'debug-keys',
  parameters: '<keys>',
  description: 'press debug keys, which write into what dmesg shows; h lists them',
  async run(client, [keys]) {
    return { data: await client.ask('debug_keys', { keys }) };
  },
};

interface Uptime {
  readonly domid: number;
  readonly name: string;
  readonly uptime_s: number;
}

const uptime: Verb = {
  name: 'uptime',
  parameters: '[domains...]',
  description: 'tell how long the domains have been up',
  flags: [['-s', 'short']],
  async run(client, domains, flags) {
    const asked = domains.length === 0 ? [{}] : domains.map((domain) => ({ domain }));
    const ups: Uptime[] = [];
    for (const given of asked) ups.push(...((await client.ask('uptime', given)) as Uptime[]));
    if (flags.s === true) {
      const now = new Date().toTimeString().slice(0, 8);
      return { data: ups, text: linesOf(ups.map((each) => ` ${now} up ${shortly(each.uptime_s)}, ${each.name} (${each.domid})`)) };
    }
    const rows = ups.map((each) => `${pad(each.name, -33)} ${pad(each.domid, 4)} ${exactly(each.uptime_s)}`);
    return { data: ups, text: linesOf([`${pad('Name', -33)} ${pad('ID', 4)} Uptime`, ...rows]) };
  },
};

const two = (count: number): string => String(count).padStart(2, '0');

/** `1 day,  2:03:04` */
function exactly(all: number): string {
  return `${days(all)}${pad(Math.floor(all / 3600) % 24, 2)}:${two(Math.floor(all / 60) % 60)}:${two(all % 60)}`;
}

function shortly(all: number): string {
  return `${days(all)}${pad(Math.floor(all / 3600) % 24, 2)}:${two(Math.floor(all / 60) % 60)}`;
}

function days(all: number): string {
  const count = Math.floor(all / 86400);
  return count === 0 ? '' : `${count} day${count > 1 ? 's' : ''}, `;
}

export const hostVerbs: readonly Verb[] = [info, dmesg, debugKeys, uptime];
