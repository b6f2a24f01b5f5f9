/** The verbs about who gets a CPU (xen:tools/xl/xl_sched.c, xl_vcpu.c). */
import type { HostInfo } from '../../toolstack/host_info.ts';
import type { ScheduledDomain } from '../../toolstack/requests.ts';
import { ToolstackError } from '../../toolstack/toolstack_error.ts';
import { linesOf, pad, type Verb } from './verb.ts';

interface Schedule {
  readonly ratelimit_us: number;
  readonly domains: readonly ScheduledDomain[];
}

const POOL = 'Pool-0';

/** atoi: the number at the start, or 0. */
const numberOf = (text: string): number => Number(/^\s*-?\d+/.exec(text)?.[0] ?? 0);

/** libxl's -1: as it is. */
const changeOf = (given: string | boolean | undefined): number | undefined => {
  const value = typeof given === 'string' ? numberOf(given) : -1;
  return value === -1 ? undefined : value;
};

const schedCredit2: Verb = {
  name: 'sched-credit2',
  parameters: '',
  description: 'show or set weights and caps of domains, and the rate limit',
  flags: [
    ['-d, --domain <domain>', 'the domain'],
    ['-w, --weight <weight>', 'its weight, 1 to 65535; default 256'],
    ['-c, --cap <cap>', 'its cap in percent of a CPU; 0: none'],
    ['-s, --schedparam', 'show or set what holds for all'],
    ['-r, --ratelimit_us <us>', 'how long a vCPU runs before another may take its CPU'],
    ['-p, --cpupool <pool>', 'only this pool'],
  ],
  async run(client, _parameters, { domain, weight, cap, schedparam, ratelimit_us, cpupool }) {
    if (domain === undefined && (weight !== undefined || cap !== undefined)) throw new ToolstackError('Must specify a domain.');
    if (cpupool !== undefined && (domain !== undefined || weight !== undefined || cap !== undefined))
      throw new ToolstackError('Specifying a cpupool is not allowed with other options.');
    if (cpupool !== undefined && cpupool !== POOL) throw new ToolstackError(`unknown cpupool '${cpupool}'`);
    const poolOf = ({ ratelimit_us }: Schedule): string => `Cpupool ${POOL}: ratelimit=${ratelimit_us}us`;
    if (schedparam === true) {
      if (typeof ratelimit_us === 'string') return { data: await client.ask('set_ratelimit', { us: numberOf(ratelimit_us) }) };
      const schedule = (await client.ask('schedule')) as Schedule;
      return { data: { ratelimit_us: schedule.ratelimit_us }, text: linesOf([poolOf(schedule)]) };
    }
    if (typeof weight === 'string' || typeof cap === 'string') {
      return { data: await client.ask('set_schedule', { domain, weight: changeOf(weight), cap: changeOf(cap) }) };
    }
    const schedule = (await client.ask('schedule', { domain })) as Schedule;
    const head = `${pad('Name', -33)} ${pad('ID', 4)} ${pad('Weight', 6)} ${pad('Cap', 4)}`;
    const rows = schedule.domains.map((each) => `${pad(each.name, -33)} ${pad(each.domid, 4)} ${pad(each.weight, 6)} ${pad(each.cap, 4)}`);
    return { data: schedule, text: linesOf([...(domain === undefined ? [poolOf(schedule)] : []), head, ...rows]) };
  },
};

const vcpuPin: Verb = {
  name: 'vcpu-pin',
  parameters: '<domain> <vcpu> <hard> [soft]',
  description: 'set on which CPUs a vCPU, or each (all), must run (hard) and would rather run (soft): all, 0-2, all,^1; - changes nothing',
  flags: [
    ['-f, --force', "undo a pinning of the guest kernel's own, of which there is none"],
    ['--ignore-global-affinity-masks', 'those of xl.conf, of which there are none'],
  ],
  async run(client, [domain, vcpu, hard, soft]) {
    const data = (await client.ask('pin', { domain, vcpu, hard, soft })) as { readonly warnings: readonly string[] };
    for (const warning of data.warnings) process.stderr.write(`${warning}\n`);
    return { data };
  },
};

const vcpuSet: Verb = {
  name: 'vcpu-set',
  parameters: '<domain> <vcpus>',
  description: 'ask a domain to use so many of its vCPUs',
  flags: [['-i, --ignore-host', 'more than the host has CPUs, too']],
  async run(client, [domain, text], flags) {
    await client.ask('list', { domain });
    if (!/^\d+$/.test(text!)) throw new ToolstackError('Error: Invalid argument.');
    const count = Number(text);
    const { cpu_topology } = (await client.ask('info')) as HostInfo;
    const cpus = cpu_topology.length;
    if (flags.ignoreHost !== true && count > cpus)
      throw new ToolstackError(
        `You are overcommmitting! You have ${cpus} physical CPUs and want ${count} vCPUs! Aborting, use --ignore-host to continue`,
      );
    return { data: await client.ask('set_vcpus', { domain, count }) };
  },
};

export const schedulingVerbs: readonly Verb[] = [schedCredit2, vcpuPin, vcpuSet];
