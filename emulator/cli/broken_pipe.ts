/** Nobody reads the output any more: the process ends as a shell shows SIGPIPE. */
const EXIT_PIPE = 141;

let isWatched = false;

export function endWhenNobodyReads(): void {
  if (!isWatched) process.stdout.on('error', () => process.exit(EXIT_PIPE));
  isWatched = true;
}
