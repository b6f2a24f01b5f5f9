/** The verbs that make, end, stop and rename domains (xen:tools/xl/xl_vmcontrol.c). */
import { readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import type { ShutdownAction } from '../../toolstack/host_keys.ts';
import { Client } from '../../toolstack/socket_client.ts';
import { ToolstackError } from '../../toolstack/toolstack_error.ts';
import type { ListedDomain } from '../../toolstack/top_info.ts';
import { showConsole } from './console.ts';
import type { Flags, Outcome, Verb } from './verb.ts';

const EXIT_USAGE = 2;
const EXIT_NOT_MADE = 3;
const EXIT_NO_FILE = 6;

/** Nobody acts on its end. */
const KEPT = ['on_poweroff', 'on_reboot', 'on_crash', 'on_watchdog'].map((key) => `${key}="preserve"`);

const create: Verb = {
  name: 'create',
  parameters: '[file] [settings...]',
  description: "make a domain from a file of one [[domain]], or of xl.cfg's keys; settings are key=value and go before the file's",
  flags: [
    ['-c', 'connect to its console'],
    ['-d', 'show what the file means first'],
    ['-p', 'leave it paused'],
    ['-F', 'wait until it has ended'],
    ['-e', 'leave it as it is when it ends'],
    ['-n, --dryrun', 'only look whether the file is right, and show what it means'],
    ['-f, --defconfig <file>', 'the file'],
    ['-q, --quiet', 'do not say what is read'],
    ['--ignore-global-affinity-masks', 'those of xl.conf, of which there are none'],
  ],
  async run(client, words, flags) {
    const given = readConfig(
      words.filter((word) => word !== undefined),
      flags,
    );
    if ('data' in given) return given;
    const checked = await client.ask('check', given);
    const meaning = `${JSON.stringify(checked, null, 4)}\n`;
    if (flags.dryrun === true) return { data: checked, text: meaning };
    if (flags.d === true) process.stdout.write(meaning);
    let made: { readonly domid: number; readonly name: string };
    try {
      made = (await client.ask('create', { ...given, paused: flags.p === true || flags.c === true })) as typeof made;
    } catch (error) {
      if (!(error instanceof ToolstackError)) throw error;
      return refused(error.message, EXIT_NOT_MADE);
    }
    if (flags.c === true) await showConsole(client, made.name, flags.p === true ? undefined : () => unpause(client.name, made.name));
    if (flags.F === true) await waitForDeath(client.name, made);
    return flags.c === true ? undefined : { data: made };
  },
};

/** What the operations `check` and `create` want to know. */
type Config = Readonly<Record<'file' | 'folder' | 'text', string> & { changes: readonly string[] }>;

/** Words with a `=` are settings, another one names the file. */
function readConfig(words: readonly string[], { defconfig, quiet, e }: Flags): Config | Outcome {
  const settings = words.filter((word) => word.includes('='));
  const files = [...(typeof defconfig === 'string' ? [defconfig] : []), ...words.filter((word) => !word.includes('='))];
  const [file, second] = files;
  if (file === undefined) return refused('Config file not specified and none in save file', EXIT_NO_FILE);
  if (second !== undefined)
    return refused(`create takes one file, and these are two: ${file}, ${second}; a setting is key=value`, EXIT_USAGE);
  try {
    const text = readFileSync(file, 'utf8');
    if (quiet !== true) process.stderr.write(`Parsing config from ${file}\n`);
    const folder = file === '/dev/null' ? process.cwd() : resolve(dirname(file));
    return { file, folder, text, changes: e === true ? [...settings, ...KEPT] : settings };
  } catch (error) {
    const reason = (error as NodeJS.ErrnoException).code === 'ENOENT' ? 'No such file or directory' : (error as Error).message;
    return refused(`Failed to read config file: ${file}: ${reason}`, EXIT_NOT_MADE);
  }
}

interface End {
  readonly reason: number | null;
  readonly action: ShutdownAction | null;
}

function tellOfEnd(domid: number, { reason, action }: End): void {
  if (reason === null) process.stderr.write(`Domain ${domid} has been destroyed.\n`);
  else process.stderr.write(`Domain ${domid} has shut down, reason code ${reason} 0x${reason.toString(16)}\n`);
  if (action !== null) process.stderr.write(`Action for shutdown reason code ${reason} is ${action}\n`);
}

/** Also that of its next lives. */
async function waitForDeath(host: string, made: { readonly domid: number; readonly name: string }): Promise<void> {
  const client = await Client.open(host);
  for (let domid: number | undefined = made.domid; domid !== undefined; ) {
    process.stderr.write(`Waiting for domain ${made.name} (domid ${domid}) to die [pid ${process.pid}]\n`);
    tellOfEnd(domid, (await client.ask('wait', { domid })) as End);
    const next = ((await client.ask('list')) as ListedDomain[]).find(({ name, shutdown }) => name === made.name && !shutdown);
    domid = next?.domid;
  }
  client.close();
}

/** Over a connection of its own: the other one carries a console. */
async function unpause(host: string, domain: string): Promise<void> {
  const client = await Client.open(host);
  await client.ask('unpause', { domain });
  client.close();
}

function refused(message: string, status: number): Outcome {
  process.stderr.write(`${message}\n`);
  return { data: { error: message }, status };
}

const simple = (name: string, description: string, flags: Verb['flags'] = []): Verb => ({
  name,
  parameters: '<domain>',
  description,
  flags,
  run: async (client, [domain]) => ({ data: await client.ask(name, { domain }) }),
});

function shuttingDown(name: 'shutdown' | 'reboot', description: string): Verb {
  const isReboot = name === 'reboot';
  return {
    name,
    parameters: '[domain]',
    description,
    flags: [
      ['-a, --all', 'all domains'],
      ['-w, --wait', isReboot ? 'wait until they have ended' : 'wait until they have shut down'],
      ['-F', 'for guests without PV drivers, which there are none of'],
    ],
    async run(client, [domain], flags) {
      if (domain === undefined && flags.all !== true) {
        return refused('You must specify -a or a domain id.', 1);
      }
      const domains = (await client.ask('list', flags.all === true ? {} : { domain })) as ListedDomain[];
      const status = await askAll(client, name, isReboot, domains);
      if (status === 0 && flags.wait === true) await waitForAll(client, domains);
      return { data: domains.map(({ domid }) => ({ id: domid })), status };
    },
  };
}

async function askAll(client: Client, name: string, isReboot: boolean, domains: readonly ListedDomain[]): Promise<number> {
  let status = 0;
  for (const { domid } of domains) {
    process.stderr.write(`${isReboot ? 'Rebooting' : 'Shutting down'} domain ${domid}\n`);
    try {
      await client.ask('shutdown', { domain: String(domid), reboot: isReboot });
    } catch (error) {
      if (!(error instanceof ToolstackError)) throw error;
      process.stderr.write(`${error.message}\n${name} failed (rc=${error.code})\n`);
      status = 1;
    }
  }
  return status;
}

async function waitForAll(client: Client, domains: readonly ListedDomain[]): Promise<void> {
  process.stderr.write(`Waiting for ${domains.length} domains\n`);
  for (const { domid } of domains) {
    const { reason } = (await client.ask('wait', { domid })) as End;
    process.stderr.write(
      reason === null ? `Domain ${domid} has been destroyed\n` : `Domain ${domid} has been shut down, reason code ${reason}\n`,
    );
  }
}

const rename: Verb = {
  name: 'rename',
  parameters: '<domain> <new-name>',
  description: 'give a domain another name',
  async run(client, [domain, to]) {
    await client.ask('list', { domain });
    try {
      return { data: await client.ask('rename', { domain, to }) };
    } catch (error) {
      if (!(error instanceof ToolstackError)) throw error;
      return refused(`${error.message}\nCan't rename domain '${domain}'.`, 1);
    }
  },
};

const unpausing: Verb = {
  ...simple('unpause', 'let a paused domain go on'),
  async run(client, [domain]) {
    const data = (await client.ask('unpause', { domain })) as { readonly domid: number; readonly was_paused: boolean };
    if (!data.was_paused) process.stderr.write(`Domain ${data.domid}:Unpausing domain: Invalid argument\n`);
    return { data };
  },
};

const dumpCore: Verb = {
  name: 'dump-core',
  parameters: '<domain> <file>',
  description: 'write its memory and registers into an ELF core for gdb',
  async run(client, [domain, file]) {
    return { data: await client.ask('dump_core', { domain, file: resolve(file!) }) };
  },
};

export const lifeVerbs: readonly Verb[] = [
  create,
  simple('destroy', 'end a domain at once', [['-f', 'also domain 0, which here is no domain']]),
  shuttingDown('shutdown', 'ask a domain to shut down'),
  shuttingDown('reboot', 'ask a domain to reboot'),
  simple('pause', 'stop a domain until it is unpaused'),
  unpausing,
  rename,
  dumpCore,
];
