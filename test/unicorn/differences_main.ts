/** Records where our Unicorn answers otherwise than the C library, for unicorn.test.ts, which names the reasons. */
import { writeFileSync } from 'node:fs';
import { play } from './play.ts';
import { differ, differencesFile, scenarios } from './transcripts.ts';

const found = scenarios.flatMap(({ name, script, transcript }) => {
  const lines = differ(transcript, play(script));
  return lines.length > 0 ? [[name, lines]] : [];
});
writeFileSync(differencesFile, `${JSON.stringify(Object.fromEntries(found), null, 1)}\n`);
