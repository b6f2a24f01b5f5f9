/** The command line of `beneath`: its commands, what all of them share, and what becomes of a mistake of whoever typed it. */
import { Command, CommanderError } from 'commander';
import packageJson from '../../package.json' with { type: 'json' };
import { addConformCommand } from './conform_command.ts';
import { addHostCommand } from './host_command.ts';
import { addRunOptions, type RunOptions } from './options.ts';
import { addPlotCommand } from './plot_command.ts';
import { runCommand } from './run_command.ts';
import { UserError } from './user_error.ts';
import { addVerbs } from './verbs/commands.ts';
import { verbs } from './verbs/verbs.ts';

const EXIT_USAGE = 1;
/** As xl. */
const EXIT_VERB_USAGE = 2;
const EXIT_BUG = 70;

/** Where help and mistakes are told. */
export interface Terminal {
  out(text: string): void;
  err(text: string): void;
}

/** The exit status of `beneath WORDS`. */
export async function runProgram(words: readonly string[], terminal: Terminal): Promise<number> {
  let status = 0;
  try {
    const program = makeProgram(terminal, (ended) => {
      status = ended;
    });
    await program.parseAsync(words, { from: 'user' });
    return status;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : usageStatus(words);
    if (error instanceof UserError) {
      terminal.err(`beneath: ${error.message}\n`);
      return EXIT_USAGE;
    }
    terminal.err(`beneath: this is a bug in beneath itself: ${error instanceof Error ? error.stack : error}\n`);
    return EXIT_BUG;
  }
}

function makeProgram({ out, err }: Terminal, ended: (status: number) => void): Command {
  const tellMistakes = (command: Command, help: string): Command =>
    command.exitOverride().configureOutput({
      writeOut: out,
      writeErr: err,
      outputError: (text, write) => write(`beneath: ${oneLine(text)}; see ${help}\n`),
    });
  const configure = (command: Command): void => {
    tellMistakes(command.helpOption('-h, --help', 'print this'), `beneath ${command.name()} --help`);
  };

  const program = tellMistakes(new Command('beneath'), 'beneath --help')
    .description(packageJson.description)
    .version(packageJson.version, '-V, --version', 'print the version')
    .helpOption('-h, --help', 'print this')
    .helpCommand(false)
    .showSuggestionAfterError(true);
  const run = addRunOptions(program.command('run').argument('<kernel>', 'image of an x86-64 Xen PV kernel'))
    .description('boot a kernel as a Xen PV guest with this terminal as its console (Ctrl-] leaves)')
    .addHelpText(
      'after',
      '\nExit status: 0 the guest powered off, 1 usage or image error, 3 the guest crashed, 4 time or instruction limit, 5 --check found mistakes.',
    )
    .action(async (kernel: string, options: RunOptions) => {
      ended(await runCommand(kernel, options));
    });
  configure(run);
  configure(addConformCommand(program, ended));
  configure(addHostCommand(program, ended));
  configure(addPlotCommand(program));
  addVerbs(program, ended, configure);
  return program;
}

const usageStatus = ([command]: readonly string[]): number => (verbs.some(({ name }) => name === command) ? EXIT_VERB_USAGE : EXIT_USAGE);

function oneLine(text: string): string {
  return text
    .trim()
    .replace(/^error: /, '')
    .replace(/\s*\n\s*/g, ' ')
    .replace(/\.$/, '');
}
