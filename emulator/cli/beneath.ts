/** The command `beneath`. Exit status: 0 the guest powered off, 1 usage or image error, 3 the guest crashed, 4 a limit was reached, 5 --check found mistakes. */
import { Command, CommanderError } from 'commander';
import packageJson from '../../package.json' with { type: 'json' };
import { addConformCommand } from './conform_command.ts';
import { addRunOptions, type RunOptions } from './options.ts';
import { runCommand } from './run_command.ts';
import { UserError } from './user_error.ts';

const EXIT_USAGE = 1;
const EXIT_BUG = 70;

const program = new Command('beneath')
  .description(packageJson.description)
  .version(packageJson.version, '-V, --version', 'print the version')
  .helpOption('-h, --help', 'print this')
  .helpCommand(false)
  .showSuggestionAfterError(true)
  .exitOverride()
  .configureOutput({ outputError: (text, write) => write(`beneath: ${oneLine(text)}; see beneath --help\n`) });

addRunOptions(program.command('run').argument('<kernel>', 'image of an x86-64 Xen PV kernel'))
  .description('boot a kernel as a Xen PV guest with this terminal as its console (Ctrl-] leaves)')
  .helpOption('-h, --help', 'print this')
  .exitOverride()
  .configureOutput({ outputError: (text, write) => write(`beneath: ${oneLine(text)}; see beneath run --help\n`) })
  .addHelpText(
    'after',
    '\nExit status: 0 the guest powered off, 1 usage or image error, 3 the guest crashed, 4 time or instruction limit, 5 --check found mistakes.',
  )
  .action(async (kernel: string, options: RunOptions) => {
    process.exitCode = await runCommand(kernel, options);
  });

addConformCommand(program)
  .helpOption('-h, --help', 'print this')
  .exitOverride()
  .configureOutput({ outputError: (text, write) => write(`beneath: ${oneLine(text)}; see beneath conform --help\n`) });

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
  if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? 0 : EXIT_USAGE;
  else if (error instanceof UserError) {
    process.stderr.write(`beneath: ${error.message}\n`);
    process.exitCode = EXIT_USAGE;
  } else {
    process.stderr.write(`beneath: this is a bug in beneath itself: ${error instanceof Error ? error.stack : error}\n`);
    process.exitCode = EXIT_BUG;
  }
}
