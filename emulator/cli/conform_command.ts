/**
 * `beneath conform`: boots the guests of guests/conformance here and compares each answer with what the real Xen 4.17 gave
 * (NAME.domU.tap, NAME.dom0.tap beside them, recorded by guests/record-xen.sh and by nothing else).
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { ImageError } from '../../firmware/image_error.ts';
import type { EngineKind } from '../cpu/index.ts';
import { Machine } from '../machine.ts';
import { runSlice } from '../run.ts';
import { type Comparison, compare, type KnownDifference, parseChecks, parseDifferences, tally } from './conform_compare.ts';
import { engineOption } from './options.ts';
import { UserError } from './user_error.ts';

type Kind = 'domU' | 'dom0';

interface ConformOptions {
  readonly as?: Kind;
  readonly filter?: RegExp;
  readonly tap?: boolean;
  readonly json?: boolean;
  readonly engine: EngineKind;
}

const EXIT_DIFFERENT = 2;

const MEMORY_SIZE = 128 * 1024 * 1024;
const SLICE = 1_000_000;
/** Far more than a guest of the suite needs. */
const MAX_INSTRUCTIONS = 2_000_000_000n;

/** From dist/beneath.mjs: the package's own files. */
const packageFile = (path: string): string => fileURLToPath(new URL(`../${path}`, import.meta.url));
const suiteFile = (name: string): string => packageFile(`guests/conformance/${name}`);

export function addConformCommand(program: Command, ended: (status: number) => void): Command {
  return program
    .command('conform')
    .argument('[guest...]', 'guests of the suite; all when none is named')
    .description('run the conformance suite: each hypercall answer here against the one of the real Xen 4.17')
    .addOption(new Option('--as <kind>', 'only as an ordinary guest or only as the initial domain').choices(['domU', 'dom0']))
    .addOption(new Option('--filter <pattern>', 'only checks whose text matches this regular expression').argParser(parsePattern))
    .addOption(new Option('--tap', 'print TAP: a line for each check').conflicts('json'))
    .addOption(new Option('--json', 'print one JSON object: counts by hypercall, and every difference'))
    .addOption(engineOption())
    .addHelpText(
      'after',
      '\nExit status: 0 every answer agrees or its difference is listed in docs/differences.md, 1 usage error, 2 answers differ.',
    )
    .action((guests: readonly string[], options: ConformOptions) => {
      ended(conform(guests, options));
    });
}

function parsePattern(text: string): RegExp {
  try {
    return new RegExp(text);
  } catch {
    throw new InvalidArgumentError('Give a regular expression.');
  }
}

/** The exit status. */
function conform(named: readonly string[], options: ConformOptions): number {
  const names = suiteNames(named);
  const listPath = packageFile('docs/differences.md');
  const known = existsSync(listPath) ? parseDifferences(readFileSync(listPath, 'utf8')) : [];
  const comparisons = names
    .flatMap((name) => kindsOf(name, options.as).map((as) => [name, as] as const))
    .flatMap(([name, as]) => compareGuest(name, as, known, options))
    .filter(({ question }) => options.filter?.test(question) ?? true);
  if (comparisons.length === 0) throw new UserError('no check matches; see beneath conform --help');
  const format = options.json ? formatJson : options.tap ? formatTap : formatTable;
  process.stdout.write(format(comparisons));
  return comparisons.some(({ verdict }) => verdict === 'differ') ? EXIT_DIFFERENT : 0;
}

function suiteNames(named: readonly string[]): readonly string[] {
  const all = readdirSync(suiteFile('.'))
    .filter((file) => file.endsWith('.elf'))
    .map((file) => file.slice(0, -'.elf'.length))
    .sort();
  const unknown = named.find((name) => !all.includes(name));
  if (unknown !== undefined) throw new UserError(`the suite has no guest '${unknown}'; it has ${all.join(', ')}`);
  return named.length > 0 ? named : all;
}

/** As what the real Xen has run it. */
const kindsOf = (name: string, as: Kind | undefined): readonly Kind[] =>
  (['domU', 'dom0'] as const).filter((kind) => (as === undefined || as === kind) && existsSync(suiteFile(`${name}.${kind}.tap`)));

function compareGuest(name: string, as: Kind, known: readonly KnownDifference[], options: ConformOptions): Comparison[] {
  const real = readFileSync(suiteFile(`${name}.${as}.tap`), 'latin1');
  const here = runGuest(name, as, options.engine);
  return compare(`${name} as ${as}`, parseChecks(real), parseChecks(here), known);
}

/** What the guest prints, until it has ended or will never. */
function runGuest(name: string, as: Kind, engine: ConformOptions['engine']): string {
  const image = readFileSync(suiteFile(`${name}.elf`));
  const vcpusFile = suiteFile(`${name}.vcpus`);
  const vcpus = existsSync(vcpusFile) ? Number(readFileSync(vcpusFile, 'latin1')) : 1;
  let text = '';
  const machine = new Machine({
    memorySize: MEMORY_SIZE,
    engine,
    output: (_domain, bytes) => {
      text += Buffer.from(bytes).toString('latin1');
    },
  });
  const domain = machine.createPvDomain(image, { name, isInitial: as === 'dom0', memorySize: MEMORY_SIZE, vcpus });
  if (domain instanceof ImageError) throw new UserError(`${suiteFile(`${name}.elf`)}: ${domain.message}`);
  while (machine.cpu.instructions < MAX_INSTRUCTIONS && runSlice(machine, SLICE).kind === 'running');
  return text;
}

function formatTable(comparisons: readonly Comparison[]): string {
  const { hypercalls, all } = tally(comparisons);
  const lines = comparisons
    .filter(({ verdict }) => verdict !== 'agree')
    .map(({ where, question, real, here, verdict, reason }) =>
      [
        `${where}: ${question}`,
        `    real Xen  ${real ?? 'does not ask'}`,
        `    here      ${here ?? 'no answer'}`,
        ...(verdict === 'listed' ? [`    listed    ${reason}`] : []),
      ].join('\n'),
    );
  const row = (name: string, ...counts: readonly (string | number)[]) =>
    name.padEnd(32) + counts.map((count) => String(count).padStart(8)).join('');
  const rows = [...hypercalls].map(([name, { calls, agree, listed, differ }]) => row(name, calls, agree, listed, differ));
  const head = row('hypercall', 'calls', 'agree', 'listed', 'differ');
  return `${[...lines, ...(lines.length > 0 ? [''] : []), head, ...rows, row('all', all.calls, all.agree, all.listed, all.differ)].join('\n')}\n`;
}

function formatTap(comparisons: readonly Comparison[]): string {
  const lines = comparisons.flatMap(({ where, question, real, here, verdict, reason }, i) => {
    const point = `${i + 1} - ${where}: ${question.replaceAll('#', '\\#')}`;
    if (verdict === 'agree') return [`ok ${point} -> ${here}`];
    const todo = verdict === 'listed' ? ` # TODO ${reason}` : '';
    return [
      `not ok ${point}${todo}`,
      '  ---',
      `  real Xen: ${JSON.stringify(real ?? null)}`,
      `  here: ${JSON.stringify(here ?? null)}`,
      '  ...',
    ];
  });
  return `${['TAP version 14', `1..${comparisons.length}`, ...lines].join('\n')}\n`;
}

function formatJson(comparisons: readonly Comparison[]): string {
  const { hypercalls, all } = tally(comparisons);
  const differences = comparisons.filter(({ verdict }) => verdict !== 'agree');
  return `${JSON.stringify({ ...all, hypercalls: Object.fromEntries(hypercalls), differences }, null, 2)}\n`;
}
