/** `--stats`: what a run took, as a table for a person. */
import type { Machine } from '../machine.ts';

const count = (value: number | bigint): string => value.toLocaleString('en-US');
const seconds = (ms: number): string => `${(ms / 1000).toFixed(2)} s`;
const mips = (instructions: bigint, ms: number): string => (ms < 1 ? '' : `${(Number(instructions) / ms / 1000).toFixed(0)} MIPS`);
const mib = (bytes: number): string => `${(bytes / 1024 / 1024).toFixed(1)} MiB`;

/** `ms`: how long the machine ran, without waiting for keys or timers. */
export function statisticsReport(machine: Machine, ms: number): string {
  const statistics = machine.cpu.statistics();
  const { instructions, translatedInstructions, translations, times } = statistics;
  const interpretedInstructions = instructions - translatedInstructions;
  const { run, interpreted, translated, translating } = times ?? { run: 0, interpreted: 0, translated: 0, translating: 0 };
  const exits = [...machine.exitCounts].sort((a, b) => b[1] - a[1]);
  const all = exits.reduce((sum, [, times]) => sum + times, 0);
  const rest = Math.max(0, run - interpreted - translated - translating);
  const rows: readonly (readonly string[])[] = [
    ['instructions', count(instructions), seconds(ms), mips(instructions, ms)],
    ['  interpreted', count(interpretedInstructions), seconds(interpreted), mips(interpretedInstructions, interpreted)],
    ['  translated', count(translatedInstructions), seconds(translated), mips(translatedInstructions, translated)],
    ['translations', count(translations), seconds(translating), `of ${count(statistics.instructionsInTranslations)} instructions`],
    ['  live', count(statistics.liveRegions), '', `${mib(statistics.codeBytes)} of WebAssembly`],
    ['decoded', count(statistics.decoded), seconds(rest), 'with system instructions'],
    ['TLB misses', count(statistics.tlbMisses)],
    ['exits', count(all), seconds(Math.max(0, ms - run)), 'in ring -1'],
    ...exits.map(([reason, times]) => [`  ${reason}`, count(times)]),
  ];
  const widths = [0, 1, 2].map((column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  const lines = rows.map(([name, number, time = '', note = '']) =>
    `${name!.padEnd(widths[0]!)}  ${number!.padStart(widths[1]!)}  ${time.padStart(widths[2]!)}  ${note}`.trimEnd(),
  );
  return `\nbeneath: statistics\n${lines.join('\n')}\n`;
}
