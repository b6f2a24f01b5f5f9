/** The command `beneath`. Exit status: 0 the guest powered off, 1 usage or image error, 3 the guest crashed, 4 a limit was reached, 5 --check found mistakes. */
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

const program = new Command('beneath')
  .description(packageJson.description)
  .version(packageJson.version, '-V, --version', 'print the version')
  .helpOption('-h, --help', 'print this')
  .helpCommand(false)
  .showSuggestionAfterError(true)
  .exitOverride()
  .configureOutput({ outputError: (text, write) => write(`beneath: ${oneLine(text)}; see beneath --help\n`) });

const run = addRunOptions(program.command('run').argument('<kernel>', 'image of an x86-64 Xen PV kernel'))
  .description('boot a kernel as a Xen PV guest with this terminal as its console (Ctrl-] leaves)')
  .addHelpText(
    'after',
    '\nExit status: 0 the guest powered off, 1 usage or image error, 3 the guest crashed, 4 time or instruction limit, 5 --check found mistakes.',
  )
  .action(async (kernel: string, options: RunOptions) => {
    process.exitCode = await runCommand(kernel, options);
  });

configure(run);
configure(addConformCommand(program));
configure(addHostCommand(program));
configure(addPlotCommand(program));
addVerbs(program, configure);

function configure(command: Command): void {
  command
    .helpOption('-h, --help', 'print this')
    .exitOverride()
    .configureOutput({ outputError: (text, write) => write(`beneath: ${oneLine(text)}; see beneath ${command.name()} --help\n`) });
}

function usageStatus(): number {
  return verbs.some(({ name }) => name === process.argv[2]) ? EXIT_VERB_USAGE : EXIT_USAGE;
}

function oneLine(text: string): string {
  return text
    .trim()
    .replace(/^error: /, '')
    .replace(/\s*\n\s*/g, ' ')
    .replace(/\.$/, '');
}

try {
  await program.parseAsync();
} catch (error) {
  if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? 0 : usageStatus();
  else if (error instanceof UserError) {
    process.stderr.write(`beneath: ${error.message}\n`);
    process.exitCode = EXIT_USAGE;
  } else {
    process.stderr.write(`beneath: this is a bug in beneath itself: ${error instanceof Error ? error.stack : error}\n`);
    process.exitCode = EXIT_BUG;
  }
}
