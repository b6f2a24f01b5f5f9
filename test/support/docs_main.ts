/** `npm run docs` */
import { mkdirSync, writeFileSync } from 'node:fs';
import { makeHypercallDocs } from './hypercall_docs.ts';

mkdirSync('docs', { recursive: true });
writeFileSync('docs/hypercalls.md', makeHypercallDocs());
