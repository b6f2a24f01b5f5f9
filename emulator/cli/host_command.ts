/** `beneath host HOST.toml`: a host of domains that lives until a signal ends it, with a control socket for the other verbs. */
import { hostname, machine, release, version } from 'node:os';
import { dirname, parse, resolve } from 'node:path';
import { type Command, Option } from 'commander';
import type { Domain } from '../domain.ts';
import { HostFileError, readHostFile } from '../toolstack/host_file.ts';
import type { DomainDescription } from '../toolstack/host_keys.ts';
import { settleEnds } from '../toolstack/lifecycle.ts';
import type { Host } from '../toolstack/requests.ts';
import { serve } from '../toolstack/socket_server.ts';
import { Toolstack } from '../toolstack/toolstack.ts';
import { ToolstackError } from '../toolstack/toolstack_error.ts';
import { bugReport } from './crash_report.ts';
import { EPOCH_NS } from './deterministic.ts';
import { hostFiles } from './host_files.ts';
import { HostLoop } from './host_loop.ts';
import { parseSeconds } from './options.ts';
import { readUserFile } from './read_file.ts';
import { addTimelineOptions, recordTimeline, type TimelineOptions } from './timeline_options.ts';
import { UserError } from './user_error.ts';

interface HostOptions extends TimelineOptions {
  readonly name?: string;
  readonly quiet?: boolean;
  readonly deterministic?: boolean;
  /** Of virtual time. */
  readonly seconds?: number;
}

/** A disk could not be written back. */
const EXIT_UNSAFE = 1;
const EXIT_BUG = 70;
const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

export function addHostCommand(program: Command, ended: (status: number) => void): Command {
  const command = program
    .command('host')
    .argument('<file>', 'HOST.toml: the host and its domains')
    .description('boot the domains of a host file and keep them running; the other commands talk to it (Ctrl-C ends it)')
    .option('--name <name>', 'the name that --host of the other commands means; default: [host] name, or that of the file')
    .option('-q, --quiet', 'do not show what the domains print')
    .addOption(new Option('--seconds <count>', 'end after so much virtual time').argParser(parseSeconds))
    .addOption(new Option('--deterministic', 'virtual time only, as fast as it goes: the same host file gives the same timeline'))
    .addHelpText(
      'after',
      '\nExit status: 0 ended by a signal or --seconds, 1 usage or host file error, or a disk could not be written back.',
    )
    .action(async (file: string, options: HostOptions) => {
      try {
        ended(await hostCommand(file, options));
      } catch (error) {
        if (error instanceof ToolstackError || error instanceof HostFileError) throw new UserError(error.message);
        throw error;
      }
    });
  return addTimelineOptions(command);
}

async function hostCommand(file: string, options: HostOptions): Promise<number> {
  const description = readHostFile(file, Buffer.from(readUserFile(file, 'host file')).toString());
  const name = options.name ?? description.name ?? parse(file).name;
  if (!/^[\w.+-]{1,64}$/.test(name)) throw new UserError(`--name ${name}: a name is made of letters, digits and . _ + -`);
  // Its domains live on when nobody reads any more what they print.
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {});
  const say = (line: string): void => void process.stderr.write(`beneath: ${line}\n`);
  const toolstack = makeToolstack(file, {
    description,
    say,
    output: options.quiet ? undefined : new LineWriter(),
    wallClockAtStart: options.deterministic ? EPOCH_NS : BigInt(Date.now()) * 1_000_000n,
  });
  const loop = new HostLoop(
    toolstack.machine,
    () => {
      settleEnds(toolstack);
      timeline.flush();
    },
    options.deterministic,
  );
  const host: Host = {
    toolstack,
    systemName: { host: hostname(), release: release(), version: version(), machine: machine() },
    resolvePath: resolve,
  };
  const timeline = recordTimeline(toolstack.machine, options, options.seconds, () => loop.stop());
  const socket = await serve(name, host, { asked: () => loop.catchUp(), acted: () => loop.wake(), failed: (error) => loop.fail(error) });
  const onSignal = (): void => loop.stop();
  for (const signal of SIGNALS) process.on(signal, onSignal);
  try {
    for (const domain of description.domains) toolstack.create(inFolder(dirname(file), domain));
    const count = description.domains.length;
    say(`host '${name}' runs with ${count === 1 ? '1 domain' : `${count} domains`}; ${commandFor(name)} shows them`);
    await loop.run();
    await finishFiles(toolstack, say);
    toolstack.close();
    say(`host '${name}' has ended`);
    return toolstack.areDisksSafe ? 0 : EXIT_UNSAFE;
  } catch (error) {
    if (error instanceof ToolstackError) {
      toolstack.close();
      throw error;
    }
    process.stderr.write(await bugReport(toolstack.machine, error));
    say(`host '${name}' has ended, and all of its domains with it`);
    toolstack.closeDisks();
    return EXIT_BUG;
  } finally {
    for (const signal of SIGNALS) process.off(signal, onSignal);
    timeline.close();
    socket.close();
  }
}

/** Whoever waits for one hears that it is whole. */
async function finishFiles({ unfinished }: Toolstack, say: (line: string) => void): Promise<void> {
  if (unfinished.size === 0) return;
  say('a domain is being saved; the host ends when it is');
  await Promise.allSettled(unfinished);
  await new Promise(setImmediate);
}

const commandFor = (name: string): string => `beneath list --host ${name}`;

function makeToolstack(
  file: string,
  {
    description,
    say,
    output,
    wallClockAtStart,
  }: {
    description: ReturnType<typeof readHostFile>;
    say: (line: string) => void;
    output: LineWriter | undefined;
    wallClockAtStart: bigint;
  },
): Toolstack {
  try {
    return new Toolstack(description, {
      files: hostFiles,
      wallClockAtStart,
      report: say,
      ...(output && { output: (domain, bytes) => output.write(domain, bytes) }),
    });
  } catch (error) {
    if (error instanceof RangeError)
      throw new UserError(`${file}: memory = ${description.memory / 1024 / 1024}M: this computer does not give so much; ask for less`);
    throw error;
  }
}

/** With its paths as they are meant in a file of `folder`. */
function inFolder(folder: string, domain: DomainDescription): DomainDescription {
  return {
    ...domain,
    kernel: resolve(folder, domain.kernel),
    ramdisk: domain.ramdisk === undefined ? undefined : resolve(folder, domain.ramdisk),
    disk: domain.disk.map((disk) => ({ ...disk, path: resolve(folder, disk.path) })),
  };
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: a terminal's escape sequences begin with one
const CURSOR_MOVES = /\x1b\[[0-9;?]*[A-Za-z]|\r/g;

/** What the domains print, line by line, so that each line says whose it is; where one moves the cursor is for its own console. */
class LineWriter {
  readonly #begun = new Map<Domain, string>();

  write(domain: Domain, bytes: Uint8Array): void {
    const lines = ((this.#begun.get(domain) ?? '') + Buffer.from(bytes).toString('latin1')).split('\n');
    this.#begun.set(domain, lines.pop()!);
    for (const line of lines) process.stdout.write(`${domain.name}: ${line.replaceAll(CURSOR_MOVES, '')}\n`, 'latin1');
  }
}
