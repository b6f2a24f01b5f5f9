/**
 * The flags of `beneath run` and what they mean. Each parser answers a value or throws InvalidArgumentError, which the
 * command line shows in one line behind the flag and the value that was given.
 */
import { type Command, InvalidArgumentError, Option } from 'commander';
import { MAX_GUEST_CMDLINE } from '../../firmware/start_info.ts';
import { type EngineKind, engineKinds } from '../cpu/index.ts';
import { type DiskDescription, parseDisk } from '../toolstack/disk_spec.ts';
import { type NetDescription, parseNet } from '../toolstack/net_spec.ts';
import { parseMemory } from '../toolstack/size.ts';
import { addTimelineOptions, type TimelineOptions } from './timeline_options.ts';

export interface TraceOption {
  readonly kinds: ReadonlySet<TraceKind>;
  /** undefined: stderr. */
  readonly file: string | undefined;
}

const TRACE_KINDS = ['hypercalls', 'traps', 'exits'] as const;
export type TraceKind = (typeof TRACE_KINDS)[number];

export interface RunOptions extends TimelineOptions {
  readonly as: 'domU' | 'dom0';
  /** Bytes. */
  readonly memory: number;
  readonly vcpus: number;
  readonly cmdline: string;
  readonly ramdisk?: string;
  readonly disk: readonly DiskDescription[];
  readonly net: readonly NetDescription[];
  /** Seconds. */
  readonly timeout?: number;
  readonly maxInstructions?: number;
  readonly trace?: TraceOption;
  readonly deterministic?: boolean;
  readonly verboseDebug?: boolean;
  readonly engine: EngineKind;
  readonly stats?: boolean;
  readonly check?: boolean;
}

const DEFAULT_MEMORY = 128 * 1024 * 1024;
const MAX_VCPUS = 128;

function parseSize(text: string): number {
  const size = parseMemory(text);
  if (typeof size === 'string') throw new InvalidArgumentError(size);
  return size;
}

function parseCmdline(text: string): string {
  const size = new TextEncoder().encode(text).length;
  if (size >= MAX_GUEST_CMDLINE) throw new InvalidArgumentError(`It has ${size} bytes; give at most ${MAX_GUEST_CMDLINE - 1}.`);
  return text;
}

function parseVcpus(text: string): number {
  const count = parseCount(text);
  if (count > MAX_VCPUS) throw new InvalidArgumentError(`Give from 1 to ${MAX_VCPUS}.`);
  return count;
}

function parseCount(text: string): number {
  if (!/^\d+$/.test(text)) throw new InvalidArgumentError('Give a whole number.');
  const count = Number(text);
  if (count < 1 || !Number.isSafeInteger(count)) throw new InvalidArgumentError('Give a whole number from 1 to 9007199254740991.');
  return count;
}

export function parseSeconds(text: string): number {
  const seconds = Number(text);
  if (!/^\d*\.?\d+$/.test(text) || seconds <= 0 || seconds > 1e9) throw new InvalidArgumentError('Give seconds, such as 10 or 0.5.');
  return seconds;
}

function parseTrace(text: string): TraceOption {
  const [list, ...rest] = text.split(':');
  const file = rest.length === 0 ? undefined : rest.join(':');
  const words = list!.split(',');
  const unknown = words.find((word) => !(TRACE_KINDS as readonly string[]).includes(word));
  if (unknown !== undefined) throw new InvalidArgumentError(`There is no trace '${unknown}'; choose of ${TRACE_KINDS.join(', ')}.`);
  if (file === '') throw new InvalidArgumentError('Name a file behind the colon, or leave the colon out.');
  return { kinds: new Set(words as TraceKind[]), file };
}

function parseDisks(text: string, disks: readonly DiskDescription[]): DiskDescription[] {
  const disk = parseDisk(text, disks);
  if (typeof disk === 'string') throw new InvalidArgumentError(disk);
  return [...disks, disk];
}

function parseNets(text: string, nets: readonly NetDescription[]): NetDescription[] {
  const net = parseNet(text);
  if (typeof net === 'string') throw new InvalidArgumentError(net);
  if (net.pcap !== undefined && nets.some(({ pcap }) => pcap === net.pcap))
    throw new InvalidArgumentError(`Another interface is recorded in ${net.pcap}; give each its own file.`);
  return [...nets, net];
}

export const engineOption = (): Option =>
  new Option('--engine <tier>', 'how the CPU runs hot code: interpret, or translate it to WebAssembly')
    .choices(engineKinds)
    .default('translate');

/** Adds the flags to `command`. */
export function addRunOptions(command: Command): Command {
  const withFlags = command
    .addOption(new Option('--as <kind>', 'boot it as an ordinary guest or as the initial domain').choices(['domU', 'dom0']).default('domU'))
    .addOption(new Option('--memory <size>', "the guest's memory").argParser(parseSize).default(DEFAULT_MEMORY, '128M'))
    .addOption(new Option('--vcpus <count>', 'virtual CPUs').argParser(parseVcpus).default(1))
    .addOption(new Option('--cmdline <text>', "the kernel's command line").argParser(parseCmdline).default('', 'empty'))
    .addOption(new Option('--ramdisk <file>', 'give it this ramdisk (its first boot module)'))
    .addOption(
      new Option('--disk <file[,ro]>', 'a raw disk image as its next disk, xvda first; may be repeated')
        .argParser(parseDisks)
        .default([], 'none'),
    )
    .addOption(
      new Option('--net <words>', 'a network interface: bridge=NAME, or loop; mac=ADDRESS; pcap=FILE records it; may be repeated')
        .argParser(parseNets)
        .default([], 'none'),
    )
    .addOption(new Option('--timeout <seconds>', 'stop after so long').argParser(parseSeconds))
    .addOption(new Option('--max-instructions <count>', 'stop after exactly so many instructions').argParser(parseCount))
    .addOption(new Option('--trace <kinds[:file]>', 'print hypercalls, traps, exits (a list with commas)').argParser(parseTrace))
    .addOption(new Option('--deterministic', 'virtual time only: the same run gives the same trace'))
    .addOption(engineOption())
    .addOption(new Option('--stats', 'say at the end what the CPU did and how long it took'))
    .addOption(new Option('--check', "report the guest's own mistakes: ignored errors, leaks, lost events and more"))
    .addOption(new Option('--verbose-debug', 'let a domU print by console_io, as a Xen with that build option does'));
  return addTimelineOptions(withFlags);
}
