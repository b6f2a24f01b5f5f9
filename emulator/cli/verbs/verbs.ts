/** All verbs that talk to a host. */
import { consoleVerbs } from './console.ts';
import { hostVerbs } from './host.ts';
import { listingVerbs } from './listing.ts';
import { lifeVerbs } from './lives.ts';
import { savingVerbs } from './saving.ts';
import { schedulingVerbs } from './scheduling.ts';
import { topVerbs } from './top.ts';
import { traceVerbs } from './trace.ts';
import type { Verb } from './verb.ts';

export const verbs: readonly Verb[] = [
  ...listingVerbs,
  ...lifeVerbs,
  ...savingVerbs,
  ...consoleVerbs,
  ...schedulingVerbs,
  ...topVerbs,
  ...traceVerbs,
  ...hostVerbs,
];
