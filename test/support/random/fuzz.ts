/** Runs many programs, each in two worlds; what fails is made small and printed. */
import type { EngineKind } from '../../../emulator/cpu/index.ts';
import { makeProgram } from './generate.ts';
import type { Phase, Program } from './program.ts';
import { compare, type Divergence } from './run.ts';
import { print, shrink } from './shrink.ts';
import { makeWorld, type World } from './world.ts';

export interface FuzzOptions {
  /** Seed of the first program; the others follow. */
  seed: number;
  /** Until which the next program is begun. */
  milliseconds: number;
  most: number;
  /** Which engine stands on the second side; the first interprets in long runs. */
  engine: EngineKind;
  /** Other budgets than the programs'. */
  cuts?: (phase: Phase) => number;
}

export interface FuzzResult {
  programs: number;
  instructions: number;
  translatedInstructions: number;
  translations: number;
  /** A report for each program that failed, at most three. */
  failures: string[];
}

function run(program: Program, first: World, second: World, cuts: FuzzOptions['cuts']): Divergence | undefined {
  try {
    return compare(program, first, second, cuts);
  } catch (error) {
    return { phase: -1, what: [String((error as Error).stack)] };
  }
}

export async function fuzz({ seed, milliseconds, most, engine, cuts }: FuzzOptions): Promise<FuzzResult> {
  const end = Date.now() + milliseconds;
  const first = makeWorld({ engine: 'interpret' });
  const seconds = new Map<number, World>();
  const failures: string[] = [];
  let programs = 0;
  for (; programs < most && Date.now() < end && failures.length < 3; programs++) {
    const program = makeProgram(seed + programs);
    const { hotness } = program;
    const second = seconds.get(hotness) ?? makeWorld({ engine, hotness });
    seconds.set(hotness, second);
    const divergence = run(program, first, second, cuts);
    if (!divergence) continue;
    // Alone, in worlds that nothing has run in.
    const fresh = [makeWorld({ engine: 'interpret' }), makeWorld({ engine, hotness })] as const;
    const attempt = (candidate: Program): Divergence | undefined => run(candidate, ...fresh, cuts);
    const alone = attempt(program);
    const small = alone ? shrink(program, (candidate) => attempt(candidate) !== undefined) : program;
    const what = (alone ? attempt(small) : divergence)?.what.join('\n') ?? 'not again';
    failures.push(`${alone ? '' : `only after programs ${seed}..${program.seed - 1}: `}${await print(small)}\n${what}`);
    seconds.delete(hotness);
  }
  const statistics = [...seconds.values()].map(({ cpu }) => cpu.statistics());
  const sum = (of: (one: (typeof statistics)[0]) => number): number => statistics.reduce((total, one) => total + of(one), 0);
  return {
    programs,
    instructions: sum(({ instructions }) => Number(instructions)),
    translatedInstructions: sum(({ translatedInstructions }) => Number(translatedInstructions)),
    translations: sum(({ translations }) => translations),
    failures,
  };
}
