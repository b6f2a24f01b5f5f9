/** Grants at a domain's end: pages of others that it still maps, and pages of its own that it still grants. */
import { GTF_invalid, GTF_type_mask } from '../../hypercalls/abi/grant_table.ts';
import { type Mapping, maptrack } from '../../hypercalls/grant_table/maptrack.ts';
import { grantTable } from '../../hypercalls/grant_table/table.ts';
import type { Domain } from '../domain.ts';
import type { Host } from '../host.ts';

/** Filled by the toolstack: console and xenstore. */
const TOOLSTACK_ENTRIES = 2;
const MAX_LISTED = 8;

export class GrantUse {
  readonly #mappedAt = new WeakMap<Mapping, bigint>();

  /** After operation `op` was called at `rip`. */
  called(domain: Domain, op: string, rip: bigint): void {
    if (op !== 'grant_table_op.map_grant_ref') return;
    for (const [, mapping] of maptrack.of(domain)) if (!this.#mappedAt.has(mapping)) this.#mappedAt.set(mapping, rip);
  }

  /** `rip` is where the domain ends. */
  *left(host: Host, domain: Domain, rip: bigint): Generator<{ readonly rip: bigint; readonly what: string }> {
    for (const [, mapping] of maptrack.of(domain)) {
      const { granter, ref } = mapping;
      const whose = granter === domain ? 'its own' : `domain ${granter.id}'s`;
      yield { rip: this.#mappedAt.get(mapping) ?? rip, what: `grant ${ref} (${whose}), mapped here, is still mapped at the end` };
    }
    const table = grantTable(host, domain);
    const granted = new Map<number, number[]>();
    for (let ref = TOOLSTACK_ENTRIES; ref < table.entryCount; ref++) {
      const entry = table.entry(ref);
      if ((host.memory.view.getUint16(entry, true) & GTF_type_mask) === GTF_invalid) continue;
      const domid = host.memory.view.getUint16(entry + 2, true);
      granted.set(domid, [...(granted.get(domid) ?? []), ref]);
    }
    for (const [domid, refs] of granted) {
      const whom = domid === domain.id ? 'itself' : `domain ${domid}`;
      yield { rip, what: `the guest ends while it still grants ${refs.length === 1 ? 'a page' : `${refs.length} pages`} to ${whom}: ${listed(refs)}` };
    }
  }
}

function listed(refs: readonly number[]): string {
  const shown = refs.slice(0, MAX_LISTED).join(', ');
  return `${refs.length === 1 ? 'grant' : 'grants'} ${shown}${refs.length > MAX_LISTED ? ' and so on' : ''}`;
}
