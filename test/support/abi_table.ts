/** The ABI table as a list, for the checks and the documents that derive from it. */

import { type Hypercall, hasOps } from '../../hypercalls/abi/hypercall.ts';
import * as abi from '../../hypercalls/abi/index.ts';
import { type AnyStruct, isStruct } from '../../hypercalls/abi/struct.ts';
import type { Type } from '../../hypercalls/abi/types.ts';

const exported: readonly unknown[] = Object.values(abi);
const isObject = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null;

/** By number. */
export const hypercalls: readonly Hypercall[] = exported
  .filter((value): value is Hypercall => isObject(value) && 'nr' in value && 'body' in value && 'params' in value)
  .toSorted((a, b) => a.nr - b.nr);

/** Every exported struct and every struct of an op, once a name. */
export const structs: readonly AnyStruct[] = [
  ...new Map(
    [
      ...exported.filter((value): value is AnyStruct => isObject(value) && isStruct(value as unknown as Type<unknown>)),
      ...hypercalls.flatMap(({ body }) =>
        (hasOps(body) ? Object.values(body) : [body]).flatMap((op) => (op.kind === 'op' && op.arg !== null ? [op.arg as AnyStruct] : [])),
      ),
    ].map((struct) => [struct.name, struct]),
  ).values(),
];
