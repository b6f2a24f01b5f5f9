/** How the verbs become commands. */
import { type Command, Option } from 'commander';
import { Client } from '../../toolstack/socket_client.ts';
import { ToolstackError } from '../../toolstack/toolstack_error.ts';
import { endWhenNobodyReads } from '../broken_pipe.ts';
import type { Flags, Verb } from './verb.ts';
import { verbs } from './verbs.ts';

const EXIT_FAILED = 1;

/** One command each; `configure` is what all commands of the program share, `ended` gets the exit status. */
export function addVerbs(program: Command, ended: (status: number) => void, configure: (command: Command) => void): void {
  for (const verb of verbs) {
    const command = program.command(verb.name).description(verb.description);
    for (const parameter of verb.parameters.split(' ').filter((word) => word !== '')) command.argument(parameter);
    for (const [flag, description] of verb.flags ?? []) command.addOption(new Option(flag, description));
    command
      .option('--json', 'print the answer as JSON')
      .option('--host <name>', 'the host to ask, where several run')
      .action(async (...given: unknown[]) => {
        const flags = given.at(-2) as Flags;
        ended(await runVerb(verb, given.slice(0, -2).flat() as (string | undefined)[], flags));
      });
    configure(command);
  }
}

/** The exit status. */
async function runVerb(verb: Verb, parameters: readonly (string | undefined)[], flags: Flags): Promise<number> {
  endWhenNobodyReads();
  let client: Client | undefined;
  try {
    client = await Client.open(flags.host as string | undefined);
    const outcome = await verb.run(client, parameters, flags);
    if (outcome === undefined) return 0;
    process.stdout.write(flags.json === true ? `${JSON.stringify(outcome.data)}\n` : (outcome.text ?? ''));
    return outcome.status ?? 0;
  } catch (error) {
    if (!(error instanceof ToolstackError)) throw error;
    process.stderr.write(`${error.message}\n`);
    return EXIT_FAILED;
  } finally {
    client?.close();
  }
}
