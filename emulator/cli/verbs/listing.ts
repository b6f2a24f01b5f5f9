/** The verbs that show domains and vCPUs in xl's tables (xen:tools/xl/xl_info.c, xl_vcpu.c). */
import type { ListedVcpu } from '../../toolstack/requests.ts';
import type { ListedDomain } from '../../toolstack/top_info.ts';
import { linesOf, pad, seconds, type Verb } from './verb.ts';

/** By shutdown reason: poweroff, reboot, suspend, crash, watchdog, soft reset. */
const REASON_LETTERS = '-rscwS';

/** `r-----`, as in xl's column State. */
export function stateOf({ running, blocked, paused, shutdown, shutdown_reason, dying }: ListedDomain): string {
  const reason = shutdown ? (REASON_LETTERS[shutdown_reason ?? 0] ?? '?') : '-';
  return [running ? 'r' : '-', blocked ? 'b' : '-', paused ? 'p' : '-', shutdown ? 's' : '-', reason, dying ? 'd' : '-'].join('');
}

interface ListColumns {
  readonly verbose: boolean;
  readonly context: boolean;
  readonly cpupool: boolean;
  readonly numa: boolean;
}

function listRow(domain: ListedDomain, { verbose, context, cpupool, numa }: ListColumns): string {
  const { name, domid, memory_kib, vcpus, cpu_time, uuid, shutdown_reason } = domain;
  const memory = Math.floor(memory_kib / 1024);
  const row = `${pad(name, -40)} ${pad(domid, 5)} ${pad(memory, 5)} ${pad(vcpus, 5)}     ${stateOf(domain)}  ${seconds(cpu_time, 8)}`;
  const reason = verbose ? ` ${uuid} ${pad(shutdown_reason?.toString(16) ?? '-', 8)}` : '';
  const label = verbose || context ? ` ${pad('-', 16)}` : '';
  return row + reason + label + (cpupool ? pad('Pool-0', 16) : '') + (numa ? ' all' : '');
}

const list: Verb = {
  name: 'list',
  parameters: '[domain]',
  description: 'list the domains, or one',
  flags: [
    ['-l, --long', 'with all that they were made from, as JSON'],
    ['-v, --verbose', 'with UUIDs and why they shut down'],
    ['-Z, --context', 'with their security labels, which none has'],
    ['-c, --cpupool', 'with their CPU pools'],
    ['-n, --numa', 'with their NUMA nodes'],
  ],
  async run(client, [domain], flags) {
    if (flags.long === true) {
      const data = await client.ask('config', { domain });
      return { data, text: `${JSON.stringify(data, null, 4)}\n` };
    }
    const domains = (await client.ask('list', { domain })) as ListedDomain[];
    const isSet = (name: keyof ListColumns): boolean => flags[name] === true;
    const columns = { verbose: isSet('verbose'), context: isSet('context'), cpupool: isSet('cpupool'), numa: isSet('numa') };
    const head = [
      'Name                                        ID   Mem VCPUs\tState\tTime(s)',
      columns.verbose ? '   UUID                            Reason-Code\tSecurity Label' : '',
      columns.context && !columns.verbose ? '   Security Label' : '',
      columns.cpupool ? '         Cpupool' : '',
      columns.numa ? ' NODE Affinity' : '',
    ].join('');
    return {
      data: domains.map((each) => ({
        id: each.domid,
        name: each.name,
        memory_mib: Math.floor(each.memory_kib / 1024),
        vcpus: each.vcpus,
        state: stateOf(each),
        time_s: each.cpu_time / 1e9,
      })),
      text: linesOf([head, ...domains.map((each) => listRow(each, columns))]),
    };
  },
};

const vcpuList: Verb = {
  name: 'vcpu-list',
  parameters: '[domains...]',
  description: 'list the vCPUs of all or some domains',
  async run(client, domains) {
    const asked = domains.length === 0 ? [{}] : domains.map((domain) => ({ domain }));
    const vcpus: ListedVcpu[] = [];
    for (const given of asked) vcpus.push(...((await client.ask('vcpus', given)) as ListedVcpu[]));
    const head = `${pad('Name', -32)} ${pad('ID', 5)} ${pad('VCPU', 5)} ${pad('CPU', 5)} ${pad('State', 5)} ${pad('Time(s)', 9)} Affinity (Hard / Soft)`;
    const rows = vcpus.map(({ name, domid, vcpu, online, cpu, running, blocked, cpu_time, hard_affinity, soft_affinity }) => {
      const state = online ? `${pad(cpu, 5)} ${pad(running ? 'r' : '-', 3)}${blocked ? 'b' : '-'}- ` : `${pad('-', 5)} ${pad('-', 3)}-p `;
      return `${pad(name, -32)} ${pad(domid, 5)} ${pad(vcpu, 5)}${state}${seconds(cpu_time, 9)}  ${hard_affinity} / ${soft_affinity}`;
    });
    return { data: vcpus, text: linesOf([head, ...rows]) };
  },
};

const vmList: Verb = {
  name: 'vm-list',
  parameters: '',
  description: 'list the UUIDs, ids and names of the domains',
  async run(client) {
    const domains = (await client.ask('list')) as ListedDomain[];
    const rows = domains.map(({ uuid, domid, name }) => `${uuid}  ${pad(domid, -4)} ${pad(name, -30)}`);
    const data = domains.map(({ uuid, domid, name }) => ({ uuid, id: domid, name }));
    return { data, text: linesOf([`${pad('UUID', -36)}  ${pad('ID', -4)}  name`, ...rows]) };
  },
};

const domid: Verb = {
  name: 'domid',
  parameters: '<name>',
  description: 'print the id of the domain of that name',
  async run(client, [name]) {
    const found = ((await client.ask('list')) as ListedDomain[]).find((each) => each.name === name);
    if (found) return { data: { id: found.domid }, text: `${found.domid}\n` };
    return failure(`Can't get domid of domain name '${name}', maybe this domain does not exist.`);
  },
};

const domname: Verb = {
  name: 'domname',
  parameters: '<id>',
  description: 'print the name of the domain of that id',
  async run(client, [id]) {
    if (!/^\d+$/.test(id!)) return failure('Invalid domain id.');
    const found = ((await client.ask('list')) as ListedDomain[]).find((each) => String(each.domid) === id);
    if (found) return { data: { name: found.name }, text: `${found.name}\n` };
    return failure(`Can't get domain name of domain id '${id}', maybe this domain does not exist.`);
  },
};

function failure(message: string): { data: unknown; status: number } {
  process.stderr.write(`${message}\n`);
  return { data: { error: message }, status: 1 };
}

export const listingVerbs: readonly Verb[] = [list, vcpuList, vmList, domid, domname];
